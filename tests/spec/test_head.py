from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import BundleError
from edgetransfer.spec import arrays
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.head import HEAD_SCHEMA, Head
from edgetransfer.spec.task import Task


def head(**changes) -> Head:
    rng = np.random.default_rng(3)
    layers = (
        Dense(rng.normal(size=(5, 4)).astype(np.float32), np.ones(4, np.float32), "relu"),
        Dense(rng.normal(size=(4, 2)).astype(np.float32), np.zeros(2, np.float32)),
    )
    known = {"name": "waste", "task": Task("single_label", ("no", "yes"), 2.0), "layers": layers}
    return Head(
        **{**known, "features_sha256": "f" * 64, "metrics": {"test": {"accuracy": 0.5, "samples": 4}}, **changes}
    )


def test_a_rounded_head_survives_its_file_and_computes_the_same():
    one = head().rounded()
    again = Head.from_bytes(one.to_bytes())
    features = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    assert (again.logits(features) == one.logits(features)).all()
    assert (again.name, again.task, again.metrics) == (one.name, one.task, one.metrics)
    assert again.feature_size == 5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "Waste"}, "lower-case"),
        ({"name": "a-b"}, "lower-case"),
        ({"layers": ()}, "expected dense layers"),
        ({"layers": (Dense(np.ones((2, 2), np.float32), np.ones(2, np.float32), "relu"),)}, "the last one linear"),
        ({"layers": (Dense(np.ones((2, 2), np.float32), np.ones(3, np.float32)),)}, "do not fit each other"),
        ({"task": Task("single_label", ("a", "b", "c"))}, "expected 3 outputs for its task, got 2"),
        ({"task": Task("regression", ("a",))}, "expected 1 outputs for its task, got 2"),
        ({"pool": AttentionPool(np.ones(4, np.float32))}, "an attention pool of 5 weights, got 4"),
        ({"layers": (Dense(np.full((2, 2), np.nan, np.float32), np.ones(2, np.float32)),)}, "finite numbers"),
    ],
)
def test_what_makes_no_head_is_refused(changes, problem):
    with pytest.raises(BundleError, match=problem):
        head(**changes)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY", head().to_bytes()[:-40]])
def test_a_file_that_is_none_is_refused(content):
    with pytest.raises(BundleError, match="head 'x'"):
        Head.from_bytes(content, "head 'x'")


def test_a_head_of_a_newer_version_is_refused_with_the_way_out():
    kept = arrays.unpack(head().to_bytes(), "x", 1 << 20)
    about = kept["about"].tobytes().replace(b'"schema": 1', f'"schema": {HEAD_SCHEMA + 1}'.encode())
    with pytest.raises(BundleError, match="newer edgetransfer"):
        Head.from_bytes(arrays.pack(kept | {"about": np.frombuffer(about, np.uint8)}))


def test_a_head_that_pools_by_attention_is_of_a_schema_that_older_versions_refuse_and_others_are_not():
    pool = AttentionPool(np.random.default_rng(1).normal(size=5).astype(np.float32))
    pooling, plain = head(pool=pool).rounded().to_bytes(), head().to_bytes()
    schemas = [arrays.unpack(one, "x", 1 << 20)["about"].tobytes() for one in (pooling, plain)]
    assert b'"schema": 2' in schemas[0]
    assert b'"schema": 1' in schemas[1]
    again = Head.from_bytes(pooling)
    windows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert (again.pooled(windows) == pool.apply(windows)).all()
    assert Head.from_bytes(plain).pool is None
    assert (Head.from_bytes(plain).pooled(windows) == windows.mean(axis=0, dtype=np.float32)).all()


def test_what_training_showed_survives_the_file_and_heads_without_it_are_read():
    kept = {"chosen": {"penalty": 0.1}, "rejects": {"test": None}}
    assert Head.from_bytes(head(training=kept).to_bytes()).training == kept
    assert Head.from_bytes(head().to_bytes()).training == {}
    assert b"training" not in arrays.unpack(head().to_bytes(), "x", 1 << 20)["about"].tobytes()


def test_arrays_that_declare_too_much_or_hold_objects_are_refused_unread():
    huge = arrays.pack({"a": np.zeros(1000, np.float32)})
    with pytest.raises(BundleError, match="declares too much"):
        arrays.unpack(huge, "file", 100)
    with pytest.raises(BundleError, match="pickled objects"):
        arrays.unpack(arrays.pack({"a": np.array([{}], object)}), "file", 1 << 20)


def test_equal_heads_have_equal_files():
    assert head().to_bytes() == head().to_bytes()
    assert head().to_bytes() != replace(head(), name="other").to_bytes()
