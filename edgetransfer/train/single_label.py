"""What one label of several asks of training: cross-entropy, and accuracy on the validation split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.task import Task
from edgetransfer.train.search import HeadOptions


@dataclass(frozen=True, slots=True)
class SingleLabelGoal:
    """See `search.Goal`; `labels` are those of the validation split, (n,) int64."""

    labels: NDArray[np.int64]
    class_weights: NDArray[np.float32]
    options: HeadOptions
    measure: str = "val_accuracy"
    larger_is_better: bool = True

    @classmethod
    def of(
        cls, train: NDArray[np.int64], val: NDArray[np.int64], classes: int, options: HeadOptions
    ) -> SingleLabelGoal:
        """Return the goal for labels 0..classes-1 of both splits.

        Raises:
            DataError: a label has no training example.
        """
        return cls(val, class_weights(train, classes, balance=options.balance), options)

    @property
    def outputs(self) -> int:
        """One logit a label."""
        return len(self.class_weights)

    def loss(self) -> Any:
        """Return the summed cross-entropy, or what the options name."""
        from edgetransfer.models.heads import single_label

        name = self.options.loss or single_label.LOSSES[0]
        return single_label.summed_cross_entropy(self.options.label_smoothing, self.class_weights, name)

    def judge(self, logits: NDArray[np.float32]) -> tuple[float, float]:
        """Return (accuracy, mean cross-entropy) of the validation split."""
        return accuracy_and_loss(logits, self.labels)

    def each(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return 1 where the answer is right, 0 where it is wrong."""
        right: NDArray[np.float64] = (logits.argmax(axis=1) == self.labels).astype(np.float64)
        return right

    def task(self, labels: tuple[str, ...], logits: NDArray[np.float32]) -> Task:
        """Return the task; the validation split has nothing to add."""
        return Task("single_label", labels)


def accuracy_and_loss(logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy of (n, classes) logits for examples with these (n,) label numbers."""
    loss = -float(log_scores(logits)[np.arange(len(labels)), labels].mean())
    return float((logits.argmax(axis=1) == labels).mean()), loss


def log_scores(logits: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the logarithm of the softmax of (n, classes) logits, in their dtype."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.floating[Any]] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def class_weights(labels: NDArray[np.int64], classes: int, *, balance: bool) -> NDArray[np.float32]:
    """Return (classes,) how much an example of each label counts: 1, or balanced so that all labels count alike.

    Raises:
        DataError: a label has no training example.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise DataError(f"label number {int(np.argmin(counts))} has no training example")
    weights = len(labels) / (classes * counts) if balance else np.ones(classes)
    return weights.astype(np.float32)
