"""Tells what each op of a `.tflite` costs, in the terms that estimates are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgetransfer.estimate.op import Kind, Op, Precision
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.quantize.flatbuffer import Op as FileOp

_OPS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "conv": ("CONV_2D", "TRANSPOSE_CONV"),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "dense": ("FULLY_CONNECTED",),
    "matmul": ("BATCH_MATMUL",),
    "pool": ("AVERAGE_POOL_2D", "MAX_POOL_2D"),
    "reduce": ("MEAN", "SUM", "REDUCE_MAX"),
    "add": ("ADD", "SUB"),
    "mul": ("MUL", "DIV", "SQUARED_DIFFERENCE"),
    "softmax": ("SOFTMAX",),
    "resize": ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    "convert": ("QUANTIZE", "DEQUANTIZE", "CAST"),
    "activation": (
        "RELU", "RELU6", "RELU_N1_TO_1", "HARD_SWISH", "LOGISTIC", "TANH", "GELU", "ELU", "LEAKY_RELU", "PRELU",
        "RSQRT",
    ),
    "move": (
        "PAD", "PADV2", "MIRROR_PAD", "CONCATENATION", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V",
        "GATHER", "EMBEDDING_LOOKUP", "PACK", "UNPACK", "TILE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SPACE_TO_BATCH_ND",
        "BATCH_TO_SPACE_ND",
    ),
}  # fmt: skip
_KINDS = {name: kind for kind, names in _OPS_OF_KIND.items() for name in names}
_FUNCTIONS = {"LOGISTIC": "sigmoid", "MAX_POOL_2D": "max", "AVERAGE_POOL_2D": "average", "CONCATENATION": "concat"}
_FUNCTIONS |= {
    name: name.lower() for name in ("HARD_SWISH", "TANH", "GELU", "PAD", "TRANSPOSE", "RELU", "RELU6", "PRELU")
}
_FREE = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")  # another view of the same numbers
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
_WITH_FLOATS: dict[str, Precision] = {"int8": "dynamic_int8", "int4": "weight_int4"}  # by the weights' dtype


def costs(model: bytes) -> tuple[Op, ...]:
    """Return the ops of `model` in order, without those that cost nothing and those that unpack stored weights."""
    return tuple(_Reader(Graph.read(model)).costs())


class _Reader:
    """A graph, and which of its tensors are known before any input is: constants, and what is unpacked from them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        tensors = range(len(graph.subgraph.tensors))
        self.stored = {index for index in tensors if graph.constant(index) is not None}
        for op in graph.ops():
            if all(index in self.stored for index in op.inputs if index >= 0):
                self.stored.update(op.outputs)

    def costs(self) -> Iterator[Op]:
        for op, operator in zip(self.graph.ops(), self.graph.subgraph.operators, strict=True):
            if op.name not in _FREE and not all(index in self.stored for index in op.outputs):
                yield self._cost(op, operator.builtinOptions)

    def _cost(self, op: FileOp, options: object) -> Op:
        weights = op.inputs[1] if op.name in _WEIGHTED and op.inputs[1] in self.stored else -1
        kind = _KINDS.get(op.name, "other")
        kind = "matmul" if kind == "dense" and weights < 0 else kind
        read = sum(self._elements(index) for index in op.inputs if index >= 0 and index not in self.stored)
        written = sum(self._elements(index) for index in op.outputs)
        taps = self._taps(op, options)
        shape = self.graph.shape(op.inputs[1]) if op.name in _WEIGHTED else ()
        return Op(
            kind=kind,
            macs=_macs(kind, read, written, taps, shape)
            if op.name != "TRANSPOSE_CONV"
            else read * int(np.prod(shape[:3])),
            read=read,
            weights=0 if weights < 0 else self._elements(weights),
            written=written,
            precision=self._precision(op, weights),
            taps=taps,
            stride=int(getattr(options, "strideW", 1)),
            channels_in=self._channels(op.inputs[0]),
            channels_out=self._channels(op.outputs[0]),
            function=self._function(op),
            groups=max(1, self._channels(op.inputs[0]) // shape[3]) if op.name == "CONV_2D" else 1,
            name=self.graph.name(op.outputs[0]),
        )

    def _taps(self, op: FileOp, options: object) -> int:
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
            return int(np.prod(self.graph.shape(op.inputs[1])[1:3]))
        return int(getattr(options, "filterHeight", 1)) * int(getattr(options, "filterWidth", 1))

    def _precision(self, op: FileOp, weights: int) -> Precision:
        ends = [self.graph.dtype(i) for i in (*op.inputs, *op.outputs) if i >= 0 and i not in self.stored]
        if "float32" in ends:
            stored = self.graph.dtype(weights) if weights >= 0 else "float32"
            return _WITH_FLOATS.get(stored, "float32")
        return "int16" if "int16" in ends else "int8"

    def _function(self, op: FileOp) -> str:
        if op.name == "MUL" and self._elements(op.inputs[0]) != self._elements(op.inputs[1]):
            return "scale"
        return _FUNCTIONS.get(op.name, "")

    def _elements(self, index: int) -> int:
        return int(np.prod(self.graph.shape(index)))

    def _channels(self, index: int) -> int:
        shape = self.graph.shape(index)
        return int(shape[-1]) if shape else 0


def _macs(kind: Kind, read: int, written: int, taps: int, shape: tuple[int, ...]) -> int:
    if kind in ("move", "convert"):
        return 0
    if kind in ("conv", "dense"):
        return written * int(np.prod(shape[1:]))
    if kind == "matmul":
        return written * int(shape[-1])
    return read if kind == "reduce" else written * taps
