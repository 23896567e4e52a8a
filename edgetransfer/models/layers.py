"""Walks through the layers of a Keras model."""

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
