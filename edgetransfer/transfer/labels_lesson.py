"""The plain lesson: the labels of the training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.dense import Dense


class LabelsLesson:
    """A backbone and its head, that are to give the labels (`tuning.Lesson`).

    Attributes:
        backbone: The Keras backbone.
        model: Backbone and head: (n, labels) logits.
        loss: Cross-entropy with label smoothing.
    """

    def __init__(
        self, backbone: Any, head: Sequence[Dense], labels: NDArray[np.int64], *, classes: int, label_smoothing: float
    ) -> None:
        """Put `head`, trained on the backbone's features, onto `backbone`; `labels` are the training split's."""
        import keras

        self.backbone = backbone
        self.model = keras.Model(backbone.input, head_layers(head)(backbone.output), name="tuned")
        self.loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
        self._wanted = np.eye(classes, dtype=np.float32)[labels]

    def targets(self, rows: NDArray[np.int64], view: int) -> NDArray[np.float32]:
        """Return (n, labels): 1 for the label, else 0; whatever the view."""
        return self._wanted[rows]


def smoothed(labels: NDArray[np.int64], classes: int, label_smoothing: float) -> NDArray[np.float32]:
    """Return (n, classes) what cross-entropy is to aim at: 1 for the label, less the share that goes to all alike."""
    table = np.full((len(labels), classes), label_smoothing / classes, np.float32)
    table[np.arange(len(labels)), labels] += 1 - label_smoothing
    return table


def head_layers(head: Sequence[Dense], name: str = "head") -> Any:
    """Return the dense layers of `head` as a Keras model of features, with names that are always the same."""
    import keras

    layers = [keras.Input((head[0].kernel.shape[0],), name="features")]
    for number, one in enumerate(head):
        layer = keras.layers.Dense(len(one.bias), activation=one.activation, name=f"{name}_{number}")
        layers.append(layer)
    model = keras.Sequential(layers, name=name)
    model.set_weights([values for one in head for values in (one.kernel, one.bias)])
    return model
