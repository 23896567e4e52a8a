"""YAMNet's weights from every kind of file that is about, and the features that these files' own models give."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models import backbones
from edgetransfer.models.backbones import _yamnet
from edgetransfer.spec.backbone import BackboneChoice

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")
h5py = pytest.importorskip("h5py", reason="building needs the extra 'train'")

FOLDER = os.environ.get("EDGETRANSFER_SOUND_WEIGHTS", "")  # real weights, in a folder or below it


def random_weights(model: Any, seed: int = 0) -> Any:
    """Weights whose activations stay of one size; variances away from 0."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = rng.normal(0, 1, variable.shape)
        if variable.path.endswith("moving_variance"):
            values = 0.5 + values**2
        elif variable.path.endswith("kernel"):
            inputs = int(np.prod(variable.shape[:2] if "depthwise" in variable.path else variable.shape[:3]))
            values *= np.sqrt(2 / inputs)
        variable.assign(values.astype(np.float32))
    return model


def windows(count: int = 4) -> np.ndarray:
    rng = np.random.default_rng(1)
    return _yamnet.NORMALISATION.to_real(rng.integers(0, 256, (count, 96, 64, 1), np.uint8))


def write_published(path: Path, model: Any, *, layers: int = 14) -> Path:
    """Write a legacy file of weights as Keras 2 wrote yamnet.h5: names with "/", a classifier at its end."""
    names = []
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            if not layer.weights or int(layer.name[5:].split("_")[0]) > layers:
                continue
            name = layer.name.replace("_conv_bn", "_conv/bn").replace("layer1_conv", "layer1/conv")
            name = name.replace("_depthwise", "/depthwise").replace("_pointwise", "/pointwise")
            names.append(write_layer(file, name, layer.weights))
        names.append(write_layer(file, "dense", [np.zeros((1024, 521), np.float32), np.zeros(521, np.float32)]))
        file.attrs["layer_names"] = [name.encode() for name in names]
    return path


def write_layer(file: Any, name: str, arrays: list[Any]) -> str:
    group = file.create_group(name)
    group.attrs["weight_names"] = [f"{name}/{number}:0".encode() for number in range(len(arrays))]
    for number, array in enumerate(arrays):
        group.create_dataset(f"{name}/{number}:0", data=np.asarray(array))
    return name


@pytest.fixture(scope="module")
def whole() -> Any:
    return random_weights(_yamnet.build("yamnet", 14, 96, 96))


def test_the_published_file_is_read_in_the_order_of_its_layers(whole, tmp_path):
    path = write_published(tmp_path / "yamnet.h5", whole)
    loaded = backbones.load(BackboneChoice("yamnet", weights=path))
    assert loaded.weights_sha256 == backbones.weights_fingerprint(whole)


def test_the_small_one_takes_the_first_layers_of_the_published_file(whole, tmp_path):
    path = write_published(tmp_path / "yamnet.h5", whole)
    small = backbones.load(BackboneChoice("yamnet_256", weights=path)).model
    cut = keras.Model(whole.input, whole.get_layer("layer6_pointwise_conv_relu").output)
    np.testing.assert_allclose(small(windows()), np.mean(cut(windows()), axis=(1, 2)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.h5"])
def test_what_keras_saved_of_it_is_read_again(name, tmp_path):
    model = random_weights(_yamnet.build("yamnet_256", 6, 96, 96))
    path = tmp_path / name
    if name == "model.h5":
        write_published(path, model)
    elif name == "model.keras":
        model.save(path)
    else:
        model.save_weights(path)
    loaded = backbones.load(BackboneChoice("yamnet_256", weights=path))
    assert loaded.weights_sha256 == backbones.weights_fingerprint(model)


def test_a_model_whose_batch_norms_are_folded_gives_the_same_features(tmp_path):
    x = frames = keras.Input((96, 64, 1))
    for number, (channels, stride) in enumerate(_yamnet._LAYERS[:6], 1):
        options = {"padding": "same", "activation": "relu", "bias_initializer": "random_normal"}
        if number > 1:
            x = keras.layers.DepthwiseConv2D(3, stride, **options)(x)
        x = keras.layers.Conv2D(channels, 1 if number > 1 else 3, 1 if number > 1 else stride, **options)(x)
    folded = keras.Model(frames, keras.layers.GlobalAveragePooling2D()(x))
    folded.save(tmp_path / "folded.keras")
    loaded = backbones.load(BackboneChoice("yamnet_256", weights=tmp_path / "folded.keras")).model
    np.testing.assert_allclose(loaded(windows()), folded(windows()), rtol=1e-4, atol=1e-5)


def test_a_file_of_fewer_layers_is_refused(whole, tmp_path):
    path = write_published(tmp_path / "yamnet.h5", whole, layers=6)
    with pytest.raises(WeightsError, match=r"not those of yamnet .*: it has 11 convolutions, not 27"):
        backbones.load(BackboneChoice("yamnet", weights=path))


def test_the_file_of_another_network_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3), keras.layers.Conv2D(4, 3)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(WeightsError, match="not those of yamnet_256"):
        backbones.load(BackboneChoice("yamnet_256", weights=tmp_path / "other.keras"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.keras", b"no zip", "not a whole .keras file"),
        ("a.h5", b"no hdf5", "not a whole .h5 file"),
        ("a.pth", b"", "expected a .keras or .h5 file, got .pth suffix"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((WeightsError, BackboneError), match=message):
        backbones.load(BackboneChoice("yamnet", weights=tmp_path / name))


def test_another_input_size_is_refused():
    with pytest.raises(BackboneError, match=r"'yamnet': its input is fixed, 96 frames of 64 bands, got 128"):
        backbones._plugin("yamnet").build(1.0, 128, 128)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"), [("yamnet", "yamnet_1024_dequant.keras"), ("yamnet_256", "yamnet_256_f32.keras")]
)
def test_the_features_are_those_of_the_files_own_model(name, file):
    path = next(iter(sorted(Path(FOLDER).rglob(file))), None) if FOLDER else None
    if path is None:
        pytest.skip(f"needs real weights, {file}, in the folder that EDGETRANSFER_SOUND_WEIGHTS names")
    own = keras.models.load_model(path, compile=False)
    if name == "yamnet":
        want = np.asarray(own(windows(8))[1])  # scores and features
    else:
        want = np.mean(own.get_layer("model_2")([windows(8)]), axis=(1, 2))
    loaded = [
        backbones.load(BackboneChoice(name, weights=one)) for one in (path, path.with_suffix(".h5")) if one.is_file()
    ]
    for one in loaded:
        assert np.abs(np.asarray(one.model(windows(8))) - want).max() <= 1e-4
