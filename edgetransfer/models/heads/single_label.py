"""The head for one label out of several: logits through a softmax, cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgetransfer.models.heads._losses import named_loss
from edgetransfer.spec.dense import Dense

LOSSES = ("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence")
"""The Keras losses that fit: those that take the scores of labels of which one is right."""


def summed_cross_entropy(
    label_smoothing: float, class_weights: NDArray[np.float32], name: str = "categorical_crossentropy"
) -> Any:
    """Return the loss of all candidates: each one's weighted, smoothed cross-entropy, summed over them.

    `name` asks for another of LOSSES instead of the cross-entropy.

    Raises:
        UnknownNameError, RecipeError: see `named_loss`.
    """
    weights = keras.ops.convert_to_tensor(class_weights)
    classes = len(class_weights)
    each_loss = _cross_entropy if name == LOSSES[0] else named_loss(name, "single_label", keras.ops.softmax)

    def loss(labels: Any, logits: Any) -> Any:
        labels = keras.ops.cast(labels, "int32")
        wanted = keras.ops.one_hot(labels, classes) * (1 - label_smoothing) + label_smoothing / classes
        each = each_loss(wanted[:, None, :] + keras.ops.zeros_like(logits), logits)
        return keras.ops.sum(each, axis=-1) * keras.ops.take(weights, labels)

    return loss


def _cross_entropy(wanted: Any, logits: Any) -> Any:
    return -keras.ops.sum(wanted * keras.ops.log_softmax(logits, axis=-1), axis=-1)


def keras_head(head: Sequence[Dense]) -> keras.Sequential:
    """Return `head` as a plain Keras model: (n, features) -> (n, classes) logits."""
    model = keras.Sequential([keras.Input((head[0].kernel.shape[0],))], name="head")
    for number, layer in enumerate(head):
        dense = keras.layers.Dense(layer.kernel.shape[1], activation=layer.activation, name=f"dense_{number}")
        model.add(dense)
        dense.set_weights([layer.kernel, layer.bias])
    return model
