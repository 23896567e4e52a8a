"""What backbones of sentences share: the mask of padding, means without it, weights put into named layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError

LONGEST = 512
"""Most tokens that any of the backbones can be built for: MiniLM has no more positions."""


def start(tokens: int, pad_id: int) -> tuple[Any, Any]:
    """Return the Keras input (None, tokens) int32 ids and its mask, (None, tokens, 1) float32, 0 where padding is."""
    import keras

    ids = keras.Input((tokens,), dtype="int32", name="tokens")
    kept = keras.ops.cast(keras.ops.not_equal(ids, pad_id), "float32")
    return ids, keras.ops.expand_dims(kept, -1)


def count(mask: Any) -> Any:
    """Return how many tokens are no padding, (None, 1), at least 1."""
    import keras

    return keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)


def masked_sum(x: Any, mask: Any) -> Any:
    """Return the sum (None, D) of `x` (None, tokens, D) over what is no padding."""
    import keras

    return keras.ops.sum(keras.ops.multiply(x, mask), axis=1)


def finished(ids: Any, features: Any, name: str) -> Any:
    """Return the Keras model (None, tokens) -> (None, D), its last op called "features", with settled names."""
    import keras

    from edgetransfer.models.backbones._graph import settle_automatic_names

    model = keras.Model(ids, keras.layers.Identity(name="features")(features), name=name)
    settle_automatic_names(model)
    return model


def check_size(name: str, height_px: int, width_px: int) -> int:
    """Return the number of tokens that a model is built for; for sentences both sizes are that number.

    Raises:
        WeightsError: there is no model of that many tokens.
    """
    if height_px != width_px or not 1 <= height_px <= LONGEST:
        raise WeightsError(f"backbone {name!r}: expected 1 to {LONGEST} tokens, got {height_px} x {width_px}")
    return height_px


def assign(model: Any, weights: Mapping[str, Sequence[NDArray[Any]]], path: Path) -> Any:
    """Return `model` with `weights`, the arrays of each layer by the layer's name in Keras' order.

    Raises:
        WeightsError: an array has another shape than the layer.
    """
    for name, arrays in weights.items():
        layer = model.get_layer(name)
        wanted, got = [tuple(v.shape) for v in layer.weights], [tuple(array.shape) for array in arrays]
        if wanted != got:
            raise WeightsError(
                f"weights {path}: {name} of {model.name} needs {wanted}, the file has {got}; it is that of another "
                "network"
            )
        for variable, array in zip(layer.weights, arrays, strict=True):
            variable.assign(np.asarray(array, np.float32))
    return model


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a .safetensors file by name.

    Raises:
        WeightsError: it cannot be read, or is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found: dict[str, NDArray[Any]] = load(path.read_bytes())
    except OSError as trouble:
        raise WeightsError(f"weights {path}: cannot be read ({trouble.strerror})") from trouble
    except (SafetensorError, KeyError, ValueError) as trouble:
        raise WeightsError(f"weights {path}: expected a whole .safetensors file: {trouble}") from trouble
    return found


def tensor(tensors: Mapping[str, NDArray[Any]], name: str, path: Path) -> NDArray[Any]:
    """Return the tensor `name`.

    Raises:
        WeightsError: the file has none.
    """
    if name not in tensors:
        raise WeightsError(f"weights {path}: has no tensor {name!r}; it is the file of another network")
    return tensors[name]
