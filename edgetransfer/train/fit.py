"""Trains a single-label head on the features of the deployed backbone, and lets the validation split choose how."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.dense import Dense
from edgetransfer.train.search import HeadOptions as HeadOptions
from edgetransfer.train.search import Progress, search
from edgetransfer.train.single_label import SingleLabelGoal


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained head, and what was tried: one row a candidate."""

    head: tuple[Dense, ...]
    chosen: dict[str, float]
    candidates: tuple[dict[str, float], ...] = field(repr=False)


def fit(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    val: tuple[NDArray[np.float32], NDArray[np.int64]],
    classes: int,
    options: HeadOptions,
    *,
    weights: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Return the head that does best on `val`.

    Args:
        train: (n, D) float32 features and (n,) labels 0..classes-1.
        val: The same of the validation split; chooses the candidate, stops the training, and is never trained on.
        classes: How many labels there are.
        options: How to train.
        weights: (n,) how much each training example counts, of mean 1; None: all alike.
        progress: Called with (epochs done, epochs at most).

    Raises:
        DataError: a label has no training example.
        UnknownNameError, RecipeError: the loss or the optimizer.
    """
    goal = SingleLabelGoal.of(train[1], val[1], classes, options)
    best, found = search((train[0], val[0]), train[1], goal, options, progress, weights)
    return Fit(best.head, best.row(), tuple(one.row() for one in found))
