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
    import tensorflow as tf

    from edgetransfer.transfer.stages import layers_with_weights

    # As a graph: called eagerly, a Keras model keeps what each of its layers gave until the last one is done.
    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)])  # type: ignore[untyped-decorator]
    def see(pixels: Any) -> None:
        model(pixels, training=True)

    norms = [layer for layer in layers_with_weights(model) if type(layer).__name__ == "BatchNormalization"]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    kept = [weight for layer in norms for weight in (layer.moving_mean, layer.moving_variance)]
    sums: list[Any] = [0.0] * len(kept)
    count = 0
    try:
        for layer in norms:
            layer.momentum = 0.0  # of each batch its own statistics
            layer.trainable = True  # frozen ones would compute in inference mode
        for pixels in batches:
            see(pixels)
            count += 1
            sums = [total + np.asarray(weight, np.float64) for total, weight in zip(sums, kept, strict=True)]
    finally:
        for layer, (momentum, trainable) in zip(norms, before, strict=True):
            layer.momentum, layer.trainable = momentum, trainable
    if count:
        for weight, total in zip(kept, sums, strict=True):
            weight.assign(total / count)
