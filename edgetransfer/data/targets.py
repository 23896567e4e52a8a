"""What the answer for a sample is: a label, any number of labels or a value; from a table's cell, and as an array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data.sources import clean_label

if TYPE_CHECKING:
    from edgetransfer.data.dataset import Sample

ANSWERS = {"label": "single_label", "labels": "multi_label", "value": "regression"}
"""The column that holds the answers, and the kind of task that it makes."""
TASKS = tuple(ANSWERS.values())
SEPARATOR = "|"

Target = tuple[str, ...] | float | None
"""The labels of a sample by code point, or its value; None where it has one label and nothing else."""


def read_labels(cell: str | Sequence[str]) -> tuple[str, ...]:
    """Return the labels in `cell`, text with "|" between them or a list, by code point; none of an empty one.

    Raises:
        ValueError: one is empty, stands twice, or is no label.
    """
    if isinstance(cell, str):
        cell = cell.split(SEPARATOR) if cell.strip() else []
    labels = [clean_label(text) for text in cell]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"label {twice[0]!r} stands twice")
    if split := [label for label in labels if SEPARATOR in label]:
        raise ValueError(f"label {split[0]!r}: {SEPARATOR!r} stands between labels, so none may hold it")
    return tuple(sorted(labels))


def read_value(cell: str | float) -> float:
    """Return the number in `cell`.

    Raises:
        ValueError: it is none, or not a finite one.
    """
    try:
        value = math.nan if isinstance(cell, str) and "_" in cell else float(cell)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"value: expected a number such as 12.5, got {str(cell).strip()[:40]!r}")
    return value


def read_answer(column: str, cell: Any) -> tuple[str, Target]:
    """Return the answer in `cell` of a column of ANSWERS: as text, equal for equal answers, and as target.

    Raises:
        ValueError: says what is wrong with it.
    """
    if column == "labels":
        labels = read_labels(cell)
        return SEPARATOR.join(labels), labels
    if column == "value":
        value = read_value(cell)
        return repr(value), value
    return clean_label(cell), None


def labels_in(label: str, target: Target) -> tuple[str, ...]:
    """Return the labels that an answer names: one, any number, or none where it is a value."""
    if isinstance(target, tuple):
        return target
    return () if target is not None else (label,)


def targets_of(samples: Sequence[Sample], kind: str, labels: Sequence[str]) -> NDArray[Any]:
    """Return the answers of `samples` as training and evaluation take them.

    Args:
        samples: n of a data set whose answers fit `kind`.
        kind: Of the task: "single_label" and "ordinal" give (n,) int64 positions in `labels`, "multi_label"
            (n, labels) float32 of 0 and 1, "regression" (n,) float64 values.
        labels: Of the task; all labels of the samples are among them.
    """
    if kind == "regression":
        return np.array([sample.target for sample in samples], np.float64)
    number = {label: index for index, label in enumerate(labels)}
    if kind != "multi_label":
        return np.array([number[sample.label] for sample in samples], np.int64)
    found = np.zeros((len(samples), len(labels)), np.float32)
    for row, sample in enumerate(samples):
        for label in labels_in(sample.label, sample.target):
            found[row, number[label]] = 1
    return found
