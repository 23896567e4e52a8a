"""Tells what memory a `.tflite` asks of LiteRT: its tensors from their first op to their last, and XNNPACK's share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgetransfer.estimate.memory import Buffer, Demand, Memory, predict
from edgetransfer.export import _litert_xnnpack as xnnpack
from edgetransfer.export._litert_xnnpack import Part, Tensors
from edgetransfer.quantize.flatbuffer import Graph, Op
from edgetransfer.runtime.engines import Kernels

_ONTO_INPUTS = {"ADD": 2, "SUB": 2, "MUL": 2, "DIV": 2, "SOFTMAX": 1}
"""How many of an op's first inputs may be overwritten with its output: `kTfLiteInplaceOpInput...Shared` in
tflite/kernels."""
_VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST")
"""Ops whose output is their input: `kTfLiteInplaceOpDataUnmodified`."""
_SCALAR_BYTES = 4  # not worth sharing: `kScalarTensorBytes`
_CHECKED = frozenset({"float32", "int8", "uint8", "int32"})
_SEEN = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED",
        "GELU", "HARD_SWISH", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "NEG", "PAD", "QUANTIZE", "RELU", "RESHAPE",
        "RSQRT", "SOFTMAX", "SQUARED_DIFFERENCE", "STRIDED_SLICE",
    }
)  # fmt: skip


def memory(model: bytes) -> Memory:
    """Return the memory that `model` will take in LiteRT with its default kernels."""
    return predict(demand(model))


def buffers(model: bytes) -> tuple[Buffer, ...]:
    """Return the tensors of `model` as LiteRT's own planner gets them, where no delegate takes ops away.

    Tensors that share memory are one; those that are kept to the end live for one more op than there are. What kernels
    ask for besides is left out: those of LiteRT's reference kernels that take floats and int8 weights do.
    """
    tensors = Tensors(Graph.read(model))
    return _arena(tensors, tensors.ops)


def demand(model: bytes, *, kernels: Kernels = "default") -> Demand:
    """Return all that `model` asks of LiteRT with these `kernels`."""
    tensors = Tensors(Graph.read(model))
    parts = xnnpack.parts(tensors) if kernels == "default" else tuple(Part((op,), False) for op in tensors.ops)
    taken = [part for part in parts if part.delegated]
    ops = [xnnpack.outside(tensors, part) if part.delegated else part.ops[0] for part in parts]
    touched = {tensors.graph.dtype(index) for op in tensors.ops for index in (*op.inputs, *op.outputs) if index >= 0}
    return Demand(
        kernels=kernels,
        arena=_arena(tensors, ops),
        workspaces=tuple(xnnpack.workspace(tensors, part) for part in taken),
        packed_bytes=sum(xnnpack.packed_bytes(tensors, op) for part in taken for op in part.ops),
        table_bytes=sum(xnnpack.table_bytes(tensors, op) for part in taken for op in part.ops),
        file_bytes=len(model),
        ops=len(tensors.ops),
        usual=touched <= _CHECKED and {op.name for op in tensors.ops} <= _SEEN and not tensors.mixes_numbers(),
    )


def _arena(tensors: Tensors, ops: Sequence[Op]) -> tuple[Buffer, ...]:
    """Return the buffers of `ops`, which may be parts of a graph taken together."""
    ends = Counter((tensors.graph.input, tensors.graph.output))  # never given back
    same = _shared(tensors, ops, ends)
    left = ends + Counter(same.get(index, index) for op in ops for index in op.inputs if index >= 0)
    first = {tensors.graph.input: 0}
    last: dict[int, int] = {}
    for number, op in enumerate(ops):
        for index in op.outputs:
            first.setdefault(index, number)
        for index in (same.get(index, index) for index in op.inputs if index >= 0):
            left[index] -= 1
            if left[index] == 0:
                last[index] = number
    return tuple(
        Buffer(tensors.size_bytes(index), first[index], last.get(index, len(ops)))
        for index in sorted(first)
        if index not in same and index not in tensors.stored
    )


def _shared(tensors: Tensors, ops: Sequence[Op], ends: Counter[int]) -> dict[int, int]:
    """Return, for each tensor that gets the memory of another, that other; `IdentifyInPlaceTensors`."""
    uses = ends + Counter(index for op in ops for index in op.inputs if index >= 0)
    same: dict[int, int] = {}
    for op in ops:
        if op.outputs and op.outputs[0] == tensors.graph.output:
            continue
        changes = op.name in _ONTO_INPUTS
        for index in op.inputs[: _ONTO_INPUTS.get(op.name, 1 if op.name in _VIEWS else 0)]:
            if index < 0 or index in tensors.stored or index == tensors.graph.input:
                continue
            if changes and not _may_overwrite(tensors, index, op.outputs[0], uses):
                continue
            root = same.get(index, index)
            if not changes or uses[root] == 1:
                same[op.outputs[0]] = root
            break
    return same


def _may_overwrite(tensors: Tensors, index: int, output: int, uses: Counter[int]) -> bool:
    size = tensors.size_bytes(index)
    return size == tensors.size_bytes(output) and size > _SCALAR_BYTES and uses[index] == 1
