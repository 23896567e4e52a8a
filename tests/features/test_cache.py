from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import CacheError
from edgetransfer.features.cache import FeatureCache


def rows_of(*values):
    return np.array([[value, value + 1, value + 2] for value in values], np.int8)


def open_cache(folder):
    return FeatureCache(folder, width=3, dtype="int8")


def test_rows_come_back_in_the_order_asked_for(tmp_path):
    cache = open_cache(tmp_path)
    cache.put(["a", "b"], rows_of(1, 5))
    cache.put(["c"], rows_of(9))
    assert cache.get(["c", "a", "b", "a"]).tolist() == rows_of(9, 1, 5, 1).tolist()


def test_another_run_finds_what_this_one_kept(tmp_path):
    open_cache(tmp_path).put(["a"], rows_of(1))
    later = open_cache(tmp_path)
    assert later.missing(["a", "b"]) == [1]
    assert later.get(["a"]).tolist() == rows_of(1).tolist()


def test_two_runs_can_share_the_folder(tmp_path):
    one, other = open_cache(tmp_path), open_cache(tmp_path)
    one.put(["a", "b"], rows_of(1, 2))
    other.put(["b", "c"], rows_of(2, 3))
    one.refresh()
    assert one.missing(["a", "b", "c"]) == []
    assert one.get(["a", "b", "c"]).tolist() == rows_of(1, 2, 3).tolist()


def test_rows_without_their_keys_are_an_interrupted_write_and_not_used(tmp_path):
    cache = open_cache(tmp_path)
    cache.put(["a"], rows_of(1))
    next(tmp_path.glob("*.keys")).unlink()
    assert open_cache(tmp_path).missing(["a"]) == [0]


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(p.read_bytes()[:-2]), lambda p: p.write_bytes(b""), lambda p: p.unlink()]
)
def test_a_damaged_shard_is_dropped_and_computed_again(damage, tmp_path):
    open_cache(tmp_path).put(["a"], rows_of(1))
    damage(next(tmp_path.glob("*.npy")))
    again = open_cache(tmp_path)
    assert again.missing(["a"]) == [0]
    again.put(["a"], rows_of(1))
    assert open_cache(tmp_path).get(["a"]).tolist() == rows_of(1).tolist()


def test_rows_of_another_width_or_type_are_not_used(tmp_path):
    open_cache(tmp_path).put(["a"], rows_of(1))
    assert FeatureCache(tmp_path, width=3, dtype="float32").missing(["a"]) == [0]


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="set EDGETRANSFER_CACHE"):
        open_cache(tmp_path / "file" / "cache")
