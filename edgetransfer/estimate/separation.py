"""How well a score tells strangers from what is known: AUROC, the difference of two, recall at a false reject rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError

Z_95 = 1.959963984540054
"""The standard normal distribution's 97.5 % point."""


@dataclass(frozen=True, slots=True)
class AurocDifference:
    """Two scores on the same samples: each one's AUROC, first minus second, and the 95 % interval of that."""

    first: float
    second: float
    difference: float
    low: float
    high: float


def auroc(known: NDArray[np.floating[Any]], strange: NDArray[np.floating[Any]]) -> float:
    """Return the chance that a stranger scores above a known sample, equal scores counted half.

    Args:
        known: (n,) scores of what should be accepted.
        strange: (m,) scores of what should be rejected; higher is stranger.

    Raises:
        InputError: one of them is empty, or has NaN.
    """
    _check(known, strange)
    ranks = _middle_ranks(np.concatenate([known, strange]))[len(known) :]
    return float((ranks.mean() - (len(strange) + 1) / 2) / len(known))


def compare_aurocs(
    first: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]],
    second: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]],
) -> AurocDifference:
    """Return by how much `first` separates better than `second`, with the 95 % interval of DeLong et al. 1988.

    Both are (known, strange) scores of the same samples in the same order. Of samples that one score separates
    without a fault the interval says nothing of others that would be drawn: its variance is then only the other's.

    Source: DeLong, DeLong and Clarke-Pearson 1988, by middle ranks as Sun and Xu 2014.

    Raises:
        InputError: fewer than two samples of a kind, NaN, or not the same samples.
    """
    shapes = [(len(known), len(strange)) for known, strange in (first, second)]
    if shapes[0] != shapes[1] or min(shapes[0]) < 2:
        raise InputError(f"AUROC: expected two scores of the same samples, at least 2 of a kind, got {shapes}")
    placed = [_placements(*scores) for scores in (first, second)]
    variance = sum(float((one - other).var(ddof=1)) / len(one) for one, other in zip(placed[0], placed[1], strict=True))
    areas = [float(strange.mean()) for _, strange in placed]
    difference, half = areas[0] - areas[1], Z_95 * float(np.sqrt(variance))
    return AurocDifference(areas[0], areas[1], difference, difference - half, difference + half)


def recall_at(known: NDArray[np.floating[Any]], strange: NDArray[np.floating[Any]], false_reject_rate: float) -> float:
    """Return the share of `strange` (m,) that is rejected when at most this share of `known` (n,) is.

    Raises:
        InputError: one of them is empty, has NaN, or the rate is not between 0 and 1.
    """
    _check(known, strange)
    if not 0 < false_reject_rate < 1:
        raise InputError(f"false reject rate: expected between 0 and 1, got {false_reject_rate}")
    allowed = int(false_reject_rate * len(known) + 1e-9)  # 0.05 of 60 is 3, whatever binary fractions make of it
    threshold = np.sort(known)[len(known) - 1 - allowed]
    return float((strange > threshold).mean())


def _placements(
    known: NDArray[np.floating[Any]], strange: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each known sample the share of strangers above it, and for each stranger that of known below it."""
    _check(known, strange)
    both = _middle_ranks(np.concatenate([known, strange]))
    below_known = (both[: len(known)] - _middle_ranks(known)) / len(strange)
    below_strange = (both[len(known) :] - _middle_ranks(strange)) / len(known)
    return 1 - below_known, below_strange


def _middle_ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the rank of each value from 1, equal values sharing the mean of theirs."""
    _, number, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[number]
    return ranks


def _check(known: NDArray[np.floating[Any]], strange: NDArray[np.floating[Any]]) -> None:
    if not len(known) or not len(strange) or known.ndim != 1 or strange.ndim != 1:
        raise InputError(f"scores: expected (n,) of known and (m,) of strangers, got {known.shape} and {strange.shape}")
    if np.isnan(known).any() or np.isnan(strange).any():
        raise InputError("scores: expected numbers, got NaN")
