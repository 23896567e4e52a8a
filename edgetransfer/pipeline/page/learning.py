"""What more data would bring to a head: as its file tells, or worked out from the features of its training split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, targets_of
from edgetransfer.errors import DataError, InputError
from edgetransfer.spec.head import Head
from edgetransfer.spec.learning_curve import LearningCurve

MOST_WORK = 2e7
"""Examples times coordinates times labels that take about a minute on two cores; 600 x 600 x 6 took 6 s of one."""


def carried_curve(head: Head) -> LearningCurve | None:
    """Return the curve that `head` carries from its training; None where it has none that can be read."""
    try:
        return LearningCurve.from_json(head.training["learning_curve"])
    except (KeyError, InputError):
        return None


def curve_of(
    dataset: Dataset, head: Head, features: Callable[[], NDArray[np.float32]], progress: Callable[[int, int], None]
) -> tuple[LearningCurve | None, str]:
    """Return the learning curve of heads on `dataset`'s training split; or None, and in a sentence why there is none.

    Args:
        dataset: With one label a sample, and all labels of `head`.
        head: Which gives the number of features.
        features: Gives the real features (n, D) of the training split; asked only where they are needed.
        progress: Called with (heads trained, heads in all).
    """
    from edgetransfer.train.learning_curve import learning_curve

    train, labels = dataset.split("train"), len(head.task.labels)
    if not train:
        return None, "No learning curve: the data have no train split."
    if len(train) * min(len(train), head.feature_size) * labels > MOST_WORK:
        return None, f"No learning curve: for {len(train)} examples of {labels} labels it would take minutes."
    targets = targets_of(train, head.task.kind, head.task.labels)
    try:
        return learning_curve(features(), targets, labels, repeats=1, progress=progress), ""
    except DataError as error:
        return None, f"No learning curve: {error}."
