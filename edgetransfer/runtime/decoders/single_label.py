"""One label of several: softmax with temperature; or none, where the input is unlike all that was learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task

if TYPE_CHECKING:
    from edgetransfer.spec.outliers import OutlierDetector


@dataclass(frozen=True, slots=True)
class SingleLabelResult:
    """The answer: the likeliest label, its score, and the scores (0 to 1, together 1) of all, in label order.

    Attributes:
        label: The likeliest label; None ("unknown") if the input is unlike anything the model was trained on.
        score: The largest of `scores`, whether or not there is a label.
        scores: What each label would get, were the input one of them.
        unlike: How strange the input is, higher is stranger; None where nothing is ever rejected.
        reason: Why there is no label; empty if there is one.
    """

    label: str | None
    score: float
    scores: dict[str, float]
    unlike: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values; `unlike` and `reason` only where inputs can be rejected.

        A strangeness of infinity (features that are no finite numbers) is null, for JSON has no infinity.
        """
        found: dict[str, Any] = {"label": self.label, "score": self.score, "scores": dict(self.scores)}
        if self.unlike is None:
            return found
        return found | {"unlike": self.unlike if isfinite(self.unlike) else None, "reason": self.reason}


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


def reject(result: SingleLabelResult, score: float, detector: OutlierDetector) -> SingleLabelResult:
    """Return `result` with how strange its input is, and without its label if that is above the threshold.

    Args:
        result: What the logits say.
        score: What `detector.score` says of the same input's features.
        detector: Whose threshold holds.
    """
    if score <= detector.threshold:
        return replace(result, unlike=score)
    reason = f"unlike anything it was trained on (score {score:.4g}, threshold {detector.threshold:.4g})"
    return replace(result, label=None, unlike=score, reason=reason)


def _result(scores: NDArray[np.floating[Any]], best: int, task: Task) -> SingleLabelResult:
    values = scores.tolist()
    return SingleLabelResult(task.labels[best], values[best], dict(zip(task.labels, values, strict=True)))
