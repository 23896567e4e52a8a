"""Tensors at the edge of a model: their shape, dtype, and what a stored integer means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest real value of a tensor, by the tensor's name in the float graph."""
DTYPES = ("uint8", "int8", "int16", "int32", "float32")


@dataclass(frozen=True, slots=True)
class Quantization:
    """Per-tensor affine quantization: real = scale * (stored - zero_point).

    Source: the LiteRT 8-bit quantization specification.
    """

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise BundleError(f"quantization scale: expected a finite number above 0, got {self.scale!r}")

    def quantize(self, real: NDArray[np.floating[Any]], dtype: str) -> NDArray[Any]:
        """Return `real` as stored integers of `dtype`: rounded half to even, saturated, never wrapped."""
        limits = np.iinfo(dtype)
        stored = np.rint(np.asarray(real, np.float64) / self.scale) + self.zero_point
        clipped: NDArray[Any] = np.clip(stored, limits.min, limits.max).astype(dtype)
        return clipped

    def dequantize(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return the real values of `stored` as float32."""
        real: NDArray[np.float32] = (stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return real


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; `quantization` is None for floats and for raw pixels."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise BundleError(f"tensor {self.name!r}: expected a dtype of {DTYPES}, got {self.dtype!r}")
        if not self.shape or any(size < 1 for size in self.shape):
            raise BundleError(f"tensor {self.name!r}: expected sizes of at least 1, got {self.shape}")

    def to_real(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return what `stored` means as float32."""
        return stored.astype(np.float32) if self.quantization is None else self.quantization.dequantize(stored)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        pair = self.quantization
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "quantization": None if pair is None else {"scale": pair.scale, "zero_point": pair.zero_point},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TensorSpec:
        """Return the tensor that `to_json` described."""
        pair = data["quantization"]
        quantization = None if pair is None else Quantization(float(pair["scale"]), int(pair["zero_point"]))
        return cls(str(data["name"]), tuple(int(n) for n in data["shape"]), str(data["dtype"]), quantization)
