from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import SourceLayer, SourceModel, SourceTensor


def tensor(values: np.ndarray, role: Any = "kernel", layout: str = "OIHW", **more: Any) -> SourceTensor:
    settings = {"name": "a.weight", "dtype": values.dtype.name, "stated": True, "reason": "a test"} | more
    return SourceTensor(shape=values.shape, role=role, layout=layout, read=lambda: values, **settings)


KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)


def test_values_are_float32_of_ones_own_in_the_layout_that_is_asked_for():
    one = tensor(KERNEL)
    assert (one.values() == KERNEL).all()
    assert one.values("HWIO").shape == (2, 2, 3, 2)
    assert one.values("OIHW").shape == KERNEL.shape
    assert one.values() is not KERNEL
    assert one.values("HWIO").flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "int64", "bool", "uint16"])
def test_numbers_of_every_dtype_become_float32(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    found = tensor(values, "dense_kernel", "OI").values("IO")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[0, 1], [1, 0]])


def test_a_float64_beyond_float32_becomes_infinite_without_a_warning():
    assert np.isinf(tensor(np.array([1e300]), "bias", "C").values()).all()


def test_what_is_no_real_number_is_refused():
    with pytest.raises(WeightsError, match="expected real numbers of shape"):
        tensor(np.array([1 + 2j]), "bias", "C").values()
    lies = SourceTensor("w", (3,), "float32", "bias", "C", True, "a test", lambda: np.zeros(4, np.float32))
    with pytest.raises(WeightsError, match=r"of shape \(3,\), got float32 \(4,\)"):
        lies.values()


def test_a_layout_that_cannot_be_made_is_refused():
    with pytest.raises(WeightsError, match=r"'a\.weight': layout OIHW of shape .* of which IO has nothing"):
        tensor(KERNEL).values("IO")
    with pytest.raises(WeightsError, match="its layout is not known"):
        tensor(KERNEL, "other", "").values("HWIO")


def test_a_layout_that_does_not_fit_the_shape_makes_no_tensor():
    with pytest.raises(ValueError, match="has 2 axes"):
        tensor(KERNEL, layout="IO")
    with pytest.raises(ValueError, match="no multiple of 2"):
        tensor(np.zeros((3, 1, 3, 3)), "depthwise_kernel", "(CM)1HW", multiplier=2)


def test_only_what_has_a_role_and_a_layout_can_be_mapped():
    assert tensor(KERNEL).mappable
    assert not tensor(KERNEL, "other").mappable
    assert not tensor(KERNEL, "kernel", "").mappable


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes"),
    [("int4", (3,), 2), ("bfloat16", (3,), 6), ("float64", (), 8), ("type 99", (3,), None)],
)
def test_bytes_are_those_of_the_stored_dtype(dtype, shape, size_bytes):
    one = SourceTensor("w", shape, dtype, "other", "", True, "a test", lambda: np.zeros(shape))
    assert one.stored_bytes == size_bytes


def test_a_model_has_its_layers_by_name_and_its_parameters_in_order():
    kernel, bias = tensor(KERNEL), tensor(np.zeros(2), "bias", "C", name="a.bias")
    layers = (SourceLayer("a", "", (kernel, bias)), SourceLayer("b", "Conv", (kernel,), epsilon=0.1))
    model = SourceModel("m", "PyTorch", "torch", Path("m.pth"), "0" * 64, layers)
    assert model.tensors == (kernel, bias, kernel)
    assert list(model.layers()) == ["a", "b"]
    assert model.layers()["a"].tensor("bias") is bias
