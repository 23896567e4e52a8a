"""Rehearsal: examples of the task that a backbone knew before take part, with a head of their own.

Robins 1995, "Catastrophic Forgetting, Rehearsal and Pseudorehearsal" (Connection Science 7:2). Whoever tunes a backbone
on new images alone moves it to where they lie, and it forgets what the others needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import DataError, RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.transfer.labels_lesson import head_layers, smoothed


def drawn_for_replay(
    old: Sequence[Sample], new: int, share: float, *, known: Collection[str] = ()
) -> tuple[Sample, ...]:
    """Return the samples of the old task that take part, by content hash: the same in every run.

    Args:
        old: The old task's training split.
        new: How many samples of the new task there are.
        share: Of all samples that are trained on, 0 to 1; where the old task has fewer, all of them.
        known: sha256 of samples that stand in the new task's data; they are not drawn.

    Raises:
        RecipeError: a share that leaves nothing of one task.
        DataError: nothing is left to draw.
    """
    if not 0 < share < 1:
        raise RecipeError(f"--replay-share: expected a share between 0 and 1, got {share:g}")
    usable = {sample.sha256: sample for sample in old if sample.sha256 not in known}
    if not usable:
        raise DataError("--replay: expected training images that are not in the new data, got none")
    wanted = max(1, round(new * share / (1 - share)))
    return tuple(usable[key] for key in sorted(usable)[:wanted])


class ReplayLesson:
    """Two heads on one backbone, each for its own images (`tuning.Lesson`).

    Attributes:
        backbone: The Keras backbone.
        model: (n, labels) logits of the new task, and (n, old labels) of the old one.
        loss: Cross-entropy; every image counts once, by the head of its own task.
    """

    def __init__(
        self,
        backbone: Any,
        heads: tuple[Sequence[Dense], Sequence[Dense]],
        labels: tuple[NDArray[np.int64], NDArray[np.int64]],
        *,
        label_smoothing: float,
    ) -> None:
        """Put two heads onto `backbone`.

        Args:
            backbone: The Keras backbone.
            heads: Of the new task and of the old one, each on the backbone's features.
            labels: (n,) label numbers of the new task's training images, and (m,) of the old one's, which come after
                them.
            label_smoothing: Share of a label's weight that goes to all classes alike.
        """
        import keras

        self.backbone = backbone
        outputs = []
        for name, head in zip(("head", "old_head"), heads, strict=True):
            outputs.append(head_layers(head, name)(backbone.output))
        self.model = keras.Model(backbone.input, outputs, name="tuned")
        # A row of zeros gives a loss of 0; Keras' own smoothing would make something of it.
        self.loss = [keras.losses.CategoricalCrossentropy(from_logits=True) for _ in heads]
        total, begin = sum(map(len, labels)), 0
        self._wanted = []
        for own, head in zip(labels, heads, strict=True):
            classes = len(head[-1].bias)
            table = np.zeros((total, classes), np.float32)
            table[begin : begin + len(own)] = smoothed(own, classes, label_smoothing)
            self._wanted.append(table)
            begin += len(own)

    def targets(self, rows: NDArray[np.int64], view: int) -> list[NDArray[np.float32]]:
        """Return of each head what it is to say, and zeros where the image is the other's; whatever the view."""
        return [table[rows] for table in self._wanted]
