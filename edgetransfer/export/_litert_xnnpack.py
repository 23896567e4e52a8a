"""What XNNPACK, LiteRT's delegate for CPUs, takes of a `.tflite`, and the memory that it takes for it.

The rules are those of tflite/delegates/xnnpack and of google/XNNPACK's runtime.c, subgraph.c and packing.c, checked
against every allocation that ai-edge-litert 2.3.0 makes. Sizes of tiles are those of x86-64 with AVX2, the same within
some per cent elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgetransfer.estimate.memory import Buffer, aligned
from edgetransfer.quantize.flatbuffer import Graph, Op

_BYTES = {"float32": 4, "float16": 2, "int16": 2, "int32": 4, "int64": 8}
_ONLY_FLOATS = (
    "HARD_SWISH", "SOFTMAX", "AVERAGE_POOL_2D", "RELU", "RELU6", "RELU_N1_TO_1", "GELU", "RSQRT", "SQUARED_DIFFERENCE",
)  # fmt: skip
_LEAST_RATIO, _RATIO_BELOW = 2**-10, 2**8  # of the steps of a sum's inputs to its own, in integers
_MOST_JOINED = 5  # inputs of a CONCATENATION
_UNARY = (
    "LOGISTIC", "HARD_SWISH", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "GELU", "ELU", "LEAKY_RELU", "PRELU", "ABS",
    "NEG", "SQRT", "RSQRT", "SQUARE", "EXP", "FLOOR", "CEIL", "ROUND", "SOFTMAX", "RESHAPE", "SQUEEZE", "EXPAND_DIMS",
)  # fmt: skip
_BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE")
_WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")
_KNOWN = (
    *_UNARY, *_BINARY, *_WINDOWS, "FULLY_CONNECTED", "CONCATENATION", "MEAN", "SUM", "PAD", "QUANTIZE", "DEQUANTIZE",
    "RESIZE_BILINEAR", "TRANSPOSE", "TRANSPOSE_CONV", "BATCH_MATMUL", "SPLIT", "SLICE", "STRIDED_SLICE",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE",
)  # fmt: skip
_POINTER_BYTES = 8
_FILTERS = 8  # in a tile: filters are packed up to a multiple
_INPUTS = 8  # of integers, that one instruction multiplies and adds
_CHANNELS = 32  # that a kernel for channels computes at once in integers; in floats as many as filters
_MOST_TAPS = 25  # of a window that there are kernels for channels for
_POSITIONS = 6  # of the output, that a matrix kernel computes at once
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Part:
    """Ops that are computed together by XNNPACK, or one op that LiteRT computes."""

    ops: tuple[Op, ...]
    delegated: bool


class Tensors:
    """A graph's ops, and which of its tensors are known before any input is.

    `stored` are in the file; `known` are those and what XNNPACK unpacks from them beforehand (float16 weights).
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops = graph.ops()
        self.stored = {i for i in range(len(graph.subgraph.tensors)) if graph.constant(i) is not None}
        self.known = set(self.stored)
        for op in self.ops:
            if op.name == "DEQUANTIZE" and self.known.issuperset(op.inputs):
                self.known.update(op.outputs)
        self._options = {
            op.outputs[0]: operator.builtinOptions
            for op, operator in zip(self.ops, graph.subgraph.operators, strict=True)
            if op.outputs
        }

    def elements(self, index: int) -> int:
        """Return how many numbers the tensor has."""
        return int(np.prod(self.graph.shape(index), dtype=np.int64))

    def size_bytes(self, index: int) -> int:
        """Return the bytes of the tensor."""
        return self.elements(index) * _BYTES.get(self.graph.dtype(index), 1)

    def step(self, index: int) -> float:
        """Return the real size of the tensor's step, the first where it has several; 0 for one without."""
        pair = self.graph.tensor(index).quantization
        return 0.0 if pair is None or pair.scale is None or len(pair.scale) == 0 else float(pair.scale[0])

    def option(self, op: Op, name: str) -> int:
        """Return an option of `op` as the file has it; 1 where it has none of that name."""
        return int(getattr(self._options[op.outputs[0]], name, 1))

    def is_floats(self, op: Op) -> bool:
        """Return whether `op` takes floats."""
        return self.graph.dtype(op.inputs[0]) == "float32"

    def mixes_numbers(self) -> bool:
        """Return whether an op takes float activations and weights that are none."""
        kinds = (self.graph.dtype(op.inputs[1]) for op in self.ops if has_weights(op) and self.is_floats(op))
        return any(kind != "float32" for kind in kinds)


