from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.models import backbones
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

# Keras 3.15 with numpy 2 warns of itself whenever it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
L: Any = keras.layers

RAW = Normalisation(1.0, 0)
UNIT = Normalisation(1 / 255, 0)


def trunk(x: Any, *, bias: bool = True) -> Any:
    x = L.Conv2D(6, 3, strides=2, use_bias=bias, name="first")(x)
    return L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))


def saved(path: Path, inputs: Any, outputs: Any) -> Path:
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "moving_mean" in variable.path:
            variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    model.save(path)
    return path


def images(px: int = 20) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (2, px, px, 3)).astype(np.float32)


def load(path: Path, **options: Any) -> backbones.Backbone:
    return backbones.load(BackboneChoice(f"keras:{path}", **options))


def features(loaded: backbones.Backbone, pixels: np.ndarray) -> np.ndarray:
    norm = loaded.normalisation
    return np.asarray(loaded.model((pixels - norm.zero_point) * np.float32(norm.scale)))


def layer_output(path: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    model = keras.models.load_model(path, compile=False)
    part = keras.Model(model.inputs[0], model.get_layer(name).output)
    return np.asarray(part(pixels, training=False)).reshape(len(pixels), -1)


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(BackboneError) as caught:
        load(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


POOLS: dict[str, Callable[[], Any]] = {
    "average": lambda: L.GlobalAveragePooling2D(name="pool"),
    "average that keeps the map": lambda: L.GlobalAveragePooling2D(keepdims=True, name="pool"),
    "max": lambda: L.GlobalMaxPooling2D(name="pool"),
    "average over a window as large as the map": lambda: L.AveragePooling2D(9, name="pool"),
}


@pytest.mark.parametrize("kind", POOLS)
def test_a_model_is_cut_at_its_pooling_and_its_rescaling_becomes_the_normalisation(kind, tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = POOLS[kind]()(trunk(L.Rescaling(1 / 255)(inputs)))
    path = saved(tmp_path / "m.keras", inputs, L.Dense(2)(L.Dropout(0.5)(L.Flatten()(x))))
    loaded = load(path)
    assert loaded.normalisation == UNIT
    assert (loaded.name, loaded.feature_size, loaded.licence) == ("keras:m.keras", 6, "not stated")
    assert [op.name for op in loaded.model.operations] == ["pixels", "first", "norm", "relu", "features"]
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images()), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_half_a_grey_level_goes_into_the_first_convolution_exactly(bias, tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = trunk(L.Rescaling(1 / 127.5, offset=-1)(inputs), bias=bias)
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D(name="pool")(x))
    loaded = load(path)
    assert loaded.normalisation == Normalisation(1 / 127.5, 127)
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images()), atol=1e-5)


def test_half_a_grey_level_also_goes_into_a_depthwise_convolution(tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = L.DepthwiseConv2D(3, depth_multiplier=2)(L.Rescaling(1 / 127.5, offset=-1)(inputs))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D(name="pool")(x))
    np.testing.assert_allclose(features(load(path), images()), layer_output(path, "pool", images()), atol=1e-5)


@pytest.mark.parametrize(
    "front",
    [
        lambda x: L.Rescaling([1 / 255] * 3, offset=[-0.4, -0.5, -0.6])(x),  # one number a channel
        lambda x: L.ReLU()(L.Rescaling(1 / 127.5, offset=-1)(x)),  # nothing takes the half level in
        lambda x: L.Rescaling(1 / 127.5, offset=3)(x),  # zero point below 0
    ],
)
def test_a_rescaling_that_no_whole_zero_point_can_stand_for_asks_for_the_flag(front, tmp_path):
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D(name="pool")(trunk(front(inputs), bias=False)))
    message = refused(path)
    assert "its Rescaling layer cannot become one whole zero point" in message
    assert "--normalise SCALE,ZERO_POINT" in message
    loaded = load(path, normalisation=RAW)  # the front stays in the graph, which takes raw pixels
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images()), rtol=1e-4, atol=1e-5)


def test_a_model_that_does_not_say_what_it_expects_asks_for_the_flag(tmp_path):
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D()(trunk(inputs)))
    assert "no leading Rescaling layer" in refused(path)
    assert load(path, normalisation=UNIT).normalisation == UNIT


