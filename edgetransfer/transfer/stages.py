"""Which layers are tuned when, and how fast: staged unfreezing from the top, discriminative learning rates.

Howard and Ruder 2018, "Universal Language Model Fine-tuning" (arXiv 1801.06146): the layers nearest to the answer are
let go first, and lower ones learn more slowly, for what they see is more general.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import RecipeError
from edgetransfer.models.layers import flat_layers

MOST_MOMENTUM = 0.9
"""Of batch norms' running statistics while they learn. MobileNetV2's 0.999 is for runs of 100,000 steps: after an epoch
of 55 its statistics would still be those of the weights as they came, and every figure on validation false."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Some epochs during which the same layers learn.

    Attributes:
        share: Of the layers with weights, counted from the top, that learn: 0 (the head alone) to 1 (all).
        begin: Its first epoch.
        end: The epoch after its last.
    """

    share: float
    begin: int
    end: int


def stages_of(shares: Sequence[float], epochs: int) -> tuple[Stage, ...]:
    """Return the stages: the epochs in equal parts, the last stage with what is left over.

    Raises:
        RecipeError: no shares, shares outside of 0 to 1, or fewer epochs than stages.
    """
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise RecipeError(f"unfreeze: expected shares of the layers from 0 to 1, got {list(shares)}")
    if epochs < len(shares):
        raise RecipeError(f"epochs: expected at least {len(shares)}, one a stage of unfreezing, got {epochs}")
    each = epochs // len(shares)
    ends = [each * (number + 1) for number in range(len(shares) - 1)] + [epochs]
    return tuple(
        Stage(share, end - each if end < epochs else each * n, end)
        for n, (share, end) in enumerate(zip(shares, ends, strict=True))
    )


def layers_with_weights(backbone: Any) -> list[Any]:
    """Return the layers of the Keras `backbone` that have weights, in the order of its graph, nested ones unfolded."""
    # Ranges of fake quantization are measured, not learned.
    return [layer for layer in flat_layers(backbone) if layer.weights and getattr(layer, "learns", True)]


def unfreeze(backbone: Any, share: float, *, batch_norm: bool) -> None:
    """Let the top `share` of the layers learn, and no other.

    Args:
        backbone: The Keras backbone.
        share: 0 to 1 of the layers with weights.
        batch_norm: Let batch norms among them learn, with the statistics of each batch. Without it they compute in
            inference mode, as they will on the device: batches of a few tens say little about a mean.
    """
    layers = layers_with_weights(backbone)
    frozen = len(layers) - math.ceil(share * len(layers))
    backbone.trainable = True
    for number, layer in enumerate(layers):
        is_norm = type(layer).__name__ == "BatchNormalization"
        layer.trainable = number >= frozen and (batch_norm or not is_norm)
        if is_norm and layer.trainable:
            layer.momentum = min(layer.momentum, MOST_MOMENTUM)


def graded_optimizer(name: str, rates: Mapping[str, float], variables: Sequence[Any]) -> Any:
    """Return the Keras optimizer `name` whose learning rate is multiplied by each weight's own.

    Args:
        name: As Keras takes it.
        rates: By the weights' paths; 1 for those that are not named.
        variables: The Keras weights that are trained; the optimizer is built for them.

    Raises:
        RecipeError: Keras has no such optimizer.
    """
    import keras

    try:
        kind = type(keras.optimizers.get(name))
    except ValueError as error:
        raise RecipeError(f"optimizer {name!r}: Keras has none of that name; adam and sgd are usual") from error
    # On TensorFlow an optimizer is handed the tf.Variable inside of Keras' own, which has no path.
    known = {id(one.value): rates.get(one.path, 1.0) for one in variables}
    known |= {id(one): rates.get(one.path, 1.0) for one in variables}

    class Graded(kind):  # type: ignore[misc, valid-type]
        """The optimizer, but each weight has a rate of its own."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            super().update_step(gradient, variable, learning_rate * known[id(variable)])

    options = {"momentum": 0.9, "nesterov": True} if kind is keras.optimizers.SGD else {}
    optimizer = Graded(learning_rate=0.0, **options)
    optimizer.build(variables)
    return optimizer


def rates_of(backbone: Any, lowest: float) -> Mapping[str, float]:
    """Return how fast each weight of the backbone learns beside the last layer's, by its path.

    Args:
        backbone: The Keras backbone.
        lowest: The rate of the first layer, above 0, beside the last's, which is 1; those between lie on a
            geometric line.
    """
    layers = layers_with_weights(backbone)
    last = max(1, len(layers) - 1)
    return {
        weight.path: lowest ** (1 - number / last) for number, layer in enumerate(layers) for weight in layer.weights
    }


def cosine(step: int, steps: int, *, warm_up: int) -> float:
    """Return the learning rate at `step` as a share of the highest: a straight rise, then half a cosine to 0.

    Loshchilov and Hutter 2017, "SGDR" (arXiv 1608.03983), without restarts.
    """
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
