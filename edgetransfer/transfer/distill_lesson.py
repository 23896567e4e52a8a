"""Distillation: a student learns what a teacher says of each view of each image, beside the labels.

Soft answers are Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531); pooled features
are matched through a linear projection, as Romero et al. 2015, "FitNets" (arXiv 1412.6550).

The losses are those of `keras.distillation`. Its `Distiller` is not used: it runs the teacher as a Keras model in each
step, on the very tensor that the student gets. Ours may be of another framework and another input size, and says of a
view the same in every epoch, so it is asked once and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.transfer.labels_lesson import head_layers, smoothed
from edgetransfer.transfer.teacher import TeacherOutputs

_RIDGE = 1e-2
"""Of the projection that training starts from, relative to the mean square of the student's features."""


@dataclass(frozen=True, slots=True)
class DistillOptions:
    """What the student's loss is made of.

    Attributes:
        temperature: Both sides' logits are divided by it; above 1 the answers that are wrong tell more.
        label_weight: Of the cross-entropy with the labels; the teacher's answers have the rest of 1.
        feature_weight: Of the mean squared distance to the teacher's features, in units of their variance; 0: none.
    """

    temperature: float = 4.0
    label_weight: float = 0.5
    feature_weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise RecipeError(f"temperature: expected a number above 0, got {self.temperature:g}")
        if not 0 <= self.label_weight <= 1:
            raise RecipeError(f"label weight: expected 0 to 1, got {self.label_weight:g}")
        if not 0 <= self.feature_weight < float("inf"):
            raise RecipeError(f"feature weight: expected 0 or more, got {self.feature_weight:g}")
        if self.label_weight == 1 and not self.feature_weight:
            raise RecipeError("label weight 1 and feature weight 0: nothing would be learned from the teacher")


class DistillLesson:
    """A student backbone with its head, that is to give what labels and teacher say (`tuning.Lesson`).

    Attributes:
        backbone: The student's Keras backbone.
        model: Backbone and head: (n, labels) logits, and (n, D of the teacher) projected features where they count.
        loss: One an output.
    """

    def __init__(
        self,
        backbone: Any,
        head: Sequence[Dense],
        labels: NDArray[np.int64],
        teacher: Callable[[int], TeacherOutputs],
        options: DistillOptions,
        *,
        features: NDArray[np.float32] | None = None,
        label_smoothing: float,
    ) -> None:
        """Put `head`, trained on the backbone's features, and a projection onto `backbone`.

        Args:
            backbone: The student's.
            head: On its features.
            labels: (n,) label numbers of the training images; those after the last have no label.
            teacher: What it says of all training images, seen as that view: (N, labels) logits, N at least n.
            options: What the loss is made of.
            features: (N, D) of the student before training, of the images themselves: the projection starts from them;
                needed where features are to be matched.
            label_smoothing: Share of a label's weight that goes to all classes alike.

        Raises:
            RecipeError: features are to be matched, and the teacher gives none.
        """
        import keras

        self._options, self._teacher = options, teacher
        self._views: dict[int, TeacherOutputs] = {}
        plain = teacher(0)
        total, classes = plain.logits.shape
        self._labels = np.zeros((total, classes + 1), np.float32)  # the last column: whether there is a label
        self._labels[: len(labels), :classes] = smoothed(labels, classes, label_smoothing)
        self._labels[: len(labels), classes] = 1
        self.backbone = backbone
        logits = head_layers(head)(backbone.output)
        self.loss: Any = _answers_loss(options, classes)
        if not options.feature_weight:
            self.model = keras.Model(backbone.input, logits, name="student")
            return
        if plain.features is None or features is None:
            raise RecipeError(
                "feature weight: expected a teacher whose graph ends in features, got one that ends in answers; build "
                "it with --split, or set the feature weight to 0"
            )
        self._mean = plain.features.mean(axis=0)
        self._spread = float(np.sqrt(((plain.features - self._mean) ** 2).mean())) or 1.0
        projected = _projection(features, self._scaled(plain.features))(backbone.output)
        self.model = keras.Model(backbone.input, [logits, projected], name="student")
        self.loss = [self.loss, _features_loss(options)]

    def targets(self, rows: NDArray[np.int64], view: int) -> Any:
        """Return what the losses compare with: labels, whether there are any, and the teacher's outputs."""
        if view not in self._views:
            self._views[view] = self._teacher(view)
        found = self._views[view]
        answers = np.concatenate([self._labels[rows], found.logits[rows]], axis=1)
        if not self._options.feature_weight or found.features is None:
            return answers
        return [answers, self._scaled(found.features[rows])]

    def _scaled(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a teacher's features about their mean, in units of their deviation: what 0 says is off by 1."""
        found: NDArray[np.float32] = ((features - self._mean) / np.float32(self._spread)).astype(np.float32)
        return found


def _answers_loss(options: DistillOptions, classes: int) -> Callable[[Any, Any], Any]:
    import keras

    # As an object: given by its name, "kl_divergence" is found as a function, and Keras 3.15 then lets it compare
    # logits as if they were probabilities.
    soft = keras.distillation.LogitsDistillation(options.temperature, loss=keras.losses.KLDivergence())

    def answers(wanted: Any, logits: Any) -> Any:
        labels, known, teacher = wanted[:, :classes], wanted[:, classes], wanted[:, classes + 1 :]
        hard = keras.losses.categorical_crossentropy(labels, logits, from_logits=True)
        from_labels = options.label_weight * keras.ops.mean(known * hard)
        return from_labels + (1 - options.label_weight) * soft.compute_loss(teacher, logits)

    return answers


def _features_loss(options: DistillOptions) -> Callable[[Any, Any], Any]:
    import keras

    near = keras.distillation.FeatureDistillation(loss=keras.losses.MeanSquaredError())

    def features(wanted: Any, projected: Any) -> Any:
        return options.feature_weight * near.compute_loss(wanted, projected)

    return features


def _projection(features: NDArray[np.float32], wanted: NDArray[np.float32]) -> Any:
    """Return a dense layer that starts as the ridge regression of the teacher's features on the student's.

    From random weights the backbone would be pulled to features that mean nothing, until the projection has learned.
    """
    import keras

    mean = features.mean(axis=0, dtype=np.float64)
    table = features - mean
    gram = table.T @ table
    penalty = _RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
    kernel = np.linalg.solve(gram + penalty * np.eye(len(gram)), table.T @ wanted)
    layer = keras.layers.Dense(wanted.shape[1], name="projection")
    layer.build((None, features.shape[1]))
    layer.set_weights([kernel.astype(np.float32), (wanted.mean(axis=0) - mean @ kernel).astype(np.float32)])
    return layer
