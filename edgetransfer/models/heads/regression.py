"""The head for a quantity: one output, the value less the training data's mean, in units of its spread."""

from __future__ import annotations

from typing import Any

import keras

from edgetransfer.models.heads._losses import named_loss

LOSSES = ("huber", "mean_squared_error", "mean_absolute_error", "log_cosh")
"""The Keras losses that fit: those of a difference between two numbers."""


def summed_loss(name: str = "huber") -> Any:
    """Return the loss of all candidates, summed over them.

    Huber's loss by default: squares within one standard deviation of the training data, so that a few wrong entries
    do not bend the head.

    Args:
        name: One of LOSSES.

    Raises:
        UnknownNameError, RecipeError: see `named_loss`.
    """
    each_loss = named_loss(name, "regression", None)

    def loss(values: Any, outputs: Any) -> Any:
        wanted = keras.ops.cast(keras.ops.reshape(values, (-1, 1, 1)), outputs.dtype)
        return keras.ops.sum(each_loss(wanted + keras.ops.zeros_like(outputs), outputs), axis=-1)

    return loss
