"""Layers of a target that no source has: numbers that make them the identity, or random ones to train from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.transfer.keras_graph import KerasGraph
from edgetransfer.transfer.source import SourceTensor
from edgetransfer.transfer.structure import Unit

_CONSTANTS = {"gamma": 1.0, "moving_variance": 1.0, "beta": 0.0, "moving_mean": 0.0, "bias": 0.0}
_ON_THE_WAY = ("Dropout", "SpatialDropout2D", "ZeroPadding2D", "MaxPooling2D")  # what keeps a result of ReLU one


def initial(
    tensor: SourceTensor, random: np.random.Generator, *, identity: bool = False, epsilon: float = 0.0
) -> NDArray[np.float32]:
    """Return numbers for a parameter without a source, of its shape.

    Args:
        tensor: The parameter, in Keras' layout.
        random: Draws kernels: normal, of variance 2 / weights a channel out (He et al. 2015, "Delving Deep into
            Rectifiers", arXiv 1502.01852).
        identity: Let the layer give what it takes: a kernel of 1 at its centre from each channel to itself.
        epsilon: What the norm adds to the variance, so that an identity is exact.
    """
    if tensor.role in _CONSTANTS:
        less = epsilon if identity and tensor.role == "moving_variance" else 0.0
        return np.full(tensor.shape, _CONSTANTS[tensor.role] - less, np.float32)
    if not tensor.role.endswith("kernel"):
        return np.zeros(tensor.shape, np.float32)
    window = tensor.shape[:-2]
    if identity:
        found = np.zeros(tensor.shape, np.float32)
        centre = tuple(size // 2 for size in window)
        found[centre] = 1.0 if tensor.role == "depthwise_kernel" else np.eye(tensor.shape[-1])
        return found
    weights = math.prod(window) * (1 if tensor.role == "depthwise_kernel" else tensor.shape[-2])
    return random.normal(0, math.sqrt(2 / weights), tensor.shape).astype(np.float32)


def is_idempotent(graph: KerasGraph, unit: Unit) -> bool:
    """Say whether `unit` can be the identity: stride 1, and an activation that leaves what comes in as it is.

    That is none at all, or a ReLU on what is a result of the same ReLU already.
    """
    nodes = {node.name: node for node in graph.nodes}
    op = nodes[unit.layers[0]].op
    sizes = getattr(op, "kernel_size", (1,))
    if max(getattr(op, "strides", (1,))) != 1 or any(size % 2 == 0 for size in sizes):
        return False
    if max(sizes) > 1 and op.padding != "same":
        return False
    inline = _activation(op)
    behind = graph.children()[unit.layers[-1]]
    after = inline if inline != "linear" or len(behind) != 1 else _activation(nodes[behind[0]].op)
    if after == "linear":
        return True
    before = graph.parents[unit.layers[0]][0]
    while nodes[before].kind in _ON_THE_WAY:
        before = graph.parents[before][0]
    return after.startswith("relu") and _activation(nodes[before].op) == after


def _activation(op: Any) -> str:
    """Return what an op does to each number by itself: "linear", "relu", "relu up to 6.0", or a name."""
    kind = type(op).__name__
    if kind == "ReLU":
        plain = not op.negative_slope and not op.threshold
        return ("relu" if op.max_value is None else f"relu up to {float(op.max_value)}") if plain else "a leaky ReLU"
    if kind in ("Conv2D", "DepthwiseConv2D", "Dense", "Activation"):
        name = getattr(op.activation, "__name__", "unknown")
        return {"relu6": "relu up to 6.0"}.get(name, name)
    if kind in ("Conv1D", "LeakyReLU", "ELU", "Softmax", "PReLU") or "elu" in kind.lower():
        return f"a {kind}"
    return "linear"
