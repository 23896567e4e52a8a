"""One label of several that have an order: a sigmoid for each step from one label to the next.

Logit k says how likely the answer is above label k, given that it is above label k - 1: the conditional training of
CORN (Shi, Cao and Raschka 2021, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
Probabilities"). Their products never rise with k, so no label gets a negative score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task


@dataclass(frozen=True, slots=True)
class OrdinalResult:
    """The answer on a scale.

    Attributes:
        label: The median: the first label that the answer is not above with a chance of a half or more. Of all
            labels it has the least expected distance.
        score: The score of that label.
        scores: Of all labels, 0 to 1, together 1, in label order.
        expected: The mean position on the scale, from 0 for the first label; 1.5 lies between the second and third.
    """

    label: str
    score: float
    scores: dict[str, float]
    expected: float

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        own = {"label": self.label, "score": self.score, "scores": dict(self.scores)}
        return own | {"expected": self.expected}


def decode(logits: NDArray[np.float32], task: Task) -> OrdinalResult:
    """Return the result that (C - 1,) real logits stand for."""
    return decode_scores(to_scores(logits, task), task)


def decode_scores(scores: NDArray[np.floating[Any]], task: Task) -> OrdinalResult:
    """Return the result of (C,) scores, one a label."""
    values = scores.tolist()
    rank = int(ranks(np.asarray(scores, np.float64)))
    expected = float(np.dot(np.arange(len(values)), values))
    return OrdinalResult(task.labels[rank], values[rank], dict(zip(task.labels, values, strict=True)), expected)


def to_scores(logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return (..., C - 1) real logits as (..., C) scores, one a label, each row's sum 1."""
    steps = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64) / task.temperature))
    above = np.cumprod(steps, axis=-1)  # the chance of more than label k
    ends = np.ones((*above.shape[:-1], 1))
    scores: NDArray[np.float64] = np.concatenate([ends, above], axis=-1) - np.concatenate([above, 0 * ends], axis=-1)
    return scores


def ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the position (...) of the median label of (..., C) scores."""
    above = 1 - np.cumsum(scores, axis=-1)[..., :-1]
    found: NDArray[np.int64] = (above > 0.5).sum(axis=-1)
    return found
