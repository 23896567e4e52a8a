"""Trains a head for any kind of task, and lets the validation split choose the head and how its outputs are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError, RecipeError, UnknownNameError
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.task import Task
from edgetransfer.train.multi_label import MultiLabelGoal
from edgetransfer.train.ordinal import OrdinalGoal
from edgetransfer.train.regression import RegressionGoal
from edgetransfer.train.search import Goal, HeadOptions, Progress, search
from edgetransfer.train.single_label import SingleLabelGoal

KINDS = ("multi_label", "ordinal", "regression", "single_label")

Split = tuple[NDArray[np.float32], NDArray[Any]]
"""Features and targets of one split, see `fit_task`."""


class TaskGoal(Goal, Protocol):
    """A goal that also knows how the outputs become answers."""

    def task(self, labels: tuple[str, ...], logits: NDArray[np.float32]) -> Task:
        """Return the task, with what the validation split's (n, outputs) logits say about reading them."""


@dataclass(frozen=True, slots=True)
class TaskFit:
    """A trained head, the task that it answers, and what was tried: one row a candidate."""

    head: tuple[Dense, ...]
    task: Task
    chosen: dict[str, float]
    candidates: tuple[dict[str, float], ...] = field(repr=False)


def fit_task(
    kind: str,
    train: Split,
    val: Split,
    labels: tuple[str, ...],
    options: HeadOptions,
    *,
    unit: str = "",
    progress: Progress | None = None,
) -> TaskFit:
    """Return the head that does best on `val`, and its task with thresholds or interval chosen there.

    Args:
        kind: One of KINDS.
        train: (n, D) float32 features and their targets: (n,) int64 label numbers for "single_label" and "ordinal"
            (there in the labels' order), (n, labels) of 0 and 1 for "multi_label", (n,) real values for "regression".
        val: The same of the validation split; it is never trained on.
        labels: The labels, or for "regression" one: the name of the quantity.
        options: How to train.
        unit: Of "regression": what its values are counted in.
        progress: Called with (epochs done, epochs at most).

    Raises:
        UnknownNameError: no such kind, loss or optimizer.
        RecipeError: a loss, optimizer or option that does not fit.
        DataError: targets that do not fit, a label without training examples, no validation examples.
    """
    goal, targets = prepare(kind, train, val, labels, options, unit)
    best, found = search((train[0], val[0]), targets, goal, options, progress)
    task = goal.task(labels, apply_head(best.head, val[0]))
    return TaskFit(best.head, task, best.row(), tuple(one.row() for one in found))


def prepare(
    kind: str, train: Split, val: Split, labels: tuple[str, ...], options: HeadOptions, unit: str = ""
) -> tuple[TaskGoal, NDArray[Any]]:
    """Return the goal of a task, and the training targets as its loss takes them; see `fit_task`."""
    if kind not in KINDS:
        raise UnknownNameError("task", kind, KINDS)
    if unit and kind != "regression":
        raise RecipeError(f"unit {unit!r}: only a regression has one; leave it out for a {kind} task")
    for name, split in (("training", train), ("validation", val)):
        _check_split(kind, name, split, len(labels))
    if kind == "multi_label":
        return MultiLabelGoal.of(train[1], val[1], options), train[1].astype(np.float32)
    if kind == "regression":
        goal = RegressionGoal.of(train[1], val[1], unit, options)
        return goal, goal.targets(train[1])
    ranked = OrdinalGoal if kind == "ordinal" else SingleLabelGoal
    return ranked.of(train[1], val[1], len(labels), options), train[1]


def _check_split(kind: str, name: str, split: Split, labels: int) -> None:
    features, targets = split
    wanted: tuple[int, ...] = (len(features), labels) if kind == "multi_label" else (len(features),)
    if features.ndim < 2 or targets.shape != wanted:
        raise DataError(f"{name} targets: expected shape {wanted} for {len(features)} examples, got {targets.shape}")
    if not len(features):
        raise DataError(
            f"{name} examples: expected some, got none; with few examples choose by cross-validation (train.few)"
        )
    if kind == "regression":
        sound, what = bool(np.isfinite(targets).all()), "finite numbers"
    elif kind == "multi_label":
        sound, what = bool(np.isin(targets, (0, 1)).all()), "0 or 1"
    else:
        whole = np.issubdtype(targets.dtype, np.integer)
        sound = bool(whole and targets.min() >= 0 and targets.max() < labels)
        what = f"whole numbers from 0 to {labels - 1}"
    if not sound:
        raise DataError(f"{name} targets: expected {what} for a {kind} task, got others")
