from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BundleError
from edgetransfer.spec.tensor import DTYPES, Quantization, TensorSpec

INTEGERS = ("uint8", "int8", "int16")
# Nothing subnormal: TensorFlow Lite's old runtime leaves a 32-bit Arm processor flushing those to zero, and Hypothesis
# then refuses to draw any.
shares = st.floats(0, 1, allow_subnormal=False)
scales = st.floats(1e-6, 1e3, allow_nan=False)


@st.composite
def quantizations(draw):
    dtype = draw(st.sampled_from(INTEGERS))
    limits = np.iinfo(dtype)
    return Quantization(draw(scales), draw(st.integers(int(limits.min), int(limits.max)))), dtype


@st.composite
def tensors(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4096), min_size=1, max_size=4)))
    pair = draw(st.none() | quantizations().map(lambda found: found[0]))
    return TensorSpec(draw(st.text(max_size=20)), shape, draw(st.sampled_from(DTYPES)), pair)


@given(quantizations(), st.lists(shares, min_size=1, max_size=20))
def test_a_value_within_range_comes_back_within_half_a_step(pair, some):
    quantization, dtype = pair
    limits = np.iinfo(dtype)
    lowest, highest = (quantization.scale * (edge - quantization.zero_point) for edge in (limits.min, limits.max))
    real = lowest + np.array(some) * (highest - lowest)
    back = quantization.dequantize(quantization.quantize(real, dtype))
    rounding = np.abs(real).max() * 2**-22  # dequantize answers in float32
    assert np.abs(back - real).max() <= quantization.scale / 2 + rounding


@given(quantizations())
def test_every_stored_value_comes_back_as_itself(pair):
    quantization, dtype = pair
    limits = np.iinfo(dtype)
    stored = np.arange(limits.min, limits.max + 1, max(1, (limits.max - limits.min) // 997)).astype(dtype)
    assert np.array_equal(quantization.quantize(quantization.dequantize(stored), dtype), stored)


@given(quantizations(), st.floats(1e4, 1e12))
def test_a_value_out_of_range_is_saturated_and_never_wrapped(pair, steps):
    quantization, dtype = pair
    limits = np.iinfo(dtype)
    far = quantization.scale * (steps * 10 + limits.max)
    assert quantization.quantize(np.array([-far, far]), dtype).tolist() == [limits.min, limits.max]


def test_infinity_is_saturated():
    assert Quantization(0.1, 3).quantize(np.array([-np.inf, np.inf]), "int8").tolist() == [-128, 127]


def test_halves_are_rounded_to_even():
    real = np.array([0.5, 1.5, 2.5, -0.5, -1.5])
    assert Quantization(1.0, 0).quantize(real, "int8").tolist() == [0, 2, 2, 0, -2]


def test_the_dtypes_are_those_asked_for():
    pair = Quantization(0.5, -3)
    assert pair.quantize(np.zeros(3), "int16").dtype == np.int16
    assert pair.dequantize(np.zeros((2, 3), np.int8)).dtype == np.float32
    assert pair.dequantize(np.zeros((2, 3), np.int8)).tolist() == [[1.5] * 3] * 2


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(scale):
    with pytest.raises(BundleError, match="quantization scale: expected a finite number above 0, got"):
        Quantization(scale, 0)


@given(tensors())
def test_a_tensor_survives_the_manifest(tensor):
    assert TensorSpec.from_json(json.loads(json.dumps(tensor.to_json()))) == tensor


@pytest.mark.parametrize("dtype", ["float16", "int64", "", "uint8 "])
def test_a_dtype_that_no_engine_gives_is_refused(dtype):
    with pytest.raises(BundleError, match="tensor 'x': expected a dtype of"):
        TensorSpec("x", (1, 2), dtype)


@pytest.mark.parametrize("shape", [(), (0,), (1, -1, 3)])
def test_a_shape_without_fixed_sizes_is_refused(shape):
    with pytest.raises(BundleError, match="tensor 'x': expected sizes of at least 1, got"):
        TensorSpec("x", shape, "int8")


def test_what_is_not_quantized_means_what_it_stores():
    pixels = np.array([0, 255], np.uint8)
    real = TensorSpec("pixels", (2,), "uint8").to_real(pixels)
    assert real.dtype == np.float32
    assert real.tolist() == [0.0, 255.0]
    assert TensorSpec("logits", (2,), "uint8", Quantization(0.5, 255)).to_real(pixels).tolist() == [-127.5, 0.0]


def test_specs_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        TensorSpec("x", (1,), "int8").dtype = "uint8"
