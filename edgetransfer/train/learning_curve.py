"""Would more data help? Accuracy by cross-validation at growing numbers of examples, and a power law through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.learning_curve import CurvePoint, LearningCurve
from edgetransfer.train.few import divide, fit_few, fit_plain

_FOLDS = 5
_SIZES = 6
_RESAMPLES = 200
_EXPONENTS = np.linspace(0.05, 1.5, 59)
"""Errors of learned classifiers fall with an exponent of some tenths (Hestness et al. 2017, "Deep Learning Scaling is
Predictable, Empirically": 0.07 to 0.35), and with 1 at most where nothing is left to find but the parameters."""


def learning_curve(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: int,
    *,
    sizes: Sequence[int] | None = None,
    repeats: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LearningCurve:
    """Return how accuracy grows with examples, and what twice as many would bring.

    Each example is left out once a repeat; heads as `few` makes them train on growing parts of the others.

    Args:
        features: (n, D) float32.
        labels: (n,) int64, 0..classes-1.
        classes: How many labels there are.
        sizes: Numbers of training examples; None: six, each 1.6 times the one before, up to all but a fifth.
        repeats: How many times all is divided anew.
        seed: Of the divisions.
        progress: Called with (heads trained, heads in all).

    Raises:
        DataError: a label with fewer than five examples, or sizes that cannot be had.
    """
    asked = _sizes(labels, classes, sizes)
    rng = np.random.default_rng(seed)
    penalties: list[float] = []
    rounds: list[list[float]] = []
    for known, out in _divisions(labels, repeats, rng):
        accuracies = []
        for position, size in enumerate(asked):
            some = known[:size]
            if len(penalties) == position:
                penalties.append(fit_few(features[some], labels[some], classes, seed=seed).penalty)
            head = fit_plain(features[some], labels[some], classes, penalties[position])
            accuracies.append(float((head.apply(features[out]).argmax(axis=1) == labels[out]).mean()))
            if progress is not None:
                progress(len(rounds) * len(asked) + position + 1, repeats * _FOLDS * len(asked))
        rounds.append(accuracies)
    return fitted_curve(asked, np.array(rounds), rng)


def _divisions(
    labels: NDArray[np.int64], repeats: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rows to learn from, in an order of which any beginning will do, and the rows to judge by."""
    for _ in range(repeats):
        fold = divide(labels, _FOLDS, rng)
        for number in range(_FOLDS):
            yield _spread_order(labels, np.flatnonzero(fold != number), rng), np.flatnonzero(fold == number)


def fitted_curve(sizes: Sequence[int], accuracy: NDArray[np.float64], rng: np.random.Generator) -> LearningCurve:
    """Return the curve through (rounds, sizes) accuracies, 0 to 1; intervals are from drawing the rounds again."""
    mean = accuracy.mean(axis=0)
    drawn = accuracy[rng.integers(0, len(accuracy), (_RESAMPLES, len(accuracy)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5), axis=0)
    points = tuple(
        CurvePoint(int(size), float(middle), float(below), float(above))
        for size, middle, below, above in zip(sizes, mean, low, high, strict=True)
    )
    floor, factor, exponent = power_law(sizes, 1 - mean)
    gains = [_gain(sizes[-1], *power_law(sizes, 1 - one)) for one in drawn]
    ends = np.percentile(gains, (2.5, 97.5))
    gain = _gain(sizes[-1], floor, factor, exponent)
    return LearningCurve(points, floor, factor, exponent, gain, (float(ends[0]), float(ends[1])))


def power_law(sizes: Sequence[int], errors: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return (floor, factor, exponent) of error = floor + factor * n ** -exponent, least squares, none below 0.

    For a given exponent the other two are linear, so the exponents are tried one by one.
    """
    from scipy.optimize import nnls

    best = (np.inf, 0.0, 0.0, 1.0)
    for exponent in _EXPONENTS:
        columns = np.stack([np.ones(len(sizes)), np.asarray(sizes, np.float64) ** -exponent], axis=1)
        (floor, factor), off = nnls(columns, errors)
        best = min(best, (float(off), float(floor), float(factor), float(exponent)))
    return best[1:]


def _gain(examples: int, floor: float, factor: float, exponent: float) -> float:
    return 100 * factor * (math.pow(examples, -exponent) - math.pow(2 * examples, -exponent))


def _sizes(labels: NDArray[np.int64], classes: int, asked: Sequence[int] | None) -> tuple[int, ...]:
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < _FOLDS:
        raise DataError(
            f"learning curve: expected at least {_FOLDS} examples of every label, "
            f"got {int(counts.min())} of label number {int(counts.argmin())}"
        )
    examples = len(labels)
    most = examples - -(-examples // _FOLDS) - classes  # folds differ by no more than one example a label
    if asked is None:
        found = {max(2 * classes, round(most / 1.6**step)) for step in range(_SIZES)}
    else:
        found = {int(size) for size in asked}
    sizes = tuple(sorted(found))
    if len(sizes) < 3 or sizes[0] < classes or sizes[-1] > most:
        raise DataError(
            f"learning curve: expected at least 3 sizes from {classes} to {most} for {examples} examples, got {sizes}"
        )
    return sizes


def _spread_order(labels: NDArray[np.int64], rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `rows` in an order whose every beginning has the labels in their shares, each at least once."""
    place = np.empty(len(rows))
    for label in np.unique(labels[rows]):
        own = rng.permutation(np.flatnonzero(labels[rows] == label))
        place[own] = (np.arange(len(own)) + rng.uniform()) / len(own)
        place[own[0]] = -1  # one of each comes first
    return rows[np.argsort(place, kind="stable")]
