"""Reads, edits and writes `.tflite` files: one subgraph, its tensors and operators.

The schema classes come from ai-edge-litert; this file knows the two traps. The quantizer stores weights outside
the flatbuffer proper, where unpacking would drop them: they are taken in first. And a buffer must be a numpy
array to be written quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

from edgetransfer.errors import ExportError
from edgetransfer.spec.tensor import Quantization

_CODES = {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
OP_NAMES = {code: name for name, code in _CODES.items()}
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "uint8": schema.TensorType.UINT8,
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}
TYPE_NAMES = {code: name for name, code in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class Op:
    """One operator as it stands in the graph: its name and the indices of its tensors (-1: left out)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph:
    """A `.tflite` model with one subgraph, one input and one output, open for editing."""

    def __init__(self, model: Any) -> None:
        """Wrap an unpacked `ModelT`; use `Graph.read`."""
        self.model = model
        self.subgraph = model.subgraphs[0]

    @classmethod
    def read(cls, content: bytes) -> Graph:
        """Return the model in `content`.

        Raises:
            ExportError: it has more than one subgraph (control flow), input or output.
        """
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        for buffer in model.buffers:
            if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
                buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
        graph = cls(model)
        ends = (len(model.subgraphs), len(graph.subgraph.inputs), len(graph.subgraph.outputs))
        if ends != (1, 1, 1):
            raise ExportError(f"the graph has (subgraphs, inputs, outputs) = {ends}; expected (1, 1, 1)")
        return graph

    def to_bytes(self) -> bytes:
        """Return the model as the content of a `.tflite` file."""
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def input(self) -> int:
        """Index of the input tensor."""
        return int(self.subgraph.inputs[0])

    @property
    def output(self) -> int:
        """Index of the output tensor."""
        return int(self.subgraph.outputs[0])

    def ops(self) -> list[Op]:
        """Return the operators in the order of execution; flex and custom ops carry their own names."""
        return [Op(self._op_name(op), tuple(op.inputs), tuple(op.outputs)) for op in self.subgraph.operators]

    def tensor(self, index: int) -> Any:
        """Return the tensor's `TensorT`."""
        return self.subgraph.tensors[index]

    def dtype(self, index: int) -> str:
        """Return the name of the tensor's type; a type that this file does not know is given as its number."""
        return TYPE_NAMES.get(self.tensor(index).type, str(self.tensor(index).type))

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the tensor's shape."""
        return tuple(int(size) for size in self.tensor(index).shape)

    def name(self, index: int) -> str:
        """Return the tensor's name."""
        name = self.tensor(index).name
        return name.decode() if isinstance(name, bytes) else str(name)

    def quantization(self, index: int) -> Quantization | None:
        """Return the per-tensor quantization, or None for a float; per-channel tensors are refused."""
        pair = self.tensor(index).quantization
        if pair is None or pair.scale is None or len(pair.scale) == 0:
            return None
        if len(pair.scale) != 1:
            raise ExportError(f"tensor {self.name(index)!r}: expected one scale, got {len(pair.scale)}")
        return Quantization(float(pair.scale[0]), int(pair.zeroPoint[0]))

    def constant(self, index: int) -> NDArray[Any] | None:
        """Return the tensor's stored values, or None when it is computed at run time; int4 comes as int8."""
        data = self.model.buffers[self.tensor(index).buffer].data
        if data is None or len(data) == 0:
            return None
        if self.dtype(index) == "int4":
            return unpacked(np.frombuffer(bytes(data), np.int8), self.shape(index))
        return np.frombuffer(bytes(data), self.dtype(index)).reshape(self.shape(index))

    # --- changing --------------------------------------------------------------------------------------------

    def set_constant(self, index: int, values: NDArray[Any]) -> None:
        """Replace the tensor's stored values; shape and dtype stay."""
        self.model.buffers[self.tensor(index).buffer].data = _as_bytes(values.astype(self.dtype(index)))

    def add_tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: str,
        quantization: Quantization | None = None,
        values: NDArray[Any] | None = None,
        *,
        channel_scales: NDArray[np.float32] | None = None,
    ) -> int:
        """Append a tensor and return its index; `values` make it a constant.

        `channel_scales` are one scale for each index of axis 0, with zero point 0, instead of `quantization`.
        """
        buffer = schema.BufferT()
        if values is not None:
            buffer.data = _as_bytes(values)
        self.model.buffers.append(buffer)
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), _TYPES[dtype]
        tensor.buffer, tensor.hasRank = len(self.model.buffers) - 1, True
        if quantization is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [quantization.scale]
            tensor.quantization.zeroPoint = [quantization.zero_point]
        if channel_scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(scale) for scale in channel_scales]
            tensor.quantization.zeroPoint = [0] * len(channel_scales)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def add_op(
        self,
        name: str,
        inputs: list[int],
        outputs: list[int],
        *,
        version: int = 1,
        options: Any = None,
        first: bool = False,
    ) -> None:
        """Append an operator, or put it before all others (`first`)."""
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs, op.outputs = self._opcode(name, version), inputs, outputs
        if options is not None:
            op.builtinOptions = options
            op.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.subgraph.operators.insert(0 if first else len(self.subgraph.operators), op)

    def raise_version(self, name: str, version: int) -> None:
        """Say that the graph's ops `name` are of at least that version."""
        self._opcode(name, version)

    def set_ends(self, *, input_index: int, input_name: str, output_index: int, output_name: str) -> None:
        """Say which tensors are the input and the output; the one signature is named accordingly."""
        self.subgraph.inputs, self.subgraph.outputs = [input_index], [output_index]
        signature = schema.SignatureDefT()
        signature.signatureKey = b"serving_default"
        signature.inputs = [_named(input_name, input_index)]
        signature.outputs = [_named(output_name, output_index)]
        self.model.signatureDefs = [signature]

    def _op_name(self, op: Any) -> str:
        code = self.model.operatorCodes[op.opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        if builtin == schema.BuiltinOperator.CUSTOM:
            return str(code.customCode.decode())
        return str(OP_NAMES[builtin])

    def _opcode(self, name: str, version: int) -> int:
        wanted = _CODES[name]
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == wanted:
                code.version = max(code.version, version)
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = wanted, version
        code.deprecatedBuiltinCode = min(wanted, 127)  # the field is a byte; larger codes live in builtinCode only
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1


def unpacked(pairs: NDArray[np.int8], shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Return the numbers of 4 bits in `pairs`, the first of each in the lower half."""
    halves = np.stack([pairs << 4, pairs], axis=1).reshape(-1) >> 4  # shifts keep the sign
    return halves[: math.prod(shape)].reshape(shape)


def _as_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


def _named(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), index
    return entry
