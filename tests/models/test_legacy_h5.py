from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models import backbones, legacy_h5
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

h5py = pytest.importorskip("h5py", reason="building needs the extra 'train'")
keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

UNIT = Normalisation(1 / 255, 0)


def node(*names: str) -> list[Any]:
    return [[[name, 0, 0, {}] for name in names]] if names else []


def layer(kind: str, name: str, parent: str, **settings: Any) -> dict[str, Any]:
    config = {"name": name, "trainable": True, "dtype": "float32", **settings}
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": node(parent) if parent else []}


def legacy_model(path: Path, groups: int = 1) -> dict[str, np.ndarray]:
    """Write a model as Keras 2.4 did: names with "/", DepthwiseConv2D with groups. Returns its weights."""
    window = {"strides": [1, 1], "padding": "valid", "data_format": "channels_last", "dilation_rate": [1, 1]}
    layers = [
        layer("InputLayer", "image", "", batch_input_shape=[None, 12, 12, 3], sparse=False, ragged=False),
        layer("Conv2D", "stem/conv", "image", filters=4, kernel_size=[3, 3], groups=1, use_bias=True, **window),
        layer("BatchNormalization", "stem/conv/bn", "stem/conv", axis=[3], momentum=0.99, epsilon=0.001),
        layer(
            "DepthwiseConv2D",
            "dw",
            "stem/conv/bn",
            kernel_size=[3, 3],
            groups=groups,
            depth_multiplier=1,
            use_bias=False,
            **window,
        ),
        layer("AveragePooling2D", "pool", "dw", pool_size=[8, 8], padding="valid", strides=[8, 8]),
        layer("Flatten", "flat", "pool", data_format="channels_last"),
        layer("Dense", "top", "flat", units=2, activation="softmax", use_bias=True),
    ]
    config = {"name": "model", "layers": layers, "input_layers": [["image", 0, 0]], "output_layers": [["top", 0, 0]]}
    rng = np.random.default_rng(3)
    weights = {
        "stem/conv": {"kernel:0": rng.normal(size=(3, 3, 3, 4)), "bias:0": rng.normal(size=4)},
        "stem/conv/bn": {name: rng.uniform(0.5, 1.5, 4) for name in ("gamma:0", "beta:0", "mean:0", "variance:0")},
        "dw": {"depthwise_kernel:0": rng.normal(size=(3, 3, 4, 1))},
        "top": {"kernel:0": rng.normal(size=(4, 2)), "bias:0": rng.normal(size=2)},
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.4.0", "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [entry["name"].encode() for entry in layers]
        for entry in layers:
            own = root.require_group(entry["name"])
            arrays = weights.get(entry["name"], {})
            own.attrs["weight_names"] = [f"{entry['name']}/{name}".encode() for name in arrays]
            for name, array in arrays.items():
                own.create_dataset(f"{entry['name']}/{name}", data=array.astype(np.float32))
    return {f"{name}/{key}": array for name, arrays in weights.items() for key, array in arrays.items()}


def features(weights: dict[str, np.ndarray], images: np.ndarray) -> np.ndarray:
    """What the legacy model's pooling gives, computed with numpy: (n, 4)."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))
    x = np.einsum("nhwcij,ijco->nhwo", windows, weights["stem/conv/kernel:0"]) + weights["stem/conv/bias:0"]
    gamma, beta, mean, variance = (weights[f"stem/conv/bn/{p}:0"] for p in ("gamma", "beta", "mean", "variance"))
    x = (x - mean) / np.sqrt(variance + 0.001) * gamma + beta
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("nhwcij,ijc->nhwc", windows, weights["dw/depthwise_kernel:0"][..., 0]).mean(axis=(1, 2))


def test_a_legacy_model_that_keras_3_refuses_is_loaded_and_cut(tmp_path):
    path = tmp_path / "old.h5"
    weights = legacy_model(path)
    with pytest.raises(Exception, match=r"groups|/"):
        keras.models.load_model(path, compile=False)
    loaded = backbones.load(BackboneChoice(f"keras:{path}", normalisation=UNIT))
    assert [op.name for op in loaded.model.operations] == ["pixels", "stem_conv", "stem_conv_bn", "dw", "features"]
    images = np.random.default_rng(4).uniform(0, 1, (2, 12, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.model(images), features(weights, images), rtol=1e-4, atol=1e-4)


def test_the_users_file_is_left_as_it_was_even_if_it_is_read_only(tmp_path):
    path = tmp_path / "old.h5"
    legacy_model(path)
    before = path.read_bytes()
    path.chmod(0o400)
    backbones.load(BackboneChoice(f"keras:{path}", normalisation=UNIT))
    assert path.read_bytes() == before


def test_a_depthwise_convolution_with_real_groups_is_refused(tmp_path):
    legacy_model(tmp_path / "old.h5", groups=2)
    with pytest.raises(BackboneError, match="'dw' is a DepthwiseConv2D with groups"):
        backbones.load(BackboneChoice(f"keras:{tmp_path / 'old.h5'}", normalisation=UNIT))


def test_weights_are_read_in_the_files_order(tmp_path):
    legacy_model(tmp_path / "old.h5")
    found = legacy_h5.read_layers(tmp_path / "old.h5")
    assert [name for name, _ in found] == ["stem/conv", "stem/conv/bn", "dw", "top"]
    assert [array.shape for array in found[0][1]] == [(3, 3, 3, 4), (4,)]


@pytest.mark.parametrize("kind", ["link", "storage"])
def test_weights_that_lie_in_another_file_are_refused(kind, tmp_path):
    path = tmp_path / "old.h5"
    legacy_model(path)
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/top/top"]
        del group["bias:0"]
        if kind == "link":
            group["bias:0"] = h5py.ExternalLink(str(path), "model_weights/dw/dw/depthwise_kernel:0")
        else:
            group.create_dataset("bias:0", (2,), "f4", external=[(str(tmp_path / "secret"), 0, 8)])
    with pytest.raises(WeightsError, match=r"link|another file"):
        legacy_h5.read_layers(path)


def test_a_file_of_another_kind_is_said(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    with pytest.raises(WeightsError, match="no weights of Keras layers in it"):
        legacy_h5.read_layers(tmp_path / "other.h5")
    with pytest.raises(BackboneError, match="weights but no architecture"):
        legacy_h5.read_config(tmp_path / "other.h5")
    (tmp_path / "no.h5").write_bytes(b"\x89HDF\r\n\x1a\n truncated")
    with pytest.raises(WeightsError, match=r"not a whole \.h5 file"):
        legacy_h5.read_layers(tmp_path / "no.h5")
    with pytest.raises(BackboneError, match=r"not a whole \.h5 file"):
        legacy_h5.read_config(tmp_path / "no.h5")


@pytest.mark.parametrize(("file", "side", "width"), [("vww_96.h5", 96, 256), ("pretrainedResnet.h5", 32, 64)])
def test_real_legacy_models_are_loaded_and_cut(shared, file, side, width):
    path = shared / "data/backbones/mlperf-tiny" / file
    loaded = backbones.load(BackboneChoice(f"keras:{path}", normalisation=UNIT))
    assert (loaded.height_px, loaded.width_px, loaded.feature_size) == (side, side, width)
    ones = np.asarray(loaded.model(np.ones((1, side, side, 3), np.float32)))
    zeros = np.asarray(loaded.model(np.zeros((1, side, side, 3), np.float32)))
    assert np.isfinite(ones).all()
    assert np.abs(ones - zeros).max() > 0.01


def test_the_legacy_file_has_the_same_weights_as_its_copy_in_todays_format(shared):
    folder = shared / "data/backbones/mlperf-tiny"
    old, new = (
        backbones.load(BackboneChoice(f"keras:{folder / f}", normalisation=UNIT)) for f in ("vww_96.h5", "vww_96.keras")
    )
    assert old.weights_sha256 == new.weights_sha256
