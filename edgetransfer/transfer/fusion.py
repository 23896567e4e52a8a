"""Puts the weights of several models of one architecture together: interpolation and averaging.

A model that was tuned from another lies in the same basin; on the line between them are models that know the new task
and have forgotten less of the old one (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv
2109.01903; averages of several runs: "Model soups", arXiv 2203.05482).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError

Weights = list[NDArray[Any]]


def weights_of(model: Any) -> Weights:
    """Return the weights of the Keras `model`, copied."""
    return [np.array(weight) for weight in model.weights]


def check_alike(models: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse models whose weights do not correspond.

    Raises:
        BackboneError: names the first weight that differs.
    """
    first = [(weight.path, tuple(weight.shape)) for weight in models[0].weights]
    for model, name in zip(models[1:], names[1:], strict=True):
        other = [(weight.path, tuple(weight.shape)) for weight in model.weights]
        if len(other) != len(first):
            raise BackboneError(
                f"{name}: has {len(other)} weights, {names[0]} has {len(first)}; fuse models of one kind"
            )
        for (path, shape), (their_path, their_shape) in zip(first, other, strict=True):
            if shape != their_shape:
                raise BackboneError(
                    f"{name}: {their_path} is {their_shape}, in {names[0]} {path} is {shape}; fuse models of one kind"
                )


def interpolated(source: Weights, tuned: Weights, alpha: float) -> Weights:
    """Return the weights at `alpha` on the line from `source` (0) to `tuned` (1).

    Whole numbers, such as seeds, are the source's.
    """
    return [
        ((1 - alpha) * one.astype(np.float64) + alpha * other).astype(one.dtype) if one.dtype.kind == "f" else one
        for one, other in zip(source, tuned, strict=True)
    ]


def averaged(runs: Sequence[Weights]) -> Weights:
    """Return the mean of the weights of several runs."""
    return [
        np.mean([one.astype(np.float64) for one in some], axis=0).astype(some[0].dtype)
        if some[0].dtype.kind == "f"
        else some[0]
        for some in zip(*runs, strict=True)
    ]


def re_estimate(model: Any, batches: Iterable[NDArray[np.float32]]) -> None:
    """Set the batch norms' statistics to the means over `batches` of training inputs, seen by this very model.

    After weights were averaged those of either side no longer hold (Izmailov et al. 2018, "Averaging Weights Leads to
    Wider Optima", arXiv 1803.05407). Every batch counts alike.
    """
    from edgetransfer.transfer.stages import layers_with_weights

    norms = [layer for layer in layers_with_weights(model) if type(layer).__name__ == "BatchNormalization"]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    try:
        for layer in norms:
            layer.trainable = True  # frozen ones would compute in inference mode
        for number, pixels in enumerate(batches):
            for layer in norms:
                layer.momentum = number / (number + 1)
            model(pixels, training=True)
    finally:
        for layer, (momentum, trainable) in zip(norms, before, strict=True):
            layer.momentum, layer.trainable = momentum, trainable
