"""Finds labels that are probably wrong, and examples that are like no others, on features of a frozen backbone.

Wrong labels by the counting rule of confident learning: Northcutt, Jiang and Chuang 2021, "Confident Learning:
Estimating Uncertainty in Dataset Labels" (JAIR 70, arXiv 1911.00068), section 3. The package cleanlab has it too, and
brings pandas and scikit-learn along. Outliers by the distance to the nearest neighbours: Kuan and Mueller 2022, "Back
to the Basics: Revisiting Out-of-Distribution Detection Baselines" (arXiv 2207.03061).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.few import divide, fit_few, fit_plain
from edgetransfer.train.single_label import log_scores

FOLDS = 5
PENALTY_EXAMPLES = 600
"""How many examples the penalty is chosen on, about: on all 2,527 photos of TrashNet a check took two minutes."""
NEIGHBOURS = 10  # as in that paper
OUTLIER_SPREADS = 5.0
"""How many robust standard deviations beyond the median distance an outlier is; of normal numbers one in 3 million."""
_MAD = 1.4826  # a normal distribution's standard deviation, in median absolute deviations
_ROWS = 512  # distances are computed so many rows at a time


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """What examples say of each other's labels.

    Attributes:
        scores: (n, classes) probabilities by heads that did not see the example.
        suspected: (n,) whether the label is probably wrong.
        suggested: (n,) the number of the label that is likelier; the given one where nothing is suspected.
        margin: (n,) how much likelier, in probability; 0 where nothing is suspected.
    """

    scores: NDArray[np.float64]
    suspected: NDArray[np.bool_]
    suggested: NDArray[np.int64]
    margin: NDArray[np.float64]


def check_labels(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, *, seed: int = 0
) -> LabelCheck:
    """Return which labels are probably wrong.

    Each example is judged by a logistic regression trained on the other folds. A class is believed of an example where
    its probability is at least what it is, on average, among the examples that carry its label; so neither a classifier
    that is too sure nor a rare class is favoured. An example is suspected where the likeliest believed class is not its
    label.

    Args:
        features: (n, D) of the deployed backbone.
        labels: (n,) label numbers, 0..classes-1.
        classes: How many labels there are.
        seed: Of the division into folds.

    Raises:
        DataError: a label has fewer than two examples, which cannot be judged by each other.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts < 2).any():
        raise DataError(
            f"label number {int(np.argmin(counts))}: expected at least 2 examples, one to learn from and one to judge, "
            f"got {int(counts.min())}"
        )
    scores = _left_out(features, labels, classes, seed)
    given = scores[np.arange(len(labels)), labels]
    least = np.array([scores[labels == number, number].mean() for number in range(classes)])
    believed = np.where(scores >= least, scores, -1.0)
    suggested = np.where(believed.max(axis=1) >= 0, believed.argmax(axis=1), labels)
    suspected = suggested != labels
    margin = np.where(suspected, scores[np.arange(len(labels)), suggested] - given, 0.0)
    return LabelCheck(scores, suspected, suggested, margin)


def find_outliers(features: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return (n,) which examples are like no others, and (n,) their mean cosine distance to the nearest others, 0 to 2.

    Args:
        features: (n, D); n at least 3.
    """
    about = features - features.mean(axis=0, dtype=np.float64)
    unit = about / np.maximum(np.linalg.norm(about, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(unit) - 1)
    distances = np.empty(len(unit))
    for begin in range(0, len(unit), _ROWS):
        rows = np.arange(begin, min(begin + _ROWS, len(unit)))
        table = 1 - unit[rows] @ unit.T
        table[np.arange(len(rows)), rows] = np.inf
        distances[rows] = np.partition(table, count - 1, axis=1)[:, :count].mean(axis=1)
    middle = float(np.median(distances))
    spread = _MAD * float(np.median(np.abs(distances - middle)))
    return distances > middle + OUTLIER_SPREADS * max(spread, 1e-12), distances


def _left_out(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, seed: int) -> NDArray[np.float64]:
    """Return (n, classes) probabilities of each example by a head that was trained on the other folds."""
    some = _some(labels, seed)
    penalty = fit_few(features[some], labels[some], classes, seed=seed).penalty
    fold = divide(labels, FOLDS, np.random.default_rng(seed))
    scores = np.empty((len(labels), classes))
    for number in np.unique(fold):
        out = fold == number
        head = fit_plain(features[~out], labels[~out], classes, penalty)
        scores[out] = np.exp(log_scores(apply_head((head,), features[out]).astype(np.float64)))
    return scores


def _some(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """Return (n,) which examples the penalty is chosen on: of each label its share, and at least two."""
    part = divide(labels, -(-len(labels) // PENALTY_EXAMPLES), np.random.default_rng(seed))
    found: NDArray[np.bool_] = part == 0
    for label in np.unique(labels):
        found[np.flatnonzero(labels == label)[:2]] = True
    return found
