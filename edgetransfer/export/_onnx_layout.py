"""Tells where ONNX Runtime keeps floats in blocks of channels, and where it has to turn them from and into planes.

Its float convolutions and pools on x86 take and give blocks; most other ops do not know them (NchwcTransformer, in
onnxruntime/core/optimizer/nchwc_transformer.cc). What is turned costs as much as a cheap op.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import NodeProto

from edgetransfer.quantize.onnx_graph import OnnxGraph, attribute

BLOCK = 16
"""Channels in a block with AVX-512; 8 with AVX2, which few networks tell apart: their channels are multiples of 16."""

_ALIGNED = 4  # channels must be a multiple of it to be turned into blocks
_POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
_FOLLOWING = ("Relu", "Sigmoid", "Tanh")  # run on either layout
FUSED = ("Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid")
"""What a float convolution computes along, if nothing else takes its output."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the floats of a graph are kept.

    Attributes:
        blocked: Tensors in blocks of channels.
        joined: Sums that a convolution computes along with itself.
        turned: Tensors that are turned into the other layout for the first time, by the output of the op that wants
            it; "" for the end of the graph.
    """

    blocked: frozenset[str]
    joined: frozenset[str]
    turned: Mapping[str, tuple[str, ...]]


def layout_of(graph: OnnxGraph, shapes: Shapes, known: set[str], integers: set[str]) -> Layout:
    """Return how ONNX Runtime keeps the floats of `graph`.

    Args:
        graph: Its nodes.
        shapes: Of its tensors, (1, channels, height, width).
        known: Tensors that are known before any input is.
        integers: Outputs of ops that are computed in integers, which know no blocks.
    """
    uses = Counter(name for node in graph.nodes for name in node.input)
    makers = graph.producers()
    blocked: set[str] = set()
    joined: set[str] = set()
    seen: set[str] = set()
    turned: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        made = str(node.output[0])
        taken = [str(name) for name in node.input if name and name not in known]
        if not taken or made in integers or made in known:
            continue
        takes, gives = _layouts(node, taken, shapes, blocked)
        if node.op_type == "Clip":
            takes = gives = gives and _is_fused(makers[taken[0]], uses)
        wrong = tuple(dict.fromkeys(name for name in taken if (name in blocked) != takes and name not in seen))
        seen.update(wrong)
        turned[made] = wrong
        if gives:
            blocked.add(made)
        if gives and node.op_type == "Add" and any(_is_fused(makers.get(name), uses) for name in taken):
            joined.add(made)
    turned[""] = (graph.output,) if graph.output in blocked and graph.output not in seen else ()
    return Layout(frozenset(blocked), frozenset(joined), turned)


def _is_fused(maker: NodeProto | None, uses: Counter[str]) -> bool:
    return maker is not None and maker.op_type == "Conv" and uses[str(maker.output[0])] == 1


def _layouts(node: NodeProto, taken: Sequence[str], shapes: Shapes, blocked: set[str]) -> tuple[bool, bool]:
    """Return whether `node` takes blocks, and whether it gives them."""
    channels = [shapes[name][1] if len(shapes.get(name, ())) == 4 else 0 for name in taken]
    if node.op_type == "Conv":
        return _conv_layouts(node, channels[0], shapes[str(node.output[0])][1])
    if node.op_type in _POOLS:
        fits = channels[0] > 0 and channels[0] % BLOCK == 0
        return fits, fits
    inside = all(name in blocked for name in taken)
    if node.op_type == "Concat":
        inside = inside and all(count % BLOCK == 0 for count in channels)
    elif node.op_type in ("Add", "Mul"):
        alike = len({shapes.get(name) for name in taken}) == 1
        # A product with one number a channel becomes a depthwise convolution; a sum with such does not.
        scaled = node.op_type == "Mul" and len(taken) == 1 and _is_by_channel(node, taken[0], channels[0], shapes)
        inside = inside and (scaled or (len(node.input) == 2 and len(taken) == 2 and alike))
    elif node.op_type not in (*_FOLLOWING, "Clip"):
        inside = False
    return inside, inside


def _conv_layouts(node: NodeProto, channels: int, filters: int) -> tuple[bool, bool]:
    groups = int(attribute(node, "group", 1))
    if groups == 1 and channels < BLOCK:
        return False, True  # too few to fill a block: it reads planes
    each = channels // groups
    if groups == 1:
        fits = channels % _ALIGNED == 0
    elif each == 1 and filters == groups:
        fits = filters % _ALIGNED == 0
    else:
        fits = each % BLOCK == 0 and (filters // groups) % BLOCK == 0
    return fits, fits


def _is_by_channel(node: NodeProto, taken: str, channels: int, shapes: Shapes) -> bool:
    other = next((str(name) for name in node.input if name != taken), "")
    shape = shapes.get(other, ())[-3:]
    return shape == (channels, 1, 1)
