"""The head for any number of labels at once: a logit for each through a sigmoid, cross-entropy for each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgetransfer.models.heads._losses import named_loss

LOSSES = ("binary_crossentropy", "binary_focal_crossentropy")
"""The Keras losses that fit: those that take each label's score by itself."""


def summed_loss(positive_weights: NDArray[np.float32], name: str = "binary_crossentropy") -> Any:
    """Return the loss of all candidates: each label's loss, summed over labels and candidates.

    Summed, not averaged, over the labels: a label's weights then pay the same penalty however many others there are.

    Args:
        positive_weights: (labels,) how much an example that has the label counts against one that has not.
        name: One of LOSSES.

    Raises:
        UnknownNameError, RecipeError: see `named_loss`.
    """
    weights = keras.ops.convert_to_tensor(positive_weights)
    each_loss = named_loss(name, "multi_label", keras.ops.sigmoid)

    def loss(targets: Any, logits: Any) -> Any:
        wanted = keras.ops.cast(targets, logits.dtype)
        counts = wanted * weights + (1 - wanted)
        wide = wanted[:, None, :] + keras.ops.zeros_like(logits)
        # One label at a time along a last axis of one: Keras' losses average over that.
        each = each_loss(wide[..., None], logits[..., None])
        return keras.ops.sum(each * counts[:, None, :], axis=(1, 2))

    return loss
