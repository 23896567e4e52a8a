"""Which op of an ONNX graph uses a stored array, and as what: the ops state role and layout.

Source: the operators' specification (onnx/docs/Operators.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, helper

from edgetransfer.transfer.layouts import transposed
from edgetransfer.transfer.source import VECTOR, Role
from edgetransfer.transfer.sources._by_name import SPATIAL, Guess, other

Shape = tuple[int, ...]

_SAME = ("Identity", "Cast")
_MOST_STEPS = 8  # between a stored array and the op that uses it; exporters write three at most
_NORMS: dict[str, dict[int, Role]] = {
    "BatchNormalization": {1: "gamma", 2: "beta", 3: "moving_mean", 4: "moving_variance"},
    "LayerNormalization": {1: "gamma", 2: "beta"},
    "InstanceNormalization": {1: "gamma", 2: "beta"},
    "GroupNormalization": {1: "gamma", 2: "beta"},
}
_EPSILON = 1e-5  # of all four, where the node does not say
_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")


@dataclass(frozen=True, slots=True)
class Quantized:
    """Names of what makes stored integers real, and the axis that has a scale for each index."""

    scale: str
    zero_point: str
    axis: int


@dataclass(frozen=True, slots=True)
class Use:
    """How a stored array is used.

    Attributes:
        node: The op that uses it.
        place: As which of its inputs.
        permutation: How its axes are put before, None where they stay.
        reshaped: Whether its shape is changed before.
        quantized: What makes its integers real, None of floats.
        scales: Names of the two scales whose product is that of an integer bias, empty of all else.
    """

    node: NodeProto
    place: int
    permutation: tuple[int, ...] | None = None
    reshaped: bool = False
    quantized: Quantized | None = None
    scales: tuple[str, ...] = ()


class Uses:
    """The uses of stored arrays in a graph."""

    def __init__(self, nodes: Sequence[NodeProto]) -> None:
        self._consumers: dict[str, list[tuple[NodeProto, int]]] = {}
        self._producers: dict[str, NodeProto] = {}
        for node in nodes:
            for place, name in enumerate(node.input):
                self._consumers.setdefault(name, []).append((node, place))
            self._producers |= dict.fromkeys(node.output, node)

    def find(self, name: str) -> Use | None:
        """Return the first use of the array `name` by an op that does more than convert it; None if there is none."""
        permutation: tuple[int, ...] | None = None
        reshaped, quantized = False, None
        for _ in range(_MOST_STEPS):
            users = self._consumers.get(name)
            if not users:
                return None
            node, place = users[0]
            if node.op_type in ("DequantizeLinear", "QuantizeLinear") and place == 0:
                if node.op_type == "DequantizeLinear" and quantized is None and not self._is_rounding(node):
                    zero_point = node.input[2] if len(node.input) > 2 else ""
                    quantized = Quantized(node.input[1], zero_point, int(attributes_of(node).get("axis", 1)))
            elif node.op_type == "Transpose" and permutation is None:
                permutation = tuple(attributes_of(node).get("perm", ()))
            elif node.op_type in ("Reshape", "Unsqueeze", "Squeeze", "Flatten") and place == 0:
                reshaped = True
            elif node.op_type not in _SAME or place:
                return _quantized_use(node, place) or Use(node, place, permutation, reshaped, quantized)
            name = node.output[0]
        return None

    def product_before(self, use: Use) -> NodeProto | None:
        """Return the convolution or product whose result the op adds the array to, None if it does something else."""
        if use.node.op_type != "Add" or len(use.node.input) != 2:
            return None
        node = self._producers.get(use.node.input[1 - use.place])
        while node is not None and node.op_type in (*_SAME, "Reshape"):
            node = self._producers.get(node.input[0])
        return node if node is not None and node.op_type in _PRODUCTS else None

    def _is_rounding(self, node: NodeProto) -> bool:
        """Whether a DequantizeLinear undoes a QuantizeLinear of floats: together they only round."""
        before = self._producers.get(node.input[0])
        return before is not None and before.op_type == "QuantizeLinear"


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of `node` that are numbers, texts or lists of them."""
    found: dict[str, Any] = {}
    for one in node.attribute:
        value = helper.get_attribute_value(one)
        if isinstance(value, bytes):
            found[one.name] = value.decode(errors="replace")
        elif isinstance(value, (int, float)) or (
            isinstance(value, Sequence) and all(isinstance(part, (int, float)) for part in value)
        ):
            found[one.name] = list(value) if isinstance(value, Sequence) else value
    return found


