"""How well features would serve a new task, from few labelled examples and without training a network.

`log_me` is a score without a unit that ranks feature extractors; `right_when_held_out` says how often a linear head in
closed form is right on examples that it has not seen. They see different things: the first how simply the labels can
be explained, the second what counts in the end, but with the noise of few examples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Ridge penalties to choose from, relative to the features' mean square."""
_MOST_ROUNDS = 100  # of the fixed point, which is there after ten or so
_NEAR = 1e-5  # relative change at which it has arrived
_TINY = 1e-12


def log_me(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return LogME: the logarithm of the maximum evidence for `labels` given `features`, an example and a class.

    Higher is better; only differences between features of the same examples mean something.

    Args:
        features: (n, D) real values.
        labels: (n,) numbers of classes; of each class against all others, the mean is taken.

    Source: You, Liu, Wang and Long 2021, LogME: Practical Assessment of Pre-trained Models for Transfer Learning
    (ICML), with the fixed-point iteration of their Ranking and Tuning Pre-trained Models (JMLR 2022).
    """
    table = np.asarray(features, np.float64)
    squares, directions = np.linalg.eigh(table @ table.T)
    squares = np.maximum(squares, 0.0)
    classes = np.unique(labels)
    return float(np.mean([_evidence((labels == one).astype(np.float64), squares, directions) for one in classes]))


def _evidence(target: Floats, squares: Floats, directions: Floats) -> float:
    """Return the log evidence an example of Bayesian linear regression, at the noise and prior that maximize it.

    Args:
        target: (n,).
        squares: (n,) squared singular values of the features, zeros included.
        directions: (n, n) their left singular vectors, in columns.
    """
    count, weights = len(target), (directions.T @ target) ** 2
    ratio = 1.0  # the prior's precision (alpha in the paper) over the noise's (beta)
    for _ in range(_MOST_ROUNDS):
        effective, length, missed = _moments(ratio, squares, weights)
        new = effective / max(count - effective, _TINY) * missed / max(length, _TINY)
        arrived = abs(new - ratio) <= _NEAR * ratio
        ratio = min(max(new, _TINY), 1 / _TINY)
        if arrived:
            break
    _, length, missed = _moments(ratio, squares, weights)
    penalized = max(missed + ratio * length, _TINY)  # count over this is the noise's best precision at that ratio
    evidence = count * np.log(count / (2 * np.pi * penalized)) - np.log1p(squares / ratio).sum() - count
    return float(evidence / (2 * count))


def _moments(ratio: float, squares: Floats, weights: Floats) -> tuple[float, float, float]:
    """Return the effective number of features, the solution's squared length, and the squared error it leaves."""
    kept = squares / (squares + ratio)
    length = (squares * weights / (squares + ratio) ** 2).sum()
    return float(kept.sum()), float(length), float(((1 - kept) ** 2 * weights).sum())


def folds_of(labels: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Return a fold, 0 to `count` - 1, for each example: every class is spread evenly, in the order of the examples."""
    folds = np.empty(len(labels), np.int64)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % count
    return folds


def right_when_held_out(
    features: NDArray[np.floating], labels: NDArray[np.integer], folds: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Return for each example whether a ridge classifier fitted to the other folds is right on it.

    Of `PENALTIES` the one with the least squared error on held-out examples is taken: not the one with the most right
    answers, for these are what is told.

    Args:
        features: (n, D) real values.
        labels: (n,) numbers of classes.
        folds: (n,) the fold of each example.
    """
    table = np.asarray(features, np.float64)
    table = table - table.mean(axis=0)
    classes, numbers = np.unique(labels, return_inverse=True)
    targets = np.eye(len(classes))[numbers]
    centred = targets - targets.mean(axis=0)
    gram = table @ table.T
    scale = max(float(np.trace(gram)) / len(gram), _TINY)
    tried = [held_out_scores(gram, centred, penalty * scale, folds) for penalty in PENALTIES]
    best = min(tried, key=lambda scores: float(((scores - centred) ** 2).sum()))
    right: NDArray[np.bool_] = (best + targets.mean(axis=0)).argmax(axis=1) == numbers
    return right


def held_out_scores(gram: Floats, targets: Floats, ridge: float, folds: NDArray[np.integer]) -> Floats:
    """Return what ridge regression on all other folds says of each row, (n, k), with one inverse for all folds.

    Args:
        gram: (n, n) inner products of the rows.
        targets: (n, k).
        ridge: The penalty.
        folds: (n,) the fold of each row.

    Source: the blocks of equation 5.12 in Rasmussen and Williams 2006: y_B - f_B = ((G^-1)_BB)^-1 (G^-1 y)_B with
    G = gram + ridge I, for the rows B of a fold.
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    solved, scores = inverse @ targets, np.empty_like(targets)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        scores[rows] = targets[rows] - np.linalg.solve(inverse[np.ix_(rows, rows)], solved[rows])
    return scores
