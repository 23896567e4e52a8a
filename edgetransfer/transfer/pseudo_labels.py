"""Self-training: what a head is sure of in the target domain is learned from as if it were labelled.

Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method" (ICML workshop); an even share of
each class as in Zou et al. 2018, "Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced
Self-Training" (ECCV, arXiv 1810.07911), for a head that favours a class would otherwise favour it more and more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import RecipeError
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.fit import Fit
from edgetransfer.train.single_label import log_scores

RATE = 0.95
"""How often a label is to be right, among those of the validation split that are as sure."""
ROUNDS = 2
Split = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Features (n, D) and label numbers (n,)."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: the confidence that was asked for, infinite where none is enough, and how many labels were kept."""

    threshold: float
    kept: int


@dataclass(frozen=True, slots=True)
class SelfTrained:
    """A head that was trained on its own labels too.

    Attributes:
        fit: The head of the last round.
        rows: (k,) int64, which target examples it learned from; each once.
        labels: (k,) int64, as what.
        confidence: (k,) of the head that gave the labels, 0 to 1.
        rounds: In order; fewer than asked for where a round kept nothing, or the same as the one before.
    """

    fit: Fit
    rows: NDArray[np.int64] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    confidence: NDArray[np.float64] = field(repr=False)
    rounds: tuple[Round, ...]


def self_train(
    train: Split,
    val: Split,
    target: NDArray[np.float32],
    classes: int,
    fit_head: Callable[[Split], Fit],
    *,
    rate: float = RATE,
    rounds: int = ROUNDS,
    most_each: int | None = None,
) -> SelfTrained:
    """Return a head that has also learned from the target examples that it is sure of.

    Each round chooses the threshold on the validation split, labels the target anew, and trains on both from the start.

    Args:
        train: The labelled examples of the source.
        val: Its validation split; chooses the threshold and is never trained on.
        target: (m, D) features without labels.
        classes: How many labels there are.
        fit_head: Trains a head on a split, judged as the caller likes.
        rate: See RATE; 0 to 1. It holds in the source domain; in the target fewer labels may be right.
        rounds: At most so many, 1 or more.
        most_each: Of each class at most so many, the surest ones; None: an even share of the target's examples.

    Raises:
        RecipeError: a rate or a number of rounds that cannot be.
    """
    if not 0 < rate <= 1 or rounds < 1:
        raise RecipeError(
            f"pseudo-labels: expected a rate above 0 and at most 1, and at least one round, got {rate:g} and {rounds}"
        )
    most = -(-len(target) // classes) if most_each is None else most_each
    found = SelfTrained(fit_head(train), *_nothing(), ())
    for _ in range(rounds):
        scores = [_scores(found.fit, features) for features in (val[0], target)]
        threshold = choose_threshold(scores[0], val[1], rate)
        rows, labels = sure_labels(scores[1], threshold, most_each=most)
        done = (*found.rounds, Round(threshold, len(rows)))
        if not len(rows) or (np.array_equal(rows, found.rows) and np.array_equal(labels, found.labels)):
            return SelfTrained(found.fit, found.rows, found.labels, found.confidence, done)
        more = (np.concatenate([train[0], target[rows]]), np.concatenate([train[1], labels]))
        found = SelfTrained(fit_head(more), rows, labels, scores[1][rows].max(axis=1), done)
    return found


def choose_threshold(scores: NDArray[np.float64], labels: NDArray[np.int64], rate: float) -> float:
    """Return the least confidence above which at least a share `rate` of the answers is right; infinity for none.

    Args:
        scores: (n, classes) probabilities.
        labels: (n,) the right label numbers.
        rate: 0 to 1.
    """
    confidence = scores.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (scores.argmax(axis=1) == labels)[order]
    sure = confidence[order]
    shares = np.cumsum(right) / np.arange(1, len(right) + 1)
    last_of_equals = np.append(sure[1:] < sure[:-1], True)  # equally sure ones are kept together or not at all
    enough = np.flatnonzero((shares >= rate) & last_of_equals)
    return float(sure[enough[-1]]) if len(enough) else float("inf")


def sure_labels(
    scores: NDArray[np.float64], threshold: float, *, most_each: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which examples are labelled, ascending, and as what.

    Args:
        scores: (n, classes) probabilities.
        threshold: The least confidence.
        most_each: Of each class at most so many, the surest ones.
    """
    confidence, labels = scores.max(axis=1), scores.argmax(axis=1)
    kept = []
    for number in range(scores.shape[1]):
        own = np.flatnonzero((labels == number) & (confidence >= threshold))
        kept.append(own[np.argsort(-confidence[own], kind="stable")[:most_each]])
    rows = np.sort(np.concatenate(kept))
    return rows, labels[rows]


def _scores(fit: Fit, features: NDArray[np.float32]) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = np.exp(log_scores(apply_head(fit.head, features).astype(np.float64)))
    return scores


def _nothing() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
