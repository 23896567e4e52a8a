"""The one pass over all files."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data.scan import Scanned, Unreadable, core_count, scan


def test_results_come_in_the_order_of_the_files_with_hash_and_size(photo: Callable[..., Path]) -> None:
    paths = [photo(f"{i}.png", i) for i in range(20)]
    found = scan(paths, workers=4)
    for path, result in zip(paths, found, strict=True):
        assert isinstance(result, Scanned)
        assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (result.width_px, result.height_px, result.grey.shape) == (48, 40, (16, 16))


def test_bad_files_are_results_not_errors(photo: Callable[..., Path], tmp_path: Path) -> None:
    whole = photo("whole.jpg", 1)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-400])
    empty = tmp_path / "empty.jpg"
    empty.touch()
    found = scan([whole, cut, empty, tmp_path / "gone.jpg"])
    assert isinstance(found[0], Scanned)
    reasons = [result.reason for result in found[1:] if isinstance(result, Unreadable)]
    assert [reason.split(":")[0] for reason in reasons] == [
        "truncated or damaged JPEG",
        "empty file (0 bytes)",
        "no such file",
    ]


def test_a_damaged_tiff_makes_no_warning_and_filters_are_as_before(photo: Callable[..., Path], tmp_path: Path) -> None:
    whole = photo("whole.tif", 1)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[:-60])  # through the directory at the end
    before = list(warnings.filters)
    assert isinstance(scan([cut, whole])[0], Unreadable)
    assert warnings.filters == before


def test_progress_counts_every_file_in_the_callers_thread(photo: Callable[..., Path]) -> None:
    calls: list[tuple[int, int, int]] = []
    scan([photo(f"{i}.png", i) for i in range(5)], progress=lambda *a: calls.append((*a, threading.get_ident())))
    assert calls == [(i, 5, threading.get_ident()) for i in range(1, 6)]


def test_an_interrupt_stops_the_pass_early(photo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(
        "edgetransfer.data.scan._scan_one",
        lambda path, channels: read.append(path) or threading.Event().wait(0.005),
    )

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan([Path(str(i)) for i in range(2000)], workers=2, progress=interrupt)
    assert len(read) < 1000


def test_any_number_of_workers_gives_the_same(photo: Callable[..., Path]) -> None:
    paths = [photo(f"{i}.jpg", i) for i in range(6)]
    one, many = scan(paths, workers=1), scan(paths, workers=5)
    assert [(r.sha256, r.grey.tobytes()) for r in one] == [(r.sha256, r.grey.tobytes()) for r in many]  # type: ignore[union-attr]
    assert core_count() >= 1
    assert scan([]) == []


def test_photos_without_a_fourth_channel_are_left_out_where_four_are_wanted(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 4), np.uint8)
    pixels[:, :, 3] = 0  # transparent, to those that take it for alpha
    Image.fromarray(pixels).save(tmp_path / "four.png")
    Image.fromarray(pixels[:, :, :3]).save(tmp_path / "three.png")
    four, three = scan([tmp_path / "four.png", tmp_path / "three.png"], channels=4)
    assert isinstance(three, Unreadable)
    assert "the fourth cannot be guessed" in three.reason
    (as_rgb,) = scan([tmp_path / "three.png"])
    assert isinstance(four, Scanned)
    assert isinstance(as_rgb, Scanned)
    np.testing.assert_array_equal(four.grey, as_rgb.grey)
