"""A `.tflite` file, read piece by piece. Every count is held against the file before it is followed.

The generated classes read a flatbuffer where it lies, and Python refuses to read beyond its end; but nothing keeps a
file from speaking of four thousand million tensors, or from using one list of sizes for all of them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models.torch_file import widened
from edgetransfer.quantize.flatbuffer import OP_NAMES, TYPE_NAMES, unpacked
from edgetransfer.transfer.sources._files import dequantized

BROKEN = (struct.error, IndexError, ValueError, TypeError, KeyError, OverflowError, AttributeError, UnicodeDecodeError)
"""What a damaged file makes the generated classes and numpy raise."""

_MOST_AXES = 8  # TensorFlow Lite's kernels take at most 8, most of them fewer
_OWN_TYPES = {
    schema.TensorType.BFLOAT16: "bfloat16",
    schema.TensorType.FLOAT64: "float64",
    schema.TensorType.BOOL: "bool",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor as the file speaks of it.

    Attributes:
        name: Its name.
        shape: Its shape.
        dtype: Its dtype; "type N" of one that is not known here.
        buffer: Where its numbers are in the file, None of one that is computed.
        scales: (n,) float32, n 0 of floats, 1, or the size of `axis`; `zero_points` as many.
        zero_points: (n,) int64.
        axis: The axis that has a scale for each index.
        sparse: Whether only some of its numbers are stored.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    buffer: tuple[int, int] | None
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    sparse: bool


@dataclass(frozen=True, slots=True)
class Op:
    """An operator: its name, the indices of its tensors (-1: left out) and its options' table, None if it has none."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


