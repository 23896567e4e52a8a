"""Tells what each op of an ONNX graph costs, in the terms that estimates are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from edgetransfer.estimate.op import Kind, Op, Precision
from edgetransfer.quantize.onnx_graph import OnnxGraph, attribute, value_shapes

_OPS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "conv": ("Conv", "ConvTranspose"),
    "dense": ("Gemm", "MatMul"),
    "pool": ("AveragePool", "MaxPool"),
    "reduce": ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum", "ReduceMax"),
    "add": ("Add", "Sub"),
    "mul": ("Mul", "Div"),
    "softmax": ("Softmax",),
    "resize": ("Resize",),
    "convert": ("QuantizeLinear", "DequantizeLinear", "Cast"),
    "activation": ("Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Gelu", "Elu", "LeakyRelu", "PRelu"),
    "move": ("Pad", "Concat", "Transpose", "Slice", "Split", "Gather", "Tile", "SpaceToDepth", "DepthToSpace"),
}
_KINDS = {name: kind for kind, names in _OPS_OF_KIND.items() for name in names}
_FUNCTIONS = {
    "HardSwish": "hard_swish", "Sigmoid": "sigmoid", "Tanh": "tanh", "Gelu": "gelu", "Relu": "relu", "Clip": "relu6",
    "MaxPool": "max", "AveragePool": "average", "Concat": "concat", "Pad": "pad", "Transpose": "transpose",
}  # fmt: skip
_FREE = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Constant")
_FUSED = ("Relu", "Clip")  # ONNX Runtime computes them with what is before them
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


def costs(model: bytes) -> tuple[Op, ...]:
    """Return the ops of `model` in order, without those that cost nothing or are computed with others.

    Conversions count only where the graph takes raw pixels: those between ops vanish when ONNX Runtime fuses.
    """
    return tuple(_Reader(OnnxGraph.read(model), value_shapes(model)).costs())


class _Reader:
    """A graph, its shapes, and which of its values are known before any input is."""

    def __init__(self, graph: OnnxGraph, shapes: dict[str, tuple[int, ...]]) -> None:
        self.graph, self.shapes = graph, shapes
        self.producers = graph.producers()
        self.stored = set(graph.constants)
        for node in graph.nodes:
            if all(name in self.stored for name in node.input if name):
                self.stored.update(node.output)

    def costs(self) -> Iterator[Op]:
        for node in self.graph.nodes:
            if node.op_type in _FREE or all(name in self.stored for name in node.output):
                continue
            if node.op_type in _CONVERSIONS and node.input[0] != self.graph.input:
                continue
            if node.op_type in _FUSED and self._maker(node.input[0]) in ("Conv", "Gemm", "Add"):
                continue
            yield self._cost(node)

    def _maker(self, name: str) -> str:
        made = self.producers.get(name)
        while made is not None and made.op_type in _CONVERSIONS:
            made = self.producers.get(made.input[0])
        return "" if made is None else str(made.op_type)

    def _cost(self, node: NodeProto) -> Op:
        kind = _KINDS.get(node.op_type, "other")
        weights = self._weights(node)
        if kind == "dense" and not weights:
            kind = "matmul"
        groups = int(attribute(node, "group", 1))
        if kind == "conv" and groups > 1 and groups == self._channels(node.input[0]):
            kind, groups = "depthwise", 1
        window = [int(side) for side in attribute(node, "kernel_shape", ())]
        taps = int(np.prod(weights[2:] if len(weights) == 4 else window or (1,)))
        read = sum(self._elements(name) for name in node.input if name and name not in self.stored)
        written = sum(self._elements(name) for name in node.output)
        return Op(
            kind=kind,
            macs=self._macs(kind, node, weights, read, written, taps),
            read=read,
            weights=int(np.prod(weights)) if weights else 0,
            written=written,
            precision=self._precision(node),
            taps=taps,
            stride=int((attribute(node, "strides", ()) or (1,))[-1]),
            channels_in=self._channels(node.input[0]),
            channels_out=self._channels(node.output[0]),
            groups=groups,
            function=self._function(node),
            name=str(node.name),
        )

    def _weights(self, node: NodeProto) -> tuple[int, ...]:
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in self.stored:
            return ()
        made = self.producers.get(node.input[1])
        name = node.input[1] if made is None else made.input[0]
        return tuple(int(side) for side in self.graph.constants[name].shape)

    def _macs(self, kind: Kind, node: NodeProto, weights: tuple[int, ...], read: int, written: int, taps: int) -> int:
        if kind in ("move", "convert"):
            return 0
        if node.op_type == "ConvTranspose":
            return read * int(np.prod(weights[1:]))
        if kind == "conv":
            return written * int(np.prod(weights[1:]))
        if kind in ("dense", "matmul"):
            return written * self._channels(node.input[0])
        return read if kind == "reduce" else written * taps

    def _function(self, node: NodeProto) -> str:
        ends = [self._elements(name) for name in node.input[:2] if name]
        if node.op_type == "Mul" and len(ends) > 1 and ends[0] != ends[1]:
            return "scale"
        return _FUNCTIONS.get(node.op_type, "")

    def _precision(self, node: NodeProto) -> Precision:
        if node.op_type == "QuantizeLinear":
            return "int8"
        made = self.producers.get(node.input[0])
        return "int8" if made is not None and made.op_type == "DequantizeLinear" else "float32"

    def _elements(self, name: str) -> int:
        shape = self.graph.constants[name].shape if name in self.graph.constants else self.shapes.get(name, (0,))
        return int(np.prod(shape))

    def _channels(self, name: str) -> int:
        shape = self.shapes.get(name, ())
        return int(shape[1]) if len(shape) > 1 else 0
