"""One label of several: softmax with temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task


@dataclass(frozen=True, slots=True)
class SingleLabelResult:
    """The answer: the likeliest label, its score, and the scores (0 to 1, together 1) of all, in label order."""

    label: str
    score: float
    scores: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"label": self.label, "score": self.score, "scores": dict(self.scores)}


def decode(logits: NDArray[np.float32], task: Task) -> SingleLabelResult:
    """Return the result that (C,) real logits stand for; of equal logits the first label wins."""
    # By the logits: rounding in the softmax can make equal what was not.
    return _result(to_scores(logits, task), int(logits.argmax()), task)


def decode_scores(scores: NDArray[np.floating[Any]], task: Task) -> SingleLabelResult:
    """Return the result of (C,) scores that the graph computed itself; the temperature is in them already."""
    return _result(scores, int(scores.argmax()), task)


def to_scores(logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return (..., C) real logits as scores: exp(logit / temperature), each row divided by its sum."""
    scaled = logits.astype(np.float64) / task.temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    scores: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return scores


def _result(scores: NDArray[np.floating[Any]], best: int, task: Task) -> SingleLabelResult:
    values = scores.tolist()
    return SingleLabelResult(task.labels[best], values[best], dict(zip(task.labels, values, strict=True)))
