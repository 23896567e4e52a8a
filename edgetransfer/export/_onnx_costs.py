"""Tells what each op of an ONNX graph costs, in the terms that estimates are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto

from edgetransfer.estimate.op import Kind, Op, Precision
from edgetransfer.export._onnx_layout import BLOCK, FUSED, layout_of
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
_MANY_LEFT = 0.25  # share of a depthwise convolution's channels beyond whole vectors
_PICKED = ("Slice", "Gather")  # they read no more than they write
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


def costs(model: bytes) -> tuple[Op, ...]:
    """Return the ops of `model` in order, without those that cost nothing or are computed with others.

    Conversions count only where a float graph takes raw pixels: those between ops vanish when ONNX Runtime fuses, and
    to a graph of integers raw pixels are what they are. Where floats change between blocks and planes, that is an op of
    its own, a `move` of function "reorder". Other functions that only ONNX has: a "joined" sum is computed along with a
    convolution, a "plain" pool on floats that do not fit into blocks, a "factor" is one number for all elements.
    """
    return tuple(_Reader(OnnxGraph.read(model), value_shapes(model)).costs())


def integer_costs(model: bytes) -> tuple[Op, ...]:
    """Return the ops of the float graph `model` as they will be in integers, which are not kept in blocks.

    What cuts a sum or a convolution is done by its range then.
    """
    return tuple(_Reader(OnnxGraph.read(model), value_shapes(model), integers=True).costs())


class _Reader:
    """A graph, its shapes, and which of its values are known before any input is.

    `integers` says that all of it will be quantized.
    """

    def __init__(self, graph: OnnxGraph, shapes: dict[str, tuple[int, ...]], *, integers: bool = False) -> None:
        self.graph, self.integers = graph, integers
        self.shapes = shapes | {name: value.shape for name, value in graph.constants.items()}
        self.producers, self.consumers = graph.producers(), graph.consumers()
        self.stored = set(graph.constants)
        for node in graph.nodes:
            if all(name in self.stored for name in node.input if name):
                self.stored.update(node.output)
        self.free = self._free_entrance()
        stored = {str(node.output[0]) for node in graph.nodes if self._precision(node) == "int8"}
        self.layout = layout_of(graph, self.shapes, self.stored, stored)

    def costs(self) -> Iterator[Op]:
        for node in self.graph.nodes:
            yield from (self._reorder(name) for name in self.layout.turned.get(node.output[0], ()))
            if node.op_type in _FREE or all(name in self.stored for name in node.output):
                continue
            if node.output[0] in self.free or self._is_fused(node) or self._swish(node) is not None:
                continue
            if node.op_type in _CONVERSIONS and node.input[0] != self.graph.input:
                continue
            yield self._cost(node)
        yield from (self._reorder(name) for name in self.layout.turned[""])

    def _free_entrance(self) -> set[str]:
        """Return what a graph of integers does to raw pixels: nothing, for ONNX Runtime has channels last as they."""
        names: list[str] = []
        waiting = self.consumers.get(self.graph.input, [])
        while len(waiting) == 1 and waiting[0].op_type in ("DequantizeLinear", "Transpose"):
            names.append(str(waiting[0].output[0]))
            waiting = self.consumers.get(names[-1], [])
        if self.integers:
            return set(names)
        return set(names) if waiting and all(self._is_quantized(node) for node in waiting) else set()

    def _is_quantized(self, node: NodeProto) -> bool:
        """Return whether `node` gives integers, or what becomes integers at once."""
        after = self.consumers.get(node.output[0], [])
        return node.op_type == "QuantizeLinear" or {one.op_type for one in after} == {"QuantizeLinear"}

    def _is_fused(self, node: NodeProto) -> bool:
        """Return whether `node` is computed along with what is before it."""
        made = self.producers.get(node.input[0])
        if made is None or node.op_type not in FUSED or len(self.consumers[node.input[0]]) > 1:
            return False
        if self.integers and node.op_type in ("Relu", "Clip"):
            return True
        if made.op_type == "Conv":
            return self._precision(made) == "float32" or node.op_type in ("Relu", "Clip")
        scaled = made.op_type == "Mul" and made.output[0] in self.layout.blocked and self._maker_is_known(made)
        joined = made.output[0] in self.layout.joined
        return node.op_type == "Relu" and (made.op_type == "Gemm" or scaled or joined)

    def _maker_is_known(self, node: NodeProto) -> bool:
        return any(name in self.stored for name in node.input)

    def _swish(self, node: NodeProto) -> NodeProto | None:
        """Return the product that a float sigmoid is computed with, x * sigmoid(x)."""
        after = self.consumers.get(node.output[0], []) if node.op_type == "Sigmoid" else []
        if len(after) != 1 or after[0].op_type != "Mul" or self._precision(node) != "float32":
            return None
        return after[0] if node.input[0] in after[0].input else None

    def _reorder(self, name: str) -> Op:
        size = self._elements(name)
        channels = self._channels(name)
        return Op("move", 0, size, 0, size, channels_in=channels, channels_out=channels, function="reorder", name=name)

    def _cost(self, node: NodeProto) -> Op:
        kind, function = self._kind(node)
        weights = self._weights(node)
        if kind == "dense" and not weights:
            kind = "matmul"
        kind, groups = self._groups(kind, node)
        window = [int(side) for side in attribute(node, "kernel_shape", ())]
        taps = int(np.prod(weights[2:] if len(weights) == 4 else window or (1,)))
        read = sum(self._elements(name) for name in node.input if name and name not in self.stored)
        written = sum(self._elements(name) for name in node.output)
        read = min(read, written) if node.op_type in _PICKED else read
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
            function=function,
            name=str(node.name),
        )

    def _groups(self, kind: Kind, node: NodeProto) -> tuple[Kind, int]:
        """Return the kind of a convolution by its groups, and how many of them are computed one after the other.

        Blocks hold whole groups, floats that do not fit into blocks are computed group by group. Of integers that is
        done with depthwise channels that do not fill a vector; it counts where they are many of all.
        """
        groups = int(attribute(node, "group", 1))
        if kind != "conv" or groups == 1:
            return kind, groups
        depthwise = groups == self._channels(node.input[0])
        if self._precision(node) == "float32":
            alone = node.output[0] not in self.layout.blocked
        else:
            alone = not depthwise or groups % BLOCK >= _MANY_LEFT * groups
        return ("depthwise" if depthwise else kind), groups if alone else 1

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

    def _kind(self, node: NodeProto) -> tuple[Kind, str]:
        """Return what `node` is and which one of its kind, as ONNX Runtime computes it."""
        kind, function = _KINDS.get(node.op_type, "other"), _FUNCTIONS.get(node.op_type, "")
        ends = [self._elements(name) for name in node.input[:2] if name]
        if node.op_type == "Add" and node.output[0] in self.layout.joined:
            return "add", "joined"
        if kind == "pool" and self._precision(node) == "float32" and node.output[0] not in self.layout.blocked:
            return kind, f"plain {function}"
        if node.op_type != "Mul":
            return kind, function
        if any(self._swish(made) is node for name in node.input if (made := self.producers.get(name)) is not None):
            return "activation", "swish"
        if ends[0] == ends[1]:
            return kind, function
        if node.output[0] in self.layout.blocked:
            return "depthwise", ""
        return "mul", "factor" if min(ends) == 1 else "scale"

    def _precision(self, node: NodeProto) -> Precision:
        if self.integers or node.op_type == "QuantizeLinear":
            return "int8"
        made = self.producers.get(node.input[0])
        return "int8" if made is not None and made.op_type == "DequantizeLinear" else "float32"

    def _elements(self, name: str) -> int:
        shape = self.graph.constants[name].shape if name in self.graph.constants else self.shapes.get(name, (0,))
        return int(np.prod(shape))

    def _channels(self, name: str) -> int:
        shape = self.shapes.get(name, ())
        return int(shape[1]) if len(shape) > 1 else 0