def epsilon_of(node: NodeProto) -> float | None:
    """Return what the normalisation `node` adds to the variance, None of another op."""
    return float(attributes_of(node).get("epsilon", _EPSILON)) if node.op_type in _NORMS else None


def guess(use: Use | None, shape: Shape, product: NodeProto | None) -> Guess:
    """Return role and layout of an array of `shape` by its use; `product` is what it is added to."""
    if use is None:
        return other("no op of the graph uses it")
    kind, place = use.node.op_type, use.place
    if kind in _NORMS and place in _NORMS[kind]:
        return _vector(_NORMS[kind][place], shape, use)
    if kind in ("Conv", "ConvTranspose", "QLinearConv", "Gemm") and place == (8 if kind == "QLinearConv" else 2):
        if kind == "Gemm" and attributes_of(use.node).get("beta", 1.0) != 1:
            return other("the bias of a Gemm with a beta other than 1")
        return _vector("bias", shape, use)
    if product is not None and shape and max(shape) == math.prod(shape):
        return _vector("bias", shape, use)
    if use.reshaped:
        return other(f"its shape is changed before {kind} uses it")
    found = _kernel(use, _seen(shape, use.permutation))
    if found.role == "other" or use.permutation is None:
        return found
    return Guess(found.role, transposed(found.layout, use.permutation), found.reason, found.multiplier)


def _kernel(use: Use, shape: Shape) -> Guess:
    kind, place, said = use.node.op_type, use.place, attributes_of(use.node)
    space = SPATIAL.get(len(shape) - 2, "")
    if (kind, place) in (("Conv", 1), ("QLinearConv", 3)) and space:
        groups = int(said.get("group", 1))
        if groups > 1 and shape[1] == 1 and shape[0] % groups == 0:
            return Guess(
                "depthwise_kernel", f"(CM)1{space}", f"the kernel of a {kind} with group {groups}", shape[0] // groups
            )
        return Guess("kernel", f"OI{space}", f"the kernel of a {kind}")
    if (kind, place) == ("ConvTranspose", 1) and space:
        if said.get("group", 1) != 1:
            return other("the kernel of a ConvTranspose in groups")
        return Guess("transposed_kernel", f"IO{space}", "the kernel of a ConvTranspose")
    if kind == "Gemm" and place == 1 and len(shape) == 2:
        if said.get("alpha", 1.0) != 1:
            return other("the matrix of a Gemm with an alpha other than 1")
        return Guess("dense_kernel", "OI" if said.get("transB", 0) else "IO", "the matrix of a Gemm")
    if (kind, place) in (("MatMul", 1), ("QLinearMatMul", 3)) and len(shape) == 2:
        return Guess("dense_kernel", "IO", f"the right matrix of a {kind}")
    if kind == "Gather" and place == 0 and len(shape) == 2 and said.get("axis", 0) == 0:
        return Guess("embedding", "VE", "the table of a Gather")
    if kind in ("Mul", "Add", "Sub") and max(shape, default=1) == math.prod(shape):
        return other(f"a vector of {kind}, as batch norms become that cannot be folded into a kernel")
    return other(f"input {place} of {'an' if kind[:1] in 'AEIOU' else 'a'} {kind}, which cannot be mapped")


def _vector(role: Role, shape: Shape, use: Use) -> Guess:
    # (1, C, 1, 1) and the like: one number a channel, spread over an image.
    parts = [VECTOR if size != 1 else "1" for size in shape]
    if parts.count(VECTOR) > 1 or not shape:
        return other(f"{role} of {use.node.op_type} with {len(shape)} axes")
    if VECTOR not in parts:
        parts[-1] = VECTOR
    return Guess(role, "".join(parts), f"{role} of {use.node.op_type}")


def _quantized_use(node: NodeProto, place: int) -> Use | None:
    """Return the use as a kernel or bias of an op on integers, whose own inputs are the scales."""
    names: Mapping[str, tuple[int, int]] = {"QLinearConv": (3, 0), "QLinearMatMul": (3, 1)}
    if node.op_type in names and place == names[node.op_type][0]:
        return Use(node, place, quantized=Quantized(node.input[4], node.input[5], names[node.op_type][1]))
    if node.op_type == "QLinearConv" and place == 8:
        return Use(node, place, scales=(node.input[1], node.input[4]))
    return None


def _seen(shape: Shape, permutation: tuple[int, ...] | None) -> Shape:
    if permutation is None or sorted(permutation) != list(range(len(shape))):
        return shape
    return tuple(shape[axis] for axis in permutation)
