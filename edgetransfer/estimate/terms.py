"""The physical model of latency: what an op's time is made of.

An op's time is a sum: its own overhead, its multiply-adds over the rate that its kind of kernel reaches in its
precision (the compute roof), and the bytes that it moves over the rate of the memory (the memory roof). A sum rather
than the larger of the two, for cores that are not fed in time compute nothing meanwhile. Kernels work in tiles, so
channels are counted up to whole tiles.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgetransfer.estimate.op import Op

CALL = "call"
"""The term that every call has once, whatever the graph."""

_TILE = 8  # channels that matrix kernels compute at once; XNNPACK's and ncnn's are 8 or 16
_FEW_CHANNELS = 4  # of a first convolution: too few to fill a vector
_NEAR_BYTES = 1 << 20  # what a core's own cache holds at best; more comes from afar
_OWN_WINDOWS = (9, 25)  # taps of the depthwise windows that engines have kernels of their own for
_WINOGRAD = 9  # taps of the convolutions, of stride 1, that some engines compute by Winograd's algorithm
_MATRIX = ("pointwise", "conv", "conv 3x3", "stem", "grouped", "dense", "matmul")


def terms_of(ops: Iterable[Op]) -> dict[str, float]:
    """Return how much of each term `ops` have together: counts, or millions of multiply-adds, elements and bytes."""
    total: dict[str, float] = {CALL: 1.0}
    for op in ops:
        for term, amount in _terms(op).items():
            total[term] = total.get(term, 0.0) + amount
    return total


def _terms(op: Op) -> dict[str, float]:
    work = _work(op)
    found = {f"{op.precision} ops": 1.0, "activation bytes": op.activation_bytes / 1e6}
    if op.activation_bytes > _NEAR_BYTES:
        found["far activation bytes"] = op.activation_bytes / 1e6
    if op.weights and work in _MATRIX:
        found["weight bytes"] = op.weight_bytes / 1e6
    if work in _MATRIX:
        found[f"{op.precision} {work} macs"] = _in_tiles(op) / 1e6
        found[f"{op.precision} {work} written"] = op.written / 1e6
    elif work.startswith("depthwise"):
        found[f"{op.precision} {work} macs"] = op.macs / 1e6
        found[f"{op.precision} depthwise written"] = op.written / 1e6
    elif op.kind == "pool":
        found[f"{op.precision} {work} macs"] = op.macs / 1e6
    elif op.kind == "reduce":
        found[f"{op.precision} {work} read"] = op.read / 1e6
    else:
        found[f"{op.precision} {work} written"] = op.written / 1e6
    return found


def _work(op: Op) -> str:
    """Return the kind of kernel that computes `op`."""
    if op.groups > 1:
        return "grouped"
    if op.kind == "conv":
        if op.channels_in <= _FEW_CHANNELS:
            return "stem"
        if op.taps == _WINOGRAD and op.stride == 1:
            return "conv 3x3"
        return "pointwise" if op.taps == 1 else "conv"
    if op.kind == "depthwise":
        return next((f"depthwise {taps}" for taps in _OWN_WINDOWS if op.taps <= taps), "depthwise large")
    return f"{op.function} {op.kind}" if op.function else op.kind


def _in_tiles(op: Op) -> float:
    filters = max(1, op.channels_out)
    return op.macs * (-(-filters // _TILE) * _TILE) / filters