@pytest.mark.parametrize("normalisation", [Normalisation(0.0, 0), Normalisation(1.0, 256), Normalisation(1.0, -1)])
def test_a_normalisation_that_no_pixel_can_have_is_refused(normalisation, tmp_path):
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D()(trunk(inputs)))
    assert "whole zero point of 0 to 255" in refused(path, normalisation=normalisation)


def test_layers_that_augment_are_left_out(tmp_path):
    inputs = keras.Input((20, 20, 3))
    augment = keras.Sequential([keras.Input((20, 20, 3)), L.RandomFlip(), L.RandomRotation(0.1)], name="augment")
    x = L.Rescaling(1 / 255)(L.GaussianNoise(0.1)(augment(inputs)))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D(name="pool")(trunk(x)))
    loaded = load(path)
    assert [op.name for op in loaded.model.operations] == ["pixels", "first", "norm", "relu", "features"]
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images()), atol=1e-5)


def test_the_pooling_of_a_squeeze_excite_block_is_not_taken_for_the_last(tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = trunk(inputs)
    gate = L.Conv2D(6, 1)(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, gate])
    path = saved(tmp_path / "bad.keras", inputs, L.Dense(2, name="top")(L.Flatten()(x)))
    message = refused(path, normalisation=UNIT)
    assert "top (Dense)" in message
    assert "Save a model that ends in such a layer" in message
    path = saved(tmp_path / "good.keras", inputs, L.GlobalAveragePooling2D(name="pool")(x))
    loaded = load(path, normalisation=UNIT)
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images() / 255), atol=1e-5)


def test_a_model_with_a_nested_backbone_is_cut_behind_it(tmp_path):
    inner = keras.Input((20, 20, 3))
    base = keras.Model(inner, L.GlobalAveragePooling2D()(trunk(inner)), name="base")
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.Dense(2)(base(L.Rescaling(1 / 255)(inputs), training=False)))
    loaded = load(path)
    assert [op.name for op in loaded.model.operations] == ["pixels", "base"]
    want = np.asarray(keras.models.load_model(path).get_layer("base")(images() / 255))
    np.testing.assert_allclose(features(loaded, images()), want, atol=1e-5)


def test_a_nested_sequential_backbone_is_cut_behind_it(tmp_path):
    base = keras.Sequential([keras.Input((20, 20, 3)), L.Conv2D(4, 3), L.GlobalAveragePooling2D()], name="base")
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.Dense(2)(base(L.Rescaling(1 / 255)(inputs))))
    assert load(path).model.output.shape == (None, 4)


def test_a_sequential_model_serves_too(tmp_path):
    model = keras.Sequential(
        [keras.Input((20, 20, 3)), L.Rescaling(1 / 255), L.Conv2D(4, 3), L.GlobalAveragePooling2D(), L.Dense(2)]
    )
    model.save(tmp_path / "m.keras")
    loaded = load(tmp_path / "m.keras")
    assert (loaded.feature_size, loaded.normalisation) == (4, UNIT)


def test_what_was_cut_off_costs_nothing(tmp_path):
    inputs = keras.Input((20, 20, 3))
    x = L.GlobalAveragePooling2D()(trunk(L.Rescaling(1 / 255)(inputs)))
    path = saved(tmp_path / "m.keras", inputs, L.Dense(1000)(x))
    spec = backbones.resolve(BackboneChoice(f"keras:{path}")).spec
    assert spec.parameters == 3 * 3 * 3 * 6 + 6 + 4 * 6
    assert spec.macs == 9 * 9 * 3 * 3 * 3 * 6


