"""The head for labels with an order: one logit for each step up, trained on those that came that far (CORN).

Shi, Cao and Raschka 2021, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
Probabilities" (arXiv 2111.08851). Their logits have weights of their own, so the head stays dense layers, and unlike
CORAL's (Cao, Mirjalili and Raschka 2020) need none that are shared.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgetransfer.models.heads._losses import named_loss

LOSSES = ("binary_crossentropy", "binary_focal_crossentropy")
"""The Keras losses that fit: those that take each step's score by itself."""


def summed_loss(class_weights: NDArray[np.float32], name: str = "binary_crossentropy") -> Any:
    """Return the loss of all candidates: of example with rank r, steps 0 to r count; summed over candidates.

    Step k asks whether the rank is above k, of examples whose rank is at least k.

    Args:
        class_weights: (labels,) how much an example of each label counts.
        name: One of LOSSES.

    Raises:
        UnknownNameError, RecipeError: see `named_loss`.
    """
    weights = keras.ops.convert_to_tensor(class_weights)
    steps = keras.ops.arange(len(class_weights) - 1)
    each_loss = named_loss(name, "ordinal", keras.ops.sigmoid)

    def loss(ranks: Any, logits: Any) -> Any:
        ranks = keras.ops.cast(ranks, "int32")
        above = keras.ops.cast(ranks[:, None] > steps, logits.dtype)
        asked = keras.ops.cast(ranks[:, None] >= steps, logits.dtype)
        wide = above[:, None, :] + keras.ops.zeros_like(logits)
        each = each_loss(wide[..., None], logits[..., None]) * asked[:, None, :]
        return keras.ops.sum(each, axis=(1, 2)) * keras.ops.take(weights, ranks)

    return loss
