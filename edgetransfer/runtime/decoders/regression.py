"""A quantity: one number with its unit, and the interval that holds the true value as often as was promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task


@dataclass(frozen=True, slots=True)
class RegressionResult:
    """The answer: a value in `unit`, and its interval from `low` to `high`, None where none is known."""

    value: float
    low: float | None
    high: float | None
    unit: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "unit": self.unit}


def decode(logits: NDArray[np.float32], task: Task) -> RegressionResult:
    """Return the result that the (1,) real output of the head stands for."""
    return decode_scores(to_scores(logits, task), task)


def decode_scores(scores: NDArray[np.floating[Any]], task: Task) -> RegressionResult:
    """Return the result of a (1,) value that is in the task's unit already."""
    value, half = float(scores[0]), task.half_width
    if half is None:
        return RegressionResult(value, None, None, task.unit)
    return RegressionResult(value, value - half, value + half, task.unit)


def to_scores(logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return (..., 1) outputs of the head as values in the task's unit: offset + scale * output; no scores 0 to 1."""
    values: NDArray[np.float64] = task.offset + task.scale * logits.astype(np.float64)
    return values
