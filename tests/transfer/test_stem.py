"""A stem moved to cameras of 1 and of 4 channels."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.stem import adapted_kernel, with_channels

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")
layers = keras.layers


@pytest.fixture
def pixels(pictures):
    return (pictures[:4] / 127.5 - 1).astype("float32")


def network(*front, channels=3):
    """A small network behind the layers `front`."""
    keras.utils.set_random_seed(5)
    inputs = x = keras.Input((32, 32, channels), name="pixels")
    for layer in front:
        x = layer(x)
    x = layers.Conv2D(6, 3, strides=2, name="stem")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="features")(layers.ReLU()(x)), name="small")


def outputs(model, pixels):
    return np.asarray(model(pixels, training=False))


def test_of_a_grey_picture_the_grey_network_computes_what_the_rgb_network_did(small_keras, pixels):
    grey = pixels[:, :, :, 1:2]
    changed = with_channels(small_keras, 1)
    assert changed.layers == ("stem",)
    assert changed.model.input.shape == (None, 32, 32, 1)
    wanted = outputs(small_keras, np.repeat(grey, 3, axis=3))
    np.testing.assert_allclose(outputs(changed.model, grey), wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_fourth_channel_counts_nothing_until_it_is_tuned(small_keras, pixels):
    four = np.concatenate([pixels, pixels[::-1, :, :, :1]], axis=3)
    np.testing.assert_array_equal(outputs(with_channels(small_keras, 4).model, four), outputs(small_keras, pixels))


def test_a_fourth_channel_can_begin_as_the_mean_of_the_others(small_keras, pixels):
    kernel = np.asarray(small_keras.get_layer("stem").kernel)
    changed = with_channels(small_keras, 4, fourth="mean")
    adapted = np.asarray(changed.model.get_layer("stem").kernel)
    np.testing.assert_array_equal(adapted[:, :, :3], kernel)
    np.testing.assert_allclose(adapted[:, :, 3], kernel.mean(axis=2), rtol=1e-6, atol=1e-7)
    four = np.concatenate([pixels, pixels[::-1, :, :, :1]], axis=3)
    assert not np.allclose(outputs(changed.model, four), outputs(small_keras, pixels))


def test_the_network_itself_is_not_touched_and_shares_no_layer(small_keras):
    before = np.asarray(small_keras.get_layer("stem").kernel).copy()
    changed = with_channels(small_keras, 1)
    np.testing.assert_array_equal(np.asarray(small_keras.get_layer("stem").kernel), before)
    assert not {id(layer) for layer in changed.model.layers} & {id(layer) for layer in small_keras.layers}
    for one, other in zip(changed.model.get_layer("last").weights, small_keras.get_layer("last").weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    np.testing.assert_allclose(np.asarray(changed.model.get_layer("stem").kernel), adapted_kernel(before, 1, "zero"))


@pytest.mark.parametrize(
    "front",
    [
        lambda: [layers.Rescaling(1 / 2, 0.25), layers.ZeroPadding2D(1)],
        lambda: [layers.Normalization(mean=0.1, variance=2.0)],
        lambda: [layers.Normalization(mean=[0.1] * 3, variance=[2.0] * 3)],
        lambda: [keras.Sequential([layers.Rescaling(1 / 2)])],
    ],
)
def test_what_treats_all_channels_alike_may_stand_in_front(front, pixels):
    model = network(*front())
    grey = pixels[:, :, :, :1]
    wanted = outputs(model, np.repeat(grey, 3, axis=3))
    changed = with_channels(model, 1)
    assert changed.layers == ("stem",)
    np.testing.assert_allclose(outputs(changed.model, grey), wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_model_inside_of_a_model_is_adapted_where_it_is(pixels):
    inner = network()
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.Dense(3)(inner(inputs)), name="outer")
    grey = pixels[:, :, :, :1]
    changed = with_channels(model, 1)
    wanted = outputs(model, np.repeat(grey, 3, axis=3))
    np.testing.assert_allclose(outputs(changed.model, grey), wanted, atol=1e-5 * np.abs(wanted).max())
    assert inner.input.shape == (None, 32, 32, 3)


def test_every_convolution_that_sees_the_image_is_adapted(pixels):
    inputs = keras.Input((32, 32, 3))
    both = [layers.Conv2D(4, 3, padding="same", name=name)(inputs) for name in ("one", "other")]
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Concatenate()(both)), name="two")
    changed = with_channels(model, 1)
    assert set(changed.layers) == {"one", "other"}
    grey = pixels[:, :, :, :1]
    wanted = outputs(model, np.repeat(grey, 3, axis=3))
    np.testing.assert_allclose(outputs(changed.model, grey), wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("front", "words"),
    [
        (lambda: layers.Rescaling([1.0, 2.0, 3.0], name="scaled"), r"'scaled' \(Rescaling\).*number for each colour"),
        (lambda: layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0] * 3, name="means"), "'means'.*--normalise"),
        (lambda: layers.BatchNormalization(name="norm"), r"'norm' \(BatchNormalization\).*number for each colour"),
        (lambda: layers.DepthwiseConv2D(3, name="apart"), r"'apart' \(DepthwiseConv2D\) takes the image"),
        (lambda: layers.Conv2D(3, 1, groups=3, name="groups"), r"'groups' \(Conv2D\)"),
        (lambda: layers.Softmax(name="odd"), r"'odd' \(Softmax\)"),
    ],
)
def test_what_treats_colours_differently_is_refused_by_name(front, words):
    with pytest.raises(BackboneError, match=words):
        with_channels(network(front()), 1)


def test_other_numbers_of_channels_are_refused(small_keras):
    with pytest.raises(BackboneError, match="1 or 4 channels, got 2"):
        with_channels(small_keras, 2)
    with pytest.raises(BackboneError, match=r"expected 3 channels \(RGB\) to start from, got 1"):
        with_channels(with_channels(small_keras, 1).model, 4)
    with pytest.raises(BackboneError, match="fourth: expected one of"):
        with_channels(small_keras, 4, fourth="half")
