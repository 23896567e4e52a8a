"""Steps of int8 weights: from each channel's extremes, or searched for the least squared error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.quantize.onnx_graph import OnnxGraph, attribute
from edgetransfer.spec.tensor import Ranges

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# Of the largest weight: what 127 steps may reach. Below 1 it is cut; in kernels of few weights the gain is that more of
# them come to lie near a step, above 1 too.
_SHARES = (1.0, *np.linspace(0.9, 1.1, 41))
_BIAS_LIMIT = 2**31 / 1.1  # a bias is stored as int32 in steps of input step times weight step
_LEAST_STEP = 1e-10  # a step of 0 is no step


def weight_steps(
    graph: OnnxGraph, ranges: Ranges, *, searched: bool, per_channel: bool
) -> dict[str, tuple[int, NDArray[np.float32]]]:
    """Return the axis of the output channels and the steps of every constant weight, by the weight's name.

    Args:
        graph: A float graph.
        ranges: Of its activations. A bias is stored in steps of them times the weights'; where a channel's weights are
            nothing beside its bias (EfficientNet-Lite0 has some dozens) their step is made as large as the bias needs.
        searched: Take the step of least squared error for each channel, not a 127th of its largest weight.
        per_channel: One step an output channel, else one in all, as an array of one.
    """
    steps: dict[str, tuple[int, NDArray[np.float32]]] = {}
    for node in graph.nodes:
        weight = graph.constants.get(node.input[1]) if node.op_type in WEIGHTED else None
        if weight is None or weight.dtype != np.float32:
            continue
        axis = _axis(node.op_type, weight, transposed=bool(attribute(node, "transB", 0)))
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1) if per_channel else weight.reshape(1, -1)
        found = _searched(rows) if searched else _extreme(rows)
        bias = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        if bias is not None and node.input[0] in ranges:
            found = np.maximum(found, _needed_for(bias, ranges[node.input[0]], len(rows)))
        before = steps.get(node.input[1])
        wanted = np.maximum(found, _LEAST_STEP).astype(np.float32)
        steps[node.input[1]] = (axis, wanted if before is None else np.maximum(wanted, before[1]))
    return steps


def _axis(op: str, weight: NDArray[np.float32], *, transposed: bool) -> int:
    if op == "Conv" or (op == "Gemm" and transposed):
        return 0
    return 1 if op in ("ConvTranspose", "Gemm") else weight.ndim - 1


def _extreme(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    largest: NDArray[np.float64] = np.abs(rows).max(axis=1).astype(np.float64)
    return largest / 127


def _searched(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    best = _extreme(rows)
    least = np.full(len(rows), np.inf)
    for share in _SHARES:
        steps = np.maximum(share * _extreme(rows), _LEAST_STEP)
        stored = np.clip(np.rint(rows / steps[:, None]), -127, 127)
        error = np.square(stored * steps[:, None] - rows).sum(axis=1)
        better = error < least
        best[better], least[better] = steps[better], error[better]
    return best


def _needed_for(bias: NDArray[np.float32], span: tuple[float, float], rows: int) -> NDArray[Any]:
    low, high = span
    needed: NDArray[Any] = np.abs(bias.astype(np.float64)) / (max(high - low, 1e-6) / 255 * _BIAS_LIMIT)
    return needed if rows == len(bias) else np.full(rows, float(needed.max()))
