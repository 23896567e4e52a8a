from __future__ import annotations

import json

import numpy as np
import pytest

from edgetransfer.errors import BundleError
from edgetransfer.models.trained import GoldenFrames, TrainedModel
from edgetransfer.spec.dense import Dense, apply_head


@pytest.fixture
def trained():
    rng = np.random.default_rng(0)
    head = (
        Dense(rng.normal(size=(4, 3)).astype(np.float32), np.zeros(3, np.float32), "relu"),
        Dense(rng.normal(size=(3, 2)).astype(np.float32), np.ones(2, np.float32)),
    )
    frames = (np.zeros((2, 3, 3), np.uint8), np.ones((5, 4, 3), np.uint8))
    golden = {"synthetic": GoldenFrames(frames, rng.normal(size=(2, 4)).astype(np.float32))}
    features = rng.normal(size=(6, 4)).astype(np.float32)
    return TrainedModel({"task": {"labels": ["ja", "nein"]}}, head, head[1:], b"graph", features, golden)


def same(one, other):
    return all(
        np.array_equal(a.kernel, b.kernel) and np.array_equal(a.bias, b.bias) and a.activation == b.activation
        for a, b in zip(one, other, strict=True)
    )


def test_a_run_comes_back_from_disk_as_it_was(trained, tmp_path):
    trained.save(tmp_path / "a.run")
    again = TrainedModel.load(tmp_path / "a.run")
    assert same(again.head, trained.head)
    assert same(again.float_head, trained.float_head)
    assert again.description == trained.description
    assert again.deployed == trained.deployed
    assert np.array_equal(again.range_features, trained.range_features)
    assert np.array_equal(again.golden["synthetic"].frames[1], trained.golden["synthetic"].frames[1])


def test_a_run_without_a_float_head_says_so(trained, tmp_path):
    plain = TrainedModel(trained.description, trained.head, None, b"", trained.range_features, {})
    plain.save(tmp_path / "a.run")
    assert TrainedModel.load(tmp_path / "a.run").float_head is None


def test_saving_is_repeatable(trained, tmp_path):
    for name in ("one", "two"):
        trained.save(tmp_path / name)
    for file in ("run.json", "run.npz", "deployed.model"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_relu_comes_between_the_layers_and_not_after_the_last(trained):
    values = apply_head(trained.head, np.full((1, 4), -5, np.float32))
    hidden = np.maximum(np.full((1, 4), -5, np.float32) @ trained.head[0].kernel, 0)
    np.testing.assert_allclose(values, hidden @ trained.head[1].kernel + 1, rtol=1e-6)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"expected a run.*edgetransfer train"):
        TrainedModel.load(tmp_path)


@pytest.mark.parametrize("file", ["run.npz", "deployed.model"])
def test_a_damaged_run_is_refused(file, trained, tmp_path):
    trained.save(tmp_path)
    if file == "run.npz":
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:50])
    else:
        (tmp_path / file).unlink()
    with pytest.raises(BundleError, match="damaged"):
        TrainedModel.load(tmp_path)


def test_a_run_of_a_newer_version_is_refused(trained, tmp_path):
    trained.save(tmp_path)
    about = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(about | {"run_schema": 99}))
    with pytest.raises(BundleError, match="another version of edgetransfer"):
        TrainedModel.load(tmp_path)
