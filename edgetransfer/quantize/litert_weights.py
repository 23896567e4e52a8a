"""Puts the float weights of a `.tflite` on the grid that they will be stored on, before the quantizer sees them.

The quantizer takes the largest weight as the range's end. So weights that are cut to a range, or rounded to its steps,
come out of it as they went in: how ranges are searched and how weights are rounded is decided here, for every recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgetransfer.quantize.flatbuffer import Graph, Op
from edgetransfer.quantize.litert_moments import Moments
from edgetransfer.quantize.litert_ops import BITS, WEIGHTED, Numbers

_SHARES = np.linspace(1.0, 0.4, 61)  # of the largest weight; the least squared error was never found below
_BLOCK = 64  # columns rounded before the rest is told; any number gives the same, this one the fastest


def cut_to_least_error(model: bytes, numbers: Sequence[Numbers], *, per_tensor: bool) -> bytes:
    """Return `model` with each weight cut to the range whose rounding has the least squared error."""
    graph = Graph.read(model)
    for op, bits in _integer_weights(graph, numbers):
        rows, shape = _rows(graph, op, per_tensor=per_tensor)
        end = _least_error_range(rows, bits)
        _set_rows(graph, op, np.clip(rows, -end, end), shape)
    return graph.to_bytes()


def round_together(model: bytes, numbers: Sequence[Numbers], seen: Mapping[int, Moments], *, per_tensor: bool) -> bytes:
    """Return `model` with weights rounded so that outputs, not weights, change little, and their mean not at all.

    A row's weights are rounded one after the other, each making good on `seen` what those before it changed (GPTQ's
    update, Frantar et al. 2023); what is left of the outputs' mean goes into the bias (Nagel et al. 2019).
    """
    graph = Graph.read(model)
    for op, bits in _integer_weights(graph, numbers):
        rows, shape = _rows(graph, op, per_tensor=False)
        ends = np.abs(rows).max(axis=None if per_tensor else 1, keepdims=True)
        scale = np.broadcast_to(np.maximum(ends, np.float32(1e-12)) / _largest(bits), (len(rows), 1))
        known = seen[op.outputs[0]]
        rounded = _compensated(rows, scale, known.told, _largest(bits))
        _keep_ends(rows, rounded, per_tensor=per_tensor)
        _set_rows(graph, op, rounded, shape)
        bias = graph.constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        if bias is not None:
            graph.set_constant(op.inputs[2], bias - ((rounded - rows) * known.mean).sum(axis=1))
    return graph.to_bytes()


def _integer_weights(graph: Graph, numbers: Sequence[Numbers]) -> list[tuple[Op, int]]:
    return [
        (op, BITS[one.weights])
        for op, one in zip(graph.ops(), numbers, strict=True)
        if op.name in WEIGHTED and one.weights in BITS and graph.constant(op.inputs[1]) is not None
    ]


def _largest(bits: int) -> int:
    return (1 << bits - 1) - 1


def _rows(graph: Graph, op: Op, *, per_tensor: bool) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Return the weights as one row for each scale, and the shape to give back; channels are last in depthwise."""
    weights = graph.constant(op.inputs[1])
    assert weights is not None
    turned = np.moveaxis(weights, -1, 0) if op.name == "DEPTHWISE_CONV_2D" else weights
    return turned.reshape(1 if per_tensor else len(turned), -1).astype(np.float32), turned.shape


def _set_rows(graph: Graph, op: Op, rows: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    turned = rows.reshape(shape)
    graph.set_constant(op.inputs[1], np.moveaxis(turned, 0, -1) if op.name == "DEPTHWISE_CONV_2D" else turned)


def _least_error_range(rows: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Return the end of each row's range, (n, 1)."""
    largest = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    best: NDArray[np.float32] = largest.copy()
    least = np.full((len(rows), 1), np.inf)
    for share in _SHARES:
        scale = share * largest / _largest(bits)
        rounded = np.clip(np.rint(rows / scale), -_largest(bits), _largest(bits)) * scale
        error = ((rounded - rows) ** 2).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, share * largest, best), np.minimum(error, least)
    return best


def _compensated(
    rows: NDArray[np.float32], scale: NDArray[np.float32], told: NDArray[np.float32], largest: int
) -> NDArray[np.float32]:
    """Return `rows` (n, K) on the grid of `scale` (n, 1), each weight making good what those before it changed."""
    size = rows.shape[1]
    steps, stored = rows / scale, np.empty_like(rows)
    for begin in range(0, size, _BLOCK):
        end = min(begin + _BLOCK, size)
        errors = np.empty((len(rows), end - begin), np.float32)
        for j in range(begin, end):
            np.clip(np.rint(steps[:, j]), -largest, largest, out=stored[:, j])
            errors[:, j - begin] = error = (steps[:, j] - stored[:, j]) / told[:, j, j]
            steps[:, j + 1 : end] -= error[:, None] * told[:, j, j + 1 : end]
        if end < size:
            steps[:, end:] -= (
                (errors[:, None] @ told[:, begin:end, end:])[:, 0]
                if len(told) > 1
                else (errors @ told[0, begin:end, end:])
            )
    return stored * scale


def _keep_ends(rows: NDArray[np.float32], rounded: NDArray[np.float32], *, per_tensor: bool) -> None:
    """Put the weight that sets a range back to where it was, so that the quantizer finds the same range."""
    flat, out = (rows.reshape(1, -1), rounded.reshape(1, -1)) if per_tensor else (rows, rounded)
    index = np.arange(len(flat))
    place = np.abs(flat).argmax(axis=1)
    out[index, place] = flat[index, place]
