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

_SHARES = np.linspace(
    1.0, 0.4, 61, dtype=np.float32
)  # of the largest weight; the least squared error was never found below


def cut_to_least_error(model: bytes, numbers: Sequence[Numbers], *, per_tensor: bool) -> bytes:
    """Return `model` with each weight cut to the range whose rounding has the least squared error."""
    graph = Graph.read(model)
    for op, bits in _integer_weights(graph, numbers):
        rows, shape = _rows(graph, op)
        end = _range_ends(rows, bits, per_tensor=per_tensor, searched=True)
        _set_rows(graph, op, np.clip(rows, -end, end), shape)
    return graph.to_bytes()


def round_together(
    model: bytes, numbers: Sequence[Numbers], seen: Mapping[int, Moments], *, per_tensor: bool, searched: bool
) -> bytes:
    """Return `model` with weights rounded so that outputs, not weights, change little, and their mean not at all.

    A row's weights are rounded one after the other, each making good on `seen` what those before it changed (GPTQ's
    update, Frantar et al. 2023); what is left of the outputs' mean goes into the bias (Nagel et al. 2019). Ranges are
    the weights' own, or `searched` for the least squared error.
    """
    graph = Graph.read(model)
    for op, bits in _integer_weights(graph, numbers):
        rows, shape = _rows(graph, op)
        ends = _range_ends(rows, bits, per_tensor=per_tensor, searched=searched)
        known = seen[op.outputs[0]]
        rounded = _compensated(rows, ends / np.float32(_largest(bits)), known.told, _largest(bits))
        _keep_ends(rows, rounded, ends, per_tensor=per_tensor)
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


def _rows(graph: Graph, op: Op) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Return the weights as one row for each output channel, and the shape to give back; depthwise has them last."""
    weights = graph.constant(op.inputs[1])
    assert weights is not None
    turned = np.moveaxis(weights, -1, 0) if op.name == "DEPTHWISE_CONV_2D" else weights
    return turned.reshape(len(turned), -1).astype(np.float32), turned.shape


def _set_rows(graph: Graph, op: Op, rows: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    turned = rows.reshape(shape)
    graph.set_constant(op.inputs[1], np.moveaxis(turned, 0, -1) if op.name == "DEPTHWISE_CONV_2D" else turned)


def _range_ends(rows: NDArray[np.float32], bits: int, *, per_tensor: bool, searched: bool) -> NDArray[np.float32]:
    """Return the end of each row's range, (n, 1)."""
    flat = rows.reshape(1, -1) if per_tensor else rows
    largest = np.maximum(np.abs(flat).max(axis=1, keepdims=True), np.float32(1e-12))
    best: NDArray[np.float32] = largest.copy()
    least = np.full((len(flat), 1), np.inf)
    for share in _SHARES if searched else ():
        scale = share * largest / _largest(bits)
        rounded = np.clip(np.rint(flat / scale), -_largest(bits), _largest(bits)) * scale
        error = ((rounded - flat) ** 2).sum(axis=1, keepdims=True)
        best, least = np.where(error < least, share * largest, best), np.minimum(error, least)
    return np.broadcast_to(best, (len(rows), 1))


def _compensated(
    rows: NDArray[np.float32], scale: NDArray[np.float32], told: Sequence[NDArray[np.float32]], largest: int
) -> NDArray[np.float32]:
    """Return `rows` (n, K) on the grid of `scale` (n, 1), each weight making good what those before it changed."""
    steps, stored = rows / scale, np.empty_like(rows)
    begin = 0
    for block in told:
        end = begin + block.shape[-1]
        for j in range(begin, end):
            np.clip(np.rint(steps[:, j]), -largest, largest, out=stored[:, j])
            error = (steps[:, j] - stored[:, j]) / block[:, j - begin, j - begin]
            steps[:, j + 1 : end] -= error[:, None] * block[:, j - begin, j - begin + 1 :]
        begin = end
    return stored * scale


def _keep_ends(
    rows: NDArray[np.float32], rounded: NDArray[np.float32], ends: NDArray[np.float32], *, per_tensor: bool
) -> None:
    """Put the largest weight of each range at its end, so that the quantizer finds the same range."""
    flat, out = (rows.reshape(1, -1), rounded.reshape(1, -1)) if per_tensor else (rows, rounded)
    index = np.arange(len(flat))
    place = np.abs(flat).argmax(axis=1)
    out[index, place] = np.copysign(ends[: len(flat), 0], flat[index, place])