def test_a_model_for_any_size_asks_for_one_and_counts_nested_layers_at_it(tmp_path):
    inner = keras.Input((None, None, 3))
    base = keras.Model(inner, L.Conv2D(4, 3, name="deep")(inner), name="base")
    inputs = keras.Input((None, None, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D()(base(L.Rescaling(1 / 255)(inputs))))
    assert "say which with --input-size" in refused(path)
    resolved = backbones.resolve(BackboneChoice(f"keras:{path}", input_px=20))
    assert (resolved.height_px, resolved.width_px) == (20, 20)
    assert resolved.spec.macs == 18 * 18 * 3 * 3 * 3 * 4


def test_a_model_of_one_size_refuses_others_and_need_not_be_square(tmp_path):
    inputs = keras.Input((20, 30, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D()(trunk(L.Rescaling(1 / 255)(inputs))))
    assert "takes 20 x 30 px only, not 64" in refused(path, input_px=64)
    assert (load(path).height_px, load(path).width_px) == (20, 30)


@pytest.mark.parametrize("shape", [(20, 20, 2), (20, 20, 5), (3, 20, 20), (16,)])
def test_a_model_that_takes_no_image_of_1_3_or_4_channels_is_refused(shape, tmp_path):
    inputs = keras.Input(shape)
    path = saved(tmp_path / "m.keras", inputs, L.Dense(2)(L.Flatten()(inputs)))
    wanted = "expected one input (None, height, width, channels) of images with 1, 3 or 4 channels"
    assert wanted in refused(path, normalisation=UNIT)


def test_a_model_with_two_inputs_is_refused(tmp_path):
    a, b = keras.Input((20, 20, 3)), keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", [a, b], L.GlobalAveragePooling2D()(L.Add()([a, b])))
    assert "expected one input" in refused(path, normalisation=UNIT)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_lambda_layer_is_refused_before_keras_sees_it(suffix, tmp_path):
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / f"m{suffix}", inputs, L.GlobalAveragePooling2D()(L.Lambda(lambda x: x * 2)(inputs)))
    assert "has a Lambda layer, which would run code from the file; refused" in refused(path, normalisation=UNIT)


@pytest.mark.parametrize(
    "part",
    [
        {"module": "my_package", "class_name": "Mine", "config": {}, "registered_name": "my_package>Mine"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"},
        {"module": "keras_hacks.layers", "class_name": "Dense", "config": {}},
    ],
)
def test_what_is_not_keras_own_is_refused_by_name(part, tmp_path):
    inputs = keras.Input((20, 20, 3))
    path = saved(tmp_path / "m.keras", inputs, L.GlobalAveragePooling2D()(trunk(inputs)))
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    config["config"]["layers"][1]["config"]["kernel_initializer"] = part
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    assert f"needs {part['module']}." in refused(path, normalisation=UNIT)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.tflite"])
def test_a_file_that_is_no_model_is_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(b"no model")
    assert str(tmp_path / name) in refused(tmp_path / name, normalisation=UNIT)


def test_a_file_of_weights_alone_says_how_to_use_it(tmp_path):
    inputs = keras.Input((20, 20, 3))
    keras.Model(inputs, L.GlobalAveragePooling2D()(trunk(inputs))).save_weights(tmp_path / "m.weights.h5")
    assert "give this file as --weights" in refused(tmp_path / "m.weights.h5", normalisation=UNIT)


def test_flags_of_registered_backbones_are_refused(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"")
    assert "for registered backbones only" in refused(tmp_path / "m.keras", alpha=0.5)


def awkward(path: Path) -> Path:
    """A model with names that TensorFlow takes for no scope, two of which become the same."""
    inputs = keras.Input((20, 20, 3))
    x = L.Conv2D(4, 3, name="_stem")(L.Rescaling(1 / 255, name="größe")(inputs))
    x = L.Conv2D(4, 3, name="a c")(L.Conv2D(4, 3, name="a b")(x))
    return saved(path, inputs, L.GlobalAveragePooling2D(name="pool")(L.Conv2D(4, 3, name="a_b")(x)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_names_that_tensorflow_refuses_are_changed_and_nothing_else(suffix, tmp_path):
    path = awkward(tmp_path / f"m{suffix}")
    loaded = load(path)
    names = [op.name for op in loaded.model.operations]
    assert names == ["pixels", "layer_stem", "a_b_", "a_c", "a_b", "features"]
    assert all(variable.path.split("/")[0] in names for variable in loaded.model.weights)
    np.testing.assert_allclose(features(loaded, images()), layer_output(path, "pool", images()), atol=1e-5)


@pytest.mark.slow
def test_a_model_with_such_names_can_be_exported(tmp_path):
    from edgetransfer.export.litert import convert

    assert len(convert(load(awkward(tmp_path / "m.keras")).model)) > 1000
