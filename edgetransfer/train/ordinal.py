"""What labels with an order ask of training: a sigmoid for each step up, and few ranks off on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.runtime.decoders.ordinal import ranks
from edgetransfer.runtime.decoders.ordinal import to_scores as scores_of
from edgetransfer.spec.task import Task
from edgetransfer.train.search import HeadOptions
from edgetransfer.train.single_label import class_weights


@dataclass(frozen=True, slots=True)
class OrdinalGoal:
    """See `search.Goal`; `ranks` are those of the validation split, (n,) int64 positions in the order of labels."""

    ranks: NDArray[np.int64]
    class_weights: NDArray[np.float32]
    options: HeadOptions
    measure: str = "val_mean_absolute_error"
    larger_is_better: bool = False

    @classmethod
    def of(cls, train: NDArray[np.int64], val: NDArray[np.int64], classes: int, options: HeadOptions) -> OrdinalGoal:
        """Return the goal for ranks 0..classes-1 of both splits.

        Raises:
            DataError: a label has no training example.
        """
        return cls(val, class_weights(train, classes, balance=options.balance), options)

    @property
    def outputs(self) -> int:
        """One logit a step from a label to the next."""
        return len(self.class_weights) - 1

    def loss(self) -> Any:
        """Return the summed cross-entropy of the steps, or what the options name."""
        from edgetransfer.models.heads import ordinal

        return ordinal.summed_loss(self.class_weights, self.options.loss or ordinal.LOSSES[0])

    def judge(self, logits: NDArray[np.float32]) -> tuple[float, float]:
        """Return (mean distance in ranks, mean -ln of the true label's score) of the validation split."""
        steps = np.arange(self.outputs)
        above, asked = self.ranks[:, None] > steps, self.ranks[:, None] >= steps
        values = logits.astype(np.float64)
        loss = (asked * (np.logaddexp(0, values) - above * values)).sum(axis=1)
        return -float(self.each(logits).mean()), float(loss.mean())

    def each(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return minus the distance in ranks."""
        task = Task("ordinal", tuple(map(str, range(self.outputs + 1))))
        distances: NDArray[np.float64] = np.abs(ranks(scores_of(logits, task)) - self.ranks).astype(np.float64)
        return -distances

    def task(self, labels: tuple[str, ...], logits: NDArray[np.float32]) -> Task:
        """Return the task; the validation split has nothing to add."""
        return Task("ordinal", labels)
