"""A source model: the parameters that a file of any framework has, read and never run.

What a parameter is for (its role) and what its axes mean (its layout) is what a mapping to another network needs.
Some formats state both; of others they are inferred from names and shapes, and `stated` says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer import layouts

Role = Literal[
    "kernel",
    "depthwise_kernel",
    "transposed_kernel",
    "dense_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
    "embedding",
    "other",
]
"""What a parameter is for, in Keras' words; a transposed kernel is that of a transposed convolution."""

VECTOR = "C"
"""The layout of biases and of what normalisations have: one number a channel."""

_BITS = {
    "bool": 8, "int2": 2, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "float16": 16,
    "bfloat16": 16, "int32": 32, "uint32": 32, "float32": 32, "int64": 64, "uint64": 64, "float64": 64,
    "complex64": 64, "complex128": 128, "float8_e4m3": 8, "float8_e5m2": 8, "float8_e4m3fn": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A parameter as the file has it; its numbers are read when they are asked for.

    Attributes:
        name: The name in the file, unchanged: it may hold any character.
        shape: The shape in the file.
        dtype: The dtype in the file, such as "float32", "bfloat16" or "int8".
        role: What it is for; "other" where that is not known, or no layer of ours has such a parameter.
        layout: What its axes mean, see `edgetransfer.transfer.layouts`; "" where that is not known.
        stated: Whether the format says role and layout, by an op or a layer's class; else they are inferred.
        reason: How they are known or, of "other", why there is none.
        read: Returns the real numbers of that shape, integers made real by their scales; of any dtype of numbers.
        multiplier: Channels that a depthwise kernel makes of each.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    layout: str
    stated: bool
    reason: str
    read: Callable[[], NDArray[Any]] = field(repr=False, compare=False)
    multiplier: int = 1

    def __post_init__(self) -> None:
        if self.layout:
            layouts.sizes_of(self.layout, self.shape, self.multiplier)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def stored_bytes(self) -> int | None:
        """How many bytes they take in the file, not counting scales; None of a dtype that is not known."""
        bits = _BITS.get(self.dtype)
        return None if bits is None else (self.size * bits + 7) // 8

    @property
    def mappable(self) -> bool:
        """Whether enough is known of it to put it into another network: its role and its layout."""
        return self.role != "other" and self.layout != ""

    def values(self, layout: str = "") -> NDArray[np.float32]:
        """Return the numbers as a float32 array of its own, in the file's order of axes or in `layout`.

        Args:
            layout: Such as "HWIO" for a kernel as Keras has it; "" for the file's own.

        Raises:
            WeightsError: they cannot be read, are no real numbers, or cannot have that layout.
        """
        raw = self.read()
        if raw.dtype.kind not in "fiub" or raw.shape != self.shape:
            raise WeightsError(
                f"parameter {self.name!r}: expected real numbers of shape {self.shape}, got {raw.dtype} {raw.shape}"
            )
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is counted as such
            real = np.array(raw, np.float32)
        if layout in ("", self.layout):
            return real
        if not self.layout:
            raise WeightsError(
                f"parameter {self.name!r}: its layout is not known ({self.reason}), so {layout} cannot be made"
            )
        try:
            return layouts.convert(real, self.layout, layout, self.multiplier)
        except ValueError as trouble:
            raise WeightsError(f"parameter {self.name!r}: {trouble}") from trouble


@dataclass(frozen=True, slots=True)
class SourceLayer:
    """Parameters that belong together, in the file's order.

    Attributes:
        name: The layer's, node's or scope's name in the file, unique in it.
        kind: The framework's word for what it does, such as "Conv2D" or "CONV_2D"; "" where the file does not say.
        tensors: Its parameters.
        attributes: What the file says of it besides, such as strides: JSON values by the framework's own names.
        epsilon: What a batch or layer norm adds to the variance, where the file says it.
    """

    name: str
    kind: str
    tensors: tuple[SourceTensor, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None

    def tensor(self, role: Role) -> SourceTensor | None:
        """Return its first parameter of that role, None if it has none."""
        return next((tensor for tensor in self.tensors if tensor.role == role), None)


@dataclass(frozen=True, slots=True)
class SourceModel:
    """All parameters of a source model.

    Attributes:
        name: What the file calls the model, else the file's name without its ending.
        framework: Who wrote it: "Keras", "TensorFlow", "PyTorch", "ONNX", "TensorFlow Lite" or "unknown".
        format: Name of the reader in `edgetransfer.transfer.sources`.
        path: The file or folder.
        sha256: Of the file; where there are several, of the lines "SHA256  NAME" of each, sorted by name.
        parts: Its layers in the order of the graph, or of the file where it has no graph.
        notes: What in the file was not read, and why, a sentence each.
    """

    name: str
    framework: str
    format: str
    path: Path
    sha256: str
    parts: tuple[SourceLayer, ...]
    notes: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[SourceTensor, ...]:
        """All parameters in order."""
        return tuple(tensor for layer in self.parts for tensor in layer.tensors)

    def layers(self) -> dict[str, SourceLayer]:
        """Return the layers by name, in order."""
        return {layer.name: layer for layer in self.parts}
