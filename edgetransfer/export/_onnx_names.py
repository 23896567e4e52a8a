"""Names of nodes and tensors that the Keras layers decide, not a counter of the process nor a tool's version.

The converter's names are scopes such as "small_1/stem_1/convolution": how far the counters are depends on what the
process built before. Ours are "stem/Conv", so that overrides match as they do in LiteRT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import NodeProto

from edgetransfer.quantize.onnx_graph import OnnxGraph, unique_names

_SCOPE = re.compile(r"(layer\d+x)(_\d+)?")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ROLES = {
    "Conv": ("x", "weight", "bias"),
    "ConvTranspose": ("x", "weight", "bias"),
    "Gemm": ("x", "weight", "bias"),
    "MatMul": ("x", "weight"),
    "Clip": ("x", "min", "max"),
    "Reshape": ("x", "shape"),
}


@contextmanager
def unmistakable_names(model: Any) -> Iterator[Mapping[str, str]]:
    """Name the layers of `model` so that any counter behind them is told from the name; yield their paths by it.

    A layer called "conv_1" and the second scope of a layer called "conv" look alike otherwise. In the end the layers
    have their own names again.
    """
    layers = list(_layers(model))
    names = {f"layer{number}x": path for number, (_, path) in enumerate(layers)}
    own = [layer.name for layer, _ in layers]
    try:
        for name, (layer, _) in zip(names, layers, strict=True):
            layer.name = name
        yield names
    finally:
        for name, (layer, _) in zip(own, layers, strict=True):
            layer.name = name


def name_by_layers(graph: OnnxGraph, paths: Mapping[str, str]) -> None:
    """Name the nodes of a graph that was converted under `unmistakable_names` by the layer that each computes."""
    for number, node in enumerate(graph.nodes):
        # Numbers keep names apart for a while, as ONNX Runtime wants them; `settle_names` takes them away.
        node.name = f"{_layer(node, paths)}/{node.op_type}_{number}"


def settle_names(graph: OnnxGraph, first: str, dtype: type[np.generic], last: str) -> None:
    """Make the nodes' names unique in the order of the file, and name tensors by the node that makes or takes them.

    The graph's input becomes `first`, its output `last`.
    """
    nodes = graph.to_model().graph.node  # in canonical order
    # A node that an optimizer put in, or joined, has a name of its own making: what stands before the "/" is kept.
    wanted = [f"{node.name.rpartition('/')[0]}/{node.op_type}".lstrip("/") for node in nodes]
    names = dict(zip([node.output[0] for node in nodes], unique_names(wanted), strict=True))
    tensors = {graph.input: first}
    for node in nodes:
        name = names[node.output[0]]
        roles = _ROLES.get(node.op_type, ())
        for place, tensor in enumerate(node.input):
            if tensor in graph.constants and tensor not in tensors:
                tensors[tensor] = f"{name}/{roles[place] if place < len(roles) else f'input_{place}'}"
        for place, tensor in enumerate(node.output):
            tensors[tensor] = name if place == 0 else f"{name}/output_{place}"
    tensors[graph.output] = last
    for node in graph.nodes:
        node.name = names.get(node.output[0], node.name)
    graph.rename(tensors)
    graph.set_end("input", first, dtype, graph.shape("input"))
    graph.set_end("output", last, np.float32, graph.shape("output"))


def _layers(model: Any, above: str = "", seen: set[int] | None = None) -> Iterator[tuple[Any, str]]:
    """Yield the layers of `model`, each once, nested ones too, with their path: "block/conv"."""
    seen = set() if seen is None else seen
    for layer in getattr(model, "layers", ()):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer, f"{above}{layer.name}"
            yield from _layers(layer, f"{above}{layer.name}/", seen)


def _layer(node: NodeProto, paths: Mapping[str, str]) -> str:
    """Return the path of the Keras layer that `node` computes: that of its weights before that of its own name."""
    if node.op_type == "Transpose":
        return ""  # the converter's own, between TensorFlow's layout and ONNX's
    own, taken = [node.name, node.output[0]], list(node.input[1:])
    if node.op_type in _WEIGHTED:
        own = [*taken[:1], *own]
    for name in own + taken:
        scopes = [_SCOPE.fullmatch(scope) for scope in name.split("/")]
        known = [paths[scope[1]] for scope in scopes if scope is not None and scope[1] in paths]
        if known:
            return known[-1]
    return ""
