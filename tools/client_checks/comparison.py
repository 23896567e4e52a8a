"""How far a client's answers are from ours: the arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client_checks.failures import CheckFailed

LIMIT_STEPS = 1.0
"""Integer graphs: other kernels may round a tie to the other side, no more."""
LIMIT_PARTS = 1e-4
"""Float graphs: sums in another order, as parts of the largest output."""
LEAST_SCORE = 1e-30
"""Scores below count as this: near float32's least number, kernels flush to zero as they like."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one program said of n images: `outputs` (n, C) float64, column i belonging to `labels[i]`."""

    labels: tuple[str, ...]
    outputs: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A client's answers beside ours.

    Attributes:
        images: How many.
        same_top: For how many the first label is ours, or as good as ours within the limit.
        apart: The largest distance, in `unit`.
        limit: The largest distance that passes.
        unit: "steps" of a logit for integer graphs, else "of the largest output".
        outputs_apart: The largest distance between two outputs as they are.
    """

    images: int
    same_top: int
    apart: float
    limit: float
    unit: str
    outputs_apart: float

    @property
    def passed(self) -> bool:
        """Whether every image has our first label and every output is within the limit."""
        return self.same_top == self.images and self.apart <= self.limit


def compare(ours: Answers, theirs: Answers, *, step: float | None, scores: bool) -> Comparison:
    """Return how far `theirs` are from `ours`.

    Args:
        ours: What Predictor gives for the same prepared images.
        theirs: What the client gives.
        step: The real size of a logit's step; None for graphs that compute in floats.
        scores: Whether outputs are softmax scores. Their logits are then compared through their logarithms.

    Raises:
        CheckFailed: other labels, another order of labels, or not as many outputs.
    """
    check_labels(ours.labels, theirs.labels)
    if ours.outputs.shape != theirs.outputs.shape:
        raise CheckFailed(f"expected outputs {ours.outputs.shape}, got {theirs.outputs.shape}")
    if not np.isfinite(theirs.outputs).all():
        raise CheckFailed("expected finite outputs, got NaN or infinity")
    if step is None:
        largest = float(np.abs(ours.outputs).max()) or 1.0
        mine, its = ours.outputs / largest, theirs.outputs / largest
        limit, unit, apart = LIMIT_PARTS, "of the largest output", float(np.abs(its - mine).max())
    else:
        mine, its = (_in_steps(answers.outputs, step, scores) for answers in (ours, theirs))
        moved = its - mine
        # Scores tell logits but for a number that is the same for all labels of an image.
        each = np.ptp(moved, axis=1) if scores else np.abs(moved)
        limit, unit, apart = LIMIT_STEPS, "steps", float(each.max())
    return Comparison(
        images=len(mine),
        same_top=_same_top(mine, its, limit),
        apart=apart,
        limit=limit,
        unit=unit,
        outputs_apart=float(np.abs(theirs.outputs - ours.outputs).max()),
    )


def check_labels(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Refuse other labels, and the same labels in another order."""
    if len(ours) != len(theirs):
        raise CheckFailed(f"expected {len(ours)} labels, got {len(theirs)}: {list(theirs)}")
    for number, (wanted, got) in enumerate(zip(ours, theirs, strict=True)):
        if wanted != got:
            raise CheckFailed(f"label {number}: expected {wanted!r}, got {got!r}")


def _in_steps(outputs: NDArray[np.float64], step: float, scores: bool) -> NDArray[np.float64]:
    real = np.log(np.maximum(outputs, LEAST_SCORE)) if scores else outputs
    return real / step


def _same_top(mine: NDArray[np.float64], its: NDArray[np.float64], limit: float) -> int:
    chosen = np.take_along_axis(mine, its.argmax(axis=1)[:, None], axis=1)[:, 0]
    return int((mine.max(axis=1) - chosen <= limit).sum())
