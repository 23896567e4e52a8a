"""What any number of labels at once ask of training: a sigmoid each, and thresholds chosen on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.runtime.decoders.multi_label import to_scores
from edgetransfer.spec.task import Task
from edgetransfer.train.search import HeadOptions

FEWEST_POSITIVES = 10
"""Validation examples that a label needs for a threshold of its own; with fewer it gets the one of all labels together.
On TrashNet's classes, one against the rest, thresholds from 2, 5 and 10 examples had F1 of 0.866, 0.868 and 0.872 on
new photos, the one of all together 0.871."""

_MOST_WEIGHT = 20.0
"""Of a positive example of a rare label: beyond, a handful of examples decides what the label is."""


@dataclass(frozen=True, slots=True)
class MultiLabelGoal:
    """See `search.Goal`; `targets` are those of the validation split, (n, labels) of 0 and 1."""

    targets: NDArray[np.float32]
    positive_weights: NDArray[np.float32]
    options: HeadOptions
    measure: str = "val_mean_average_precision"
    larger_is_better: bool = True

    @classmethod
    def of(cls, train: NDArray[Any], val: NDArray[Any], options: HeadOptions) -> MultiLabelGoal:
        """Return the goal for (n, labels) targets of both splits.

        Raises:
            DataError: a label has no training example.
        """
        positives = train.sum(axis=0)
        if (positives == 0).any():
            raise DataError(f"label number {int(np.argmin(positives))} has no training example")
        weights = (
            np.clip((len(train) - positives) / positives, 1, _MOST_WEIGHT) if options.balance else 1 + 0 * positives
        )
        return cls(val.astype(np.float32), weights.astype(np.float32), options)

    @property
    def outputs(self) -> int:
        """One logit a label."""
        return len(self.positive_weights)

    def loss(self) -> Any:
        """Return the summed cross-entropy, or what the options name."""
        from edgetransfer.models.heads import multi_label

        return multi_label.summed_loss(self.positive_weights, self.options.loss or multi_label.LOSSES[0])

    def judge(self, logits: NDArray[np.float32]) -> tuple[float, float]:
        """Return (mean average precision over the labels that occur, mean cross-entropy) of the validation split."""
        found = [average_precision(logits[:, k], self.targets[:, k]) for k in range(self.outputs)]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known else 0.0, -float(self.each(logits).mean())

    def each(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return minus the cross-entropy, summed over the labels."""
        values = logits.astype(np.float64)
        losses: NDArray[np.float64] = (np.logaddexp(0, values) - self.targets * values).sum(axis=1)
        return -losses

    def task(self, labels: tuple[str, ...], logits: NDArray[np.float32]) -> Task:
        """Return the task with the thresholds that the validation split's logits ask for."""
        task = Task("multi_label", labels, thresholds=(0.5,) * len(labels))
        scores = to_scores(logits, task)
        return Task("multi_label", labels, thresholds=choose_thresholds(scores, self.targets))


def choose_thresholds(scores: NDArray[np.float64], targets: NDArray[Any]) -> tuple[float, ...]:
    """Return for each label the threshold with the best F1.

    A label with fewer than FEWEST_POSITIVES examples, or with no other, takes the threshold that gives the best F1 of
    all labels counted together; where even those are too few, 0.5.

    Args:
        scores: (n, labels), 0 to 1.
        targets: (n, labels) of 0 and 1.
    """
    positives = targets.sum(axis=0)
    shared = best_threshold(scores.ravel(), targets.ravel()) if positives.sum() >= FEWEST_POSITIVES else 0.5
    return tuple(
        best_threshold(scores[:, k], targets[:, k]) if FEWEST_POSITIVES <= count < len(targets) else shared
        for k, count in enumerate(positives)
    )


def best_threshold(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    """Return the threshold of (n,) scores with the best F1, half-way to the next lower score; of equals the highest."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(targets[order])
    given = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (given + hits[-1])
    lower = np.append(ranked[1:], 0.0)
    f1 = np.where(ranked > lower, f1, -1.0)  # no threshold lies between equal scores
    best = int(np.argmax(f1))
    return float(np.clip((ranked[best] + lower[best]) / 2, 1e-6, 1 - 1e-6))


def average_precision(scores: NDArray[Any], targets: NDArray[Any]) -> float | None:
    """Return the mean precision at each positive of (n,) scores, equal scores counted together; None without any."""
    if not targets.any():
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, wanted = scores[order], targets[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each run of equal scores
    hits = np.cumsum(wanted)[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((precision * np.diff(hits, prepend=0)).sum() / hits[-1])
