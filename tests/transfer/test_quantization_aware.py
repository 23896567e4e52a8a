"""Fake quantization computes what the exported integer graph computes, and lets gradients through."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES
from edgetransfer.transfer.stages import layers_with_weights

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer.quantization_aware import (  # noqa: E402
    QuantizationAware,
    fake_quantized,
    fake_quantized_kernel,
)

NORMALISATION = Normalisation(1 / 127.5, 127)
MIN_MAX = replace(RECIPES["static_int8"], weight_ranges="min_max")


@pytest.fixture(scope="module")
def pixels(pictures):
    return NORMALISATION.to_real(pictures)


@pytest.fixture
def aware(small_keras, pixels):
    return QuantizationAware(small_keras, (pixels[at : at + 20] for at in range(0, 60, 20)))


@pytest.fixture(scope="module")
def exported(small_float, pictures):
    """The integer graph's features, (60, 24) stored int8, and what they mean."""
    ranges = calibrate(small_float, pictures, NORMALISATION)
    engine = open_engine("litert", carry_out(small_float, MIN_MAX, NORMALISATION, ranges, pictures))
    return np.concatenate([engine.run(one[None]) for one in pictures]), engine.output.quantization


def test_features_are_those_of_the_exported_integer_graph(aware, exported, small_keras, pixels):
    stored, quantization = exported
    fake = np.asarray(aware.backbone(pixels, training=False)) / quantization.scale + quantization.zero_point
    assert (np.abs(fake - stored) < 0.01).mean() >= 0.99  # the very same step
    assert np.abs(fake - stored).max() <= 1.01
    plain = quantization.quantize(np.asarray(small_keras(pixels, training=False)), "int8")
    assert (plain == stored).mean() < 0.9  # so that the above says something


def test_equal_weights_give_equal_features_without_fake_quantization(aware, small_keras, pixels):
    wanted = np.asarray(small_keras(pixels, training=False))
    np.testing.assert_allclose(np.asarray(aware.plain()(pixels, training=False)), wanted, rtol=1e-4, atol=1e-6)


def test_what_is_learned_is_in_the_plain_model(aware):
    kernel = aware.backbone.get_layer("project").kernel
    kernel.assign(kernel + 0.5)
    plain = aware.plain()
    np.testing.assert_array_equal(np.array(plain.get_layer("project").kernel), np.array(kernel))
    assert not any("Fake" in type(layer).__name__ or "Range" in type(layer).__name__ for layer in plain.layers)


def test_a_tensor_is_rounded_to_steps_of_which_zero_is_one():
    values = np.array([-3.0, -1.0, -0.004, 0.0, 0.013, 2.0, 9.0], np.float32)
    found = np.asarray(fake_quantized(values, -1.0, 2.0))
    step, zero = 3 / 255, 85
    np.testing.assert_allclose(found, (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step, atol=1e-6)
    assert found[3] == 0


def test_kernels_have_a_scale_an_output_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32) * np.array([1, 100], np.float32)
    plain = np.asarray(fake_quantized_kernel(kernel, depthwise=False))
    scale = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    np.testing.assert_allclose(plain, np.rint(kernel / scale) * scale, rtol=1e-5, atol=1e-6)
    each = np.asarray(fake_quantized_kernel(kernel, depthwise=True))
    scale = np.abs(kernel).max(axis=(0, 1)) / 127
    np.testing.assert_allclose(each, np.rint(kernel / scale) * scale, rtol=1e-5, atol=1e-6)


def test_gradients_pass_but_not_where_a_value_was_cut_off():
    import tensorflow as tf

    values = tf.Variable([-3.0, -0.4, 0.013, 1.9, 9.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(fake_quantized(values, -1.0, 2.0) * [1.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(tape.gradient(total, values), [0, 2, 3, 4, 0])


def test_ranges_follow_training_and_are_not_learned(aware, pixels):
    layer = aware.backbone.get_layer("add_range")
    before = float(layer.high)
    aware.backbone(pixels[:8] * 3, training=True)
    after = float(layer.high)
    assert after > before
    aware.backbone(pixels[:8] * 3, training=False)
    assert float(layer.high) == after
    assert not any("range" in weight.path for weight in aware.backbone.trainable_weights)
    assert not any("range" in layer.name for layer in layers_with_weights(aware.backbone))