def has_weights(op: Op) -> bool:
    """Return whether `op` is one that weights are packed for."""
    return op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def takes(tensors: Tensors, op: Op) -> bool:
    """Return whether XNNPACK computes `op`: seen of the ops of image networks, taken for granted of others."""
    kinds = {tensors.graph.dtype(index) for index in (*op.inputs, *op.outputs) if index >= 0}
    if "int16" in kinds or op.name not in _KNOWN:
        return False
    if op.name == "QUANTIZE":
        return kinds != {"uint8", "int8"}
    if op.name == "CONCATENATION":
        return len(op.inputs) <= _MOST_JOINED
    if "POOL" in op.name and tensors.option(op, "filterWidth") * tensors.option(op, "filterHeight") == 1:
        return False
    if tensors.is_floats(op):
        return True
    if op.name in ("ADD", "SUB"):
        own = tensors.step(op.outputs[0])
        return all(_LEAST_RATIO * own <= tensors.step(index) < _RATIO_BELOW * own for index in op.inputs)
    return op.name not in _ONLY_FLOATS


def parts(tensors: Tensors) -> tuple[Part, ...]:
    """Return the graph in the parts that LiteRT runs one after another (`PartitionGraphIntoIndependentNodeSubsets`)."""
    left = [op for op in tensors.ops if not tensors.known.issuperset(op.outputs)]
    ready = {tensors.graph.input, *tensors.known, -1}
    found: list[Part] = []
    while left:
        kind: bool | None = None
        chosen: list[Op] = []
        for op in left:
            if ready.issuperset(op.inputs) and kind in (None, takes(tensors, op)):
                kind = takes(tensors, op)
                chosen.append(op)
                ready.update(op.outputs)
        if kind is None:  # a graph that reads what it never computes
            chosen = left
        found += [Part(tuple(chosen), True)] if kind else [Part((op,), False) for op in chosen]
        done = {op.outputs for op in chosen}
        left = [op for op in left if op.outputs not in done]
    return tuple(found)


def outside(tensors: Tensors, part: Part) -> Op:
    """Return a delegated `part` as the one op that LiteRT's planner sees."""
    made = {index for op in part.ops for index in op.outputs}
    read = dict.fromkeys(i for op in part.ops for i in op.inputs if i >= 0 and i not in made | tensors.known)
    return Op("DELEGATE", tuple(read), tuple(sorted(_external(tensors, part))))


def workspace(tensors: Tensors, part: Part) -> tuple[Buffer, ...]:
    """Return the tensors inside of a delegated `part`; those that share memory are one."""
    ops = list(_fused(tensors, part.ops))
    made = [index for op in ops for index in op.outputs]
    inside = set(made) - _external(tensors, part)
    uses = Counter(index for op in ops for index in op.inputs)
    same = _shared(tensors, ops, inside, uses)
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, op in enumerate(ops):
        for index in op.outputs:
            first.setdefault(index, number)
        for index in (*op.inputs, *op.outputs):
            last[same.get(index, index)] = number
    return tuple(
        Buffer(tensors.size_bytes(max(index, _before_activation(index))), first[index], last[index])
        for index in sorted(inside)
        if index not in same
    )


