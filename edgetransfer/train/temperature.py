"""Fits the temperature of a trained head, whatever its task: how far its scores are to be believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task
from edgetransfer.train.confidence import fit_temperature


def with_temperature(task: Task, logits: NDArray[np.float32], targets: NDArray[Any]) -> Task:
    """Return `task` with the temperature that makes the answers of the validation split likeliest.

    Several labels and the steps of an order are questions of yes or no, each with a sigmoid, which is a softmax over 0
    and the logit; one temperature serves them all. Thresholds move with it, so that the labels given stay the same. A
    quantity has no temperature, and its task comes back as it was.

    Args:
        task: With temperature 1.
        logits: (n, outputs) of the validation split.
        targets: Of the validation split, see `train.tasks.fit_task`.

    Raises:
        DataError: no samples, or logits that are not finite.
    """
    if task.kind == "regression":
        return task
    if task.kind == "single_label":
        return replace(task, temperature=fit_temperature(logits, targets))
    if task.kind == "multi_label":
        asked, answers = np.ones(logits.shape, bool), targets == 1
    else:
        steps = np.arange(logits.shape[1])
        asked, answers = targets[:, None] >= steps, targets[:, None] > steps  # a step is asked of who came that far
    pairs = np.stack([np.zeros(int(asked.sum())), logits[asked]], axis=1)
    temperature = fit_temperature(pairs, answers[asked].astype(np.int64))
    moved = tuple(_moved(threshold, temperature) for threshold in task.thresholds)
    return replace(task, temperature=temperature, thresholds=moved)


def _moved(threshold: float, temperature: float) -> float:
    """Return the score at `temperature` of the logit whose score at temperature 1 is `threshold`."""
    logit = np.log(threshold) - np.log1p(-threshold)
    return float(np.clip(1 / (1 + np.exp(-logit / temperature)), 1e-6, 1 - 1e-6))
