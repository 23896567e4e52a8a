"""Any number of labels at once: a sigmoid for each, and a threshold of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task


@dataclass(frozen=True, slots=True)
class MultiLabelResult:
    """The answer: the labels whose score reaches their threshold, in label order, and the scores of all, 0 to 1."""

    labels: tuple[str, ...]
    scores: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {"labels": list(self.labels), "scores": dict(self.scores)}


def decode(logits: NDArray[np.float32], task: Task) -> MultiLabelResult:
    """Return the result that (C,) real logits stand for."""
    return decode_scores(to_scores(logits, task), task)


def decode_scores(scores: NDArray[np.floating[Any]], task: Task) -> MultiLabelResult:
    """Return the result of (C,) scores that the graph computed itself; the temperature is in them already."""
    values = scores.tolist()
    given = zip(task.labels, values, task.thresholds, strict=True)
    labels = tuple(label for label, score, threshold in given if score >= threshold)
    return MultiLabelResult(labels, dict(zip(task.labels, values, strict=True)))


def to_scores(logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
    """Return (..., C) real logits as scores: 1 / (1 + exp(-logit / temperature)), each for itself."""
    scores: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64) / task.temperature))
    return scores  # a tanh overflows nowhere