def packed_bytes(tensors: Tensors, op: Op) -> int:
    """Return the bytes of the weights and biases of `op` as kernels want them; 0 for an op that has none."""
    if not has_weights(op) or op.inputs[1] not in tensors.known:
        return 0
    shape = tensors.graph.shape(op.inputs[1])
    integers = tensors.graph.dtype(op.inputs[1]) != "float32"
    beside = 8 if integers else 4  # a bias, and for integers a scale
    one = 1 if integers else 4
    taps = int(np.prod(shape[1:-1], dtype=np.int64))
    if _by_channel(op, taps):
        tile = _CHANNELS if integers else _FILTERS
        return aligned(aligned(shape[-1], tile) * (taps * one + beside), _ALIGNMENT)
    depthwise = op.name == "DEPTHWISE_CONV_2D"
    inputs, filters = (1, shape[-1]) if depthwise else (shape[-1], shape[0])
    groups = tensors.graph.shape(op.inputs[0])[-1] // inputs if len(shape) == 4 else 1
    row = taps * (aligned(inputs, _INPUTS) if integers else inputs) * one + beside
    return aligned(groups * aligned(filters // groups, _FILTERS) * row, _ALIGNMENT)


def table_bytes(tensors: Tensors, op: Op) -> int:
    """Return the bytes of pointers to what is under each position of the window of `op`; 0 for one that needs none."""
    if op.name not in _WINDOWS:
        return 0
    height, width = tensors.graph.shape(op.outputs[0])[1:3]
    rows, columns, stride = _window(tensors, op)
    if "CONV" in op.name and not _by_channel(op, rows * columns):
        if rows * columns == 1 and stride == 1:
            return 0
        return aligned(height * width, _POSITIONS) * rows * columns * _POINTER_BYTES
    line = rows * columns + (width - 1) * min(stride, columns) * rows  # columns that two positions share are there once
    return aligned(line * height * _POINTER_BYTES, _ALIGNMENT)


def _by_channel(op: Op, taps: int) -> bool:
    """Return whether a kernel of its own computes each channel; larger windows are convolutions of many groups."""
    return op.name == "DEPTHWISE_CONV_2D" and taps <= _MOST_TAPS


def _window(tensors: Tensors, op: Op) -> tuple[int, int, int]:
    stride = tensors.option(op, "strideW")
    if "POOL" in op.name:
        return tensors.option(op, "filterHeight"), tensors.option(op, "filterWidth"), stride
    rows, columns = tensors.graph.shape(op.inputs[1])[1:3]
    return rows, columns, stride


def _external(tensors: Tensors, part: Part) -> set[int]:
    """Return what a part computes for others: its outputs, which are in LiteRT's arena."""
    made = {index for op in part.ops for index in op.outputs}
    own = {op.outputs for op in part.ops}
    return {index for op in tensors.ops if op.outputs not in own for index in op.inputs if index in made} | (
        made & {tensors.graph.output}
    )


def _fused(tensors: Tensors, ops: Sequence[Op]) -> Iterator[Op]:
    """Yield `ops` as XNNPACK runs them, without constants.

    A pad goes into the convolution behind it, an integer x * sigmoid(x) is one op, and an activation that the file
    has in a sum or product is an op of its own.
    """
    uses = Counter(index for op in tensors.ops for index in op.inputs)
    maker = {index: op for op in ops for index in op.outputs}
    gone = set(_lost_in_products(tensors, ops, maker, uses)) | set(_lost_in_windows(ops, maker, uses))
    for op in ops:
        if op.outputs in gone:
            continue
        inputs = []
        for index in op.inputs:
            source = maker.get(index)
            replaced = source is not None and source.outputs in gone
            inputs.append(source.inputs[0] if source is not None and replaced else index)
        merged = tuple(dict.fromkeys(inputs)) if op.name == "MUL" else tuple(inputs)
        alone = replace(op, inputs=tuple(index for index in merged if index >= 0 and index not in tensors.known))
        if op.name in _BINARY and tensors.option(op, "fusedActivationFunction") != 0:
            between = _before_activation(op.outputs[0])
            yield replace(alone, outputs=(between,))
            yield Op("RELU", (between,), op.outputs)
        else:
            yield alone


def _before_activation(output: int) -> int:
    """Return an index for what a sum is before its activation, which the file has no tensor for; its own inverse."""
    return -2 - output


def _lost_in_products(
    tensors: Tensors, ops: Iterable[Op], maker: dict[int, Op], uses: Counter[int]
) -> Iterator[tuple[int, ...]]:
    for op in ops:
        if op.name == "MUL" and not tensors.is_floats(op):
            for one, other in (op.inputs, op.inputs[::-1]):
                source = maker.get(other)
                if source is not None and source.name == "LOGISTIC" and source.inputs[0] == one and uses[other] == 1:
                    yield source.outputs


def _lost_in_windows(ops: Iterable[Op], maker: dict[int, Op], uses: Counter[int]) -> Iterator[tuple[int, ...]]:
    for op in ops:
        source = maker.get(op.inputs[0])
        if "CONV_2D" in op.name and source is not None and source.name == "PAD" and uses[op.inputs[0]] == 1:
            yield source.outputs


def _shared(tensors: Tensors, ops: Sequence[Op], inside: set[int], uses: Counter[int]) -> dict[int, int]:
    """Return, for each tensor that gets the memory of another, that other."""
    same: dict[int, int] = {}
    sizes = {index: tensors.size_bytes(max(index, _before_activation(index))) for index in inside}
    for op in ops:
        output = op.outputs[0]
        if op.name not in (*_UNARY, *_BINARY) or output not in inside:
            continue
        fitting = (index for index in op.inputs if index in inside and uses[index] == 1)
        index = next((index for index in fitting if sizes[index] == sizes[output]), None)
        if index is not None and uses[output] == 1:
            same[output] = same.get(index, index)
    return same
