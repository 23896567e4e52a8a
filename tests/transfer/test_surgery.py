"""The structure of a backbone changed, its weights kept."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, UnknownNameError
from edgetransfer.transfer.surgery import SIMPLE, SMOOTH, activations_of, cut_at, with_activations, with_input_size

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.fixture
def pixels(pictures):
    return (pictures[:4] / 127.5 - 1).astype("float32")


@pytest.fixture(scope="module")
def smooth():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(6, 3, activation="silu", name="first")(inputs)
    x = keras.layers.Activation("hard_silu", name="second")(keras.layers.Conv2D(6, 1, name="middle")(x))
    x = keras.ops.silu(keras.layers.Conv2D(5, 1, activation="sigmoid", name="gate")(x))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="features")(x), name="smooth")


def test_a_cut_ends_in_the_mean_of_that_layers_map(small_keras, pixels):
    changed = cut_at(small_keras, "add")
    maps = keras.Model(small_keras.input, small_keras.get_layer("add").output)(pixels)
    np.testing.assert_allclose(np.asarray(changed.model(pixels)), np.mean(maps, axis=(1, 2)), rtol=1e-5, atol=1e-6)
    assert changed.layers == ("last", "last_relu", "pool")


def test_a_layer_that_there_is_not_is_answered_with_the_nearest(small_keras):
    with pytest.raises(UnknownNameError, match="did you mean 'depthwise_relu'"):
        cut_at(small_keras, "depthwise_rel")


def test_a_layer_without_a_map_cannot_be_the_end(small_keras):
    with pytest.raises(BackboneError, match="expected one map"):
        cut_at(small_keras, "pool")


def test_another_size_has_the_same_weights(small_keras):
    changed = with_input_size(small_keras, 48, 64)
    assert changed.model.input.shape == (None, 48, 64, 3)
    assert changed.model.get_layer("stem") is small_keras.get_layer("stem")
    assert changed.model(np.zeros((1, 48, 64, 3), "float32")).shape == (1, 24)


def test_a_layer_made_for_one_size_is_told():
    inputs = keras.Input((8, 8, 3))
    fixed = keras.layers.Dense(4)(keras.layers.Flatten()(inputs))
    with pytest.raises(BackboneError, match="cannot take 12 x 12 px"):
        with_input_size(keras.Model(inputs, fixed, name="fixed"), 12, 12)


def test_smooth_activations_become_simple_ones_and_others_stay(smooth):
    assert activations_of(smooth) == {"silu": 2, "hard_silu": 1, "sigmoid": 1}
    changed = with_activations(smooth, dict.fromkeys(SMOOTH, SIMPLE))
    assert activations_of(changed.model) == {"relu6": 3, "sigmoid": 1}
    assert len(changed.layers) == 3
    assert {"first", "second"} <= set(changed.layers)
    for one, other in zip(smooth.get_weights(), changed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_model_itself_is_not_touched(smooth, pixels):
    before = np.asarray(smooth(pixels[:, :16, :16]))
    changed = with_activations(smooth, {"silu": "relu6"})
    np.testing.assert_array_equal(np.asarray(smooth(pixels[:, :16, :16])), before)
    assert not np.allclose(np.asarray(changed.model(pixels[:, :16, :16])), before)


def test_activations_that_are_not_there_are_told(small_keras):
    with pytest.raises(BackboneError, match="none of the activations gelu"):
        with_activations(small_keras, {"gelu": "relu6"})


def test_a_real_network_with_hard_swish_is_freed_of_it():
    network = keras.applications.MobileNetV3Small(
        weights=None, include_top=False, input_shape=(32, 32, 3), include_preprocessing=False
    )
    changed = with_activations(network, dict.fromkeys(SMOOTH, SIMPLE))
    assert activations_of(network)["hard_silu"] == 18
    assert activations_of(changed.model) == {"relu6": 18}
