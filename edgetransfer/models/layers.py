"""What is asked of the layers of a Keras model in several places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def flat_layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a Keras `model` in their order, those of a model inside it in its place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from flat_layers(layer)
        else:
            yield layer


def is_linear(layer: Any) -> bool:
    """Say whether a Keras layer gives what it computes as it is, without an activation inside it."""
    return getattr(layer.activation, "__name__", "") == "linear"