class TfliteFile:
    """The first subgraph of a `.tflite` file."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._content = content
        self._model = schema.Model.GetRootAs(content)
        self.subgraphs = self._count(self._model.SubgraphsLength())
        if self.subgraphs == 0:
            raise ValueError("it has no graph")
        self._graph = self._model.Subgraphs(0)
        self.path = path
        self.name = _text(self._graph.Name())
        self.tensors = [self._tensor(self._graph.Tensors(i)) for i in range(self._count(self._graph.TensorsLength()))]
        self.ops = list(self._ops())

    def real(self, tensor: Tensor) -> NDArray[Any]:
        """Return the numbers of a stored tensor, integers made real by their scales.

        Raises:
            WeightsError: its numbers are stored in a way that is not read here.
        """
        stored = self._stored(tensor)
        if tensor.dtype == "bfloat16":
            return widened(stored)
        if not tensor.scales.size:
            return stored
        return dequantized(stored, tensor.scales, tensor.zero_points, tensor.axis)

    def _stored(self, tensor: Tensor) -> NDArray[Any]:
        if tensor.sparse or tensor.buffer is None or tensor.dtype.startswith("type"):
            what = "sparse" if tensor.sparse else f"of {tensor.dtype}"
            raise WeightsError(f"parameter {tensor.name!r}: it is {what}, which is not read")
        start, size_bytes = tensor.buffer
        if tensor.dtype == "int4":
            pairs = np.frombuffer(self._content, np.int8, size_bytes, start)
            return unpacked(pairs, tensor.shape)
        dtype = np.dtype("<u2" if tensor.dtype == "bfloat16" else tensor.dtype).newbyteorder("<")
        return np.frombuffer(self._content, dtype, math.prod(tensor.shape), start).reshape(tensor.shape)

    # --- the tables ------------------------------------------------------------------------------------------

    def _count(self, said: int) -> int:
        """Return the length of a list of tables, each of which takes at least four bytes."""
        if not 0 <= said <= len(self._content) // 4:
            raise ValueError(f"it says it has a list of {said} entries, more than its {len(self._content)} bytes hold")
        return said

    def _tensor(self, table: Any) -> Tensor:
        axes = table.ShapeLength()
        if axes > _MOST_AXES:
            raise ValueError(f"it has a tensor of {axes} axes, more than any op takes")
        shape = tuple(int(table.Shape(i)) for i in range(axes))
        dtype = _OWN_TYPES.get(table.Type()) or TYPE_NAMES.get(table.Type()) or f"type {table.Type()}"
        buffer = self._buffer(table.Buffer())
        scales, zero_points, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        pair = table.Quantization()
        if pair is not None and pair.ScaleLength() and buffer is not None:
            axis = int(pair.QuantizedDimension())
            most = max([1, *shape])
            if pair.ScaleLength() > most or pair.ZeroPointLength() not in (0, 1, pair.ScaleLength()):
                raise ValueError(f"a tensor of shape {shape} has {pair.ScaleLength()} scales")
            scales = np.array(pair.ScaleAsNumpy(), np.float32)
            zero_points = (
                np.array(pair.ZeroPointAsNumpy(), np.int64) if pair.ZeroPointLength() else np.zeros(1, np.int64)
            )
        tensor = Tensor(
            _text(table.Name()), shape, dtype, buffer, scales, zero_points, axis, table.Sparsity() is not None
        )
        self._check_size(tensor)
        return tensor

    def _check_size(self, tensor: Tensor) -> None:
        if tensor.buffer is None or tensor.sparse or tensor.dtype.startswith("type"):
            return
        bits = (
            4 if tensor.dtype == "int4" else 16 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype).itemsize * 8
        )
        needed = (math.prod(tensor.shape) * bits + 7) // 8
        if min([0, *tensor.shape]) < 0 or needed > tensor.buffer[1]:
            raise ValueError(
                f"{tensor.name!r} of shape {tensor.shape} needs {needed} bytes, and has {tensor.buffer[1]}"
            )

    def _buffer(self, index: int) -> tuple[int, int] | None:
        """Return where a buffer begins and how long it is; None of an empty one."""
        if not 0 <= index < self._count(self._model.BuffersLength()):
            raise ValueError(f"it has no buffer {index}")
        table = self._model.Buffers(index)
        start, size_bytes = int(table.Offset()), int(table.Size())  # behind the flatbuffer, of files over 2 GB
        if start <= 1:  # TensorFlow writes 1 where it means none
            place = table._tab.Offset(4)  # the field `data`
            if not place:
                return None
            start, size_bytes = int(table._tab.Vector(place)), int(table.DataLength())
        if size_bytes == 0:
            return None
        if start + size_bytes > len(self._content):
            raise ValueError(f"buffer {index} lies at {start} to {start + size_bytes}, beyond the end of the file")
        return start, size_bytes

    def _ops(self) -> Iterator[Op]:
        codes = [
            self._kind(self._model.OperatorCodes(i)) for i in range(self._count(self._model.OperatorCodesLength()))
        ]
        for number in range(self._count(self._graph.OperatorsLength())):
            table = self._graph.Operators(number)
            inputs = tuple(int(table.Inputs(i)) for i in range(self._count(table.InputsLength())))
            outputs = tuple(int(table.Outputs(i)) for i in range(self._count(table.OutputsLength())))
            if any(not -1 <= index < len(self.tensors) for index in (*inputs, *outputs)):
                raise ValueError(f"op {number} takes or gives a tensor that is not there")
            yield Op(codes[table.OpcodeIndex()], inputs, outputs, table.BuiltinOptions())

    def _kind(self, code: Any) -> str:
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if builtin == schema.BuiltinOperator.CUSTOM:
            return _text(code.CustomCode()) or "CUSTOM"
        return str(OP_NAMES.get(builtin, f"op {builtin}"))


def options(op: Op, kind: str) -> Any:
    """Return the options of `op` as those of the class `kind`, such as "Conv2DOptions"; None if it has none."""
    if op.options is None:
        return None
    found = getattr(schema, kind)()
    found.Init(op.options.Bytes, op.options.Pos)
    return found


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode(errors="replace")
