"""Finds photos that are in a data set more than once, also saved again, resized or brightened.

Two photos are near copies if one thumbnail, its contrast and brightness fitted to the other's, differs by at
most `MAX_RESIDUAL` grey levels (root mean square) and by at most `MAX_CELL` anywhere, and they correlate by at
least `MIN_CORRELATION`. A perceptual hash would be a coarser form of the same; comparing the thumbnails
themselves needs no second check and no library.

Where the limits come from, on photographs: copies saved at JPEG quality 10 to 75, halved, quartered, doubled or
with 5 % more brightness or 10 % more contrast have a median residual of 0.3 to 1.4 and 99 % of them at most 3.0;
the nearest *different* photos among 2,527 objects on one white table (3.2 million pairs, many of one glass
turned a little) have 2.99 and a cell off by 17. Cropping by more than 1 % or turning is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data.report import SPLITS, Kind

MAX_RESIDUAL = 2.5
MAX_CELL = 12.0
MIN_CORRELATION = 0.97

_BLOCK_PAIRS = 1 << 24  # pairs compared at once: 64 MB of float32

Indices = NDArray[np.intp]


def group_copies(sha256s: Sequence[str], grey: NDArray[np.uint8] | None) -> Indices:
    """Return a group number for each photo, the same for exact and near copies of one another.

    `grey` is (N, 16, 16) uint8, None where only exact copies count. A copy of a copy is in the group as well.
    """
    groups: Indices = np.arange(len(sha256s))
    first: dict[str, int] = {}
    for i, sha256 in enumerate(sha256s):
        groups[i] = first.setdefault(sha256, i)

    def in_other_groups(i: int, others: Indices) -> Indices:
        apart: Indices = others[groups[others] != groups[i]]
        return apart

    for i, copies in () if grey is None else _near(grey, in_other_groups):
        groups[np.isin(groups, groups[copies])] = groups[i]
    return groups


def find_leaks(
    sha256s: Sequence[str], grey: NDArray[np.uint8] | None, splits: Sequence[str]
) -> list[tuple[int, int, Kind]]:
    """Return (photo, its copy in a later split, kind) for each photo and later split with a copy, at most one each.

    `grey` is (N, 16, 16) uint8, None where only exact copies count. Train comes before val, val before test.
    """
    rank = np.array([SPLITS.index(split) for split in splits], np.intp)
    found: dict[tuple[int, int], tuple[int, Kind]] = {}
    leaking = np.zeros((len(sha256s), len(SPLITS)), bool)

    def note(inner: int, outer: int, kind: Kind) -> None:
        found.setdefault((inner, int(rank[outer])), (outer, kind))
        leaking[inner, rank[outer]] = True

    holders: dict[str, dict[int, int]] = {}
    for i, sha256 in enumerate(sha256s):
        holders.setdefault(sha256, {}).setdefault(int(rank[i]), i)
    for i, sha256 in enumerate(sha256s):
        for other_rank, j in holders[sha256].items():
            if other_rank > rank[i]:
                note(i, j, "exact")
    # The last split comes first: one photo there then settles all its copies in the earlier ones at once.
    order: Indices = np.argsort(-rank, kind="stable")

    def earlier_and_new(i: int, others: Indices) -> Indices:
        at, outer = order[others], rank[order[i]]
        chosen: Indices = others[(rank[at] < outer) & ~leaking[at, outer]]
        return chosen

    for i, copies in () if grey is None else _near(grey[order], earlier_and_new):
        for inner in order[copies].tolist():
            note(inner, int(order[i]), "near")
    return sorted((inner, outer, kind) for (inner, _), (outer, kind) in found.items())


def _near(grey: NDArray[np.uint8], wanted: Callable[[int, Indices], Indices]) -> Iterator[tuple[int, Indices]]:
    """Yield (i, all j > i that are near copies of i), of those j that `wanted` lets through just then.

    `wanted` keeps a series of a thousand equal frames from costing a million comparisons.
    """
    cells = grey.reshape(len(grey), -1).astype(np.float64)
    left, right = _sketch(cells)
    count = len(cells)
    block = max(1, _BLOCK_PAIRS // max(count, 1))
    for start in range(0, count, block):
        # Short distances between sketches; the slack covers float32's rounding.
        close = left[start : start + block] @ right[start:].T >= MIN_CORRELATION - 1 - 1e-4
        for row in np.flatnonzero(np.count_nonzero(close, axis=1) > 1).tolist():
            i = start + row
            others = wanted(i, i + 1 + np.flatnonzero(close[row, row + 1 :]))
            copies = others[_are_near(cells[i], cells[others])] if len(others) else others
            if len(copies):
                yield i, copies


def _sketch(cells: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two (N, 66) matrices whose product L @ R.T bounds correlation - 1 from above, for all pairs.

    The distance of unit vectors is sqrt(2 - 2 * correlation); averaging 2 x 2 cells can only make it shorter.
    """
    centred = cells - cells.mean(axis=1, keepdims=True)
    units = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    side = int(np.sqrt(cells.shape[1])) // 2
    low = units.reshape(len(cells), side, 2, side, 2).sum(axis=(2, 4)).reshape(len(cells), -1) / 2
    half = (low**2).sum(axis=1, keepdims=True) / 2
    one = np.ones_like(half)
    return np.hstack([low, -half, -one]).astype(np.float32), np.hstack([low, one, half]).astype(np.float32)


def _are_near(one: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return for each of `others` (M, 256) whether it is a near copy of `one` (256,).

    The sums are of whole numbers, so that every machine decides alike.
    """
    size = one.size
    own = size * (one @ one) - one.sum() ** 2
    variances = size * (others * others).sum(axis=1) - others.sum(axis=1) ** 2
    near: NDArray[np.bool_] = (variances > 0) & (own > 0)  # a blank picture has no structure to compare
    covariance = size * (others @ one) - others.sum(axis=1) * one.sum()
    spread = np.sqrt(own * variances)
    near &= covariance >= MIN_CORRELATION * spread
    near &= 2 * (spread - covariance) <= (MAX_RESIDUAL * size) ** 2
    kept = np.flatnonzero(near)
    gain = np.sqrt(np.sqrt(variances[kept] / own))[:, None] if len(kept) else np.ones((0, 1))
    fitted = (one - one.mean()) * gain - (others[kept] - others[kept].mean(axis=1, keepdims=True)) / gain
    near[kept] = np.abs(fitted).max(axis=1, initial=0) <= MAX_CELL
    return near
