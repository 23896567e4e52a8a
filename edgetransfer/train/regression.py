"""What a quantity asks of training: values counted in their own spread, and an interval from validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError, RecipeError
from edgetransfer.spec.task import Task
from edgetransfer.train.search import HeadOptions

COVERAGE = 0.9
"""How often the interval is to hold the true value."""


@dataclass(frozen=True, slots=True)
class RegressionGoal:
    """See `search.Goal`; `values` are those of the validation split, (n,) in `unit`."""

    values: NDArray[np.float64]
    offset: float
    scale: float
    unit: str
    options: HeadOptions
    measure: str = "val_mean_absolute_error"
    larger_is_better: bool = False

    @classmethod
    def of(cls, train: NDArray[Any], val: NDArray[Any], unit: str, options: HeadOptions) -> RegressionGoal:
        """Return the goal for (n,) values of both splits.

        Raises:
            DataError: all training values are one.
            RecipeError: the options ask for balanced labels.
        """
        if options.balance:
            raise RecipeError("balance: a regression has no labels to balance; leave it out")
        scale = float(np.std(train))
        if not scale > 0:
            raise DataError(f"training values: expected different ones, got {float(train[0])} for all {len(train)}")
        return cls(val.astype(np.float64), float(np.mean(train)), scale, unit, options)

    @property
    def outputs(self) -> int:
        """One."""
        return 1

    def targets(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return (n,) values as the head learns them."""
        return ((values - self.offset) / self.scale).astype(np.float32)

    def loss(self) -> Any:
        """Return Huber's loss, or what the options name."""
        from edgetransfer.models.heads import regression

        return regression.summed_loss(self.options.loss or regression.LOSSES[0])

    def judge(self, logits: NDArray[np.float32]) -> tuple[float, float]:
        """Return (mean absolute error in the unit, mean Huber loss) of the validation split."""
        errors = -self.each(logits)
        small = errors / self.scale
        losses = np.where(small <= 1, 0.5 * small**2, small - 0.5)
        return float(errors.mean()), float(losses.mean())

    def each(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return minus the distance from the true value, in the unit."""
        return -np.abs(self.offset + self.scale * logits[:, 0].astype(np.float64) - self.values)

    def task(self, labels: tuple[str, ...], logits: NDArray[np.float32]) -> Task:
        """Return the task with the interval that the validation split's outputs ask for."""
        half = conformal_half_width(-self.each(logits), COVERAGE)
        return Task(
            "regression",
            labels,
            unit=self.unit,
            offset=self.offset,
            scale=self.scale,
            half_width=half,
            coverage=COVERAGE,
        )


def conformal_half_width(errors: NDArray[np.float64], coverage: float) -> float | None:
    """Return how far a new value lies from its prediction at most, in `coverage` of cases; None if n is too small.

    The ceil((n + 1) coverage)-th smallest of the n absolute errors: a new example's error is as likely to fall in any
    of the n + 1 gaps between them (split conformal prediction; Lei et al. 2018, "Distribution-Free Predictive
    Inference for Regression"). Choosing the candidate on the same examples makes it a little too narrow.
    """
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else None
