"""Makes a network's batch norms say what they really see, without changing what it computes.

Files that come from an exported graph have their norms folded: mean 0, variance 1, and all that was learned in the
kernel and beta. Such numbers are no statistics. Before some channels are left out and statistics are estimated again,
mean and variance must be the data's, and gamma and beta what makes the network the same again; then gamma also tells
how strong a channel is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.transfer.keras_graph import KerasGraph


def make_statistics_true(model: Any, graph: KerasGraph, batches: Iterable[NDArray[np.float32]]) -> int:
    """Give the batch norms of `model` the means and variances of what reaches them; return how many were changed.

    Each keeps its function: with scale s = gamma / sqrt(variance + epsilon), the new gamma is s * sqrt(new variance +
    epsilon) and the new beta is beta + s * (new mean - mean). A norm without gamma or beta stays as it is.

    Args:
        model: The Keras model, whose weights are changed.
        graph: Of it.
        batches: (n, H, W, 3) float32 normalised inputs; every image counts alike.
    """
    import keras

    nodes = [node for node in graph.nodes if node.kind == "BatchNormalization"]
    norms = [node.op for node in nodes if node.op.gamma is not None and node.op.beta is not None]
    if not norms:
        return 0
    moments = []
    for norm in norms:
        # The last call of a layer is the one in this model, see `_graph.multiply_adds`.
        taken = norm._inbound_nodes[-1].input_tensors[0]
        axes = tuple(range(1, len(taken.shape) - 1))
        moments += [keras.ops.mean(taken, axis=axes), keras.ops.mean(keras.ops.square(taken), axis=axes)]
    watched = keras.Model(model.inputs[0], moments)
    sums: list[Any] = [0.0] * len(moments)
    count = 0
    for pixels in batches:
        found = watched.predict_on_batch(pixels)  # called eagerly it would keep what every layer gives
        sums = [total + np.asarray(one, np.float64).sum(axis=0) for total, one in zip(sums, found, strict=True)]
        count += len(pixels)
    for number, norm in enumerate(norms):
        mean = sums[2 * number] / count
        _set(norm, mean, np.maximum(sums[2 * number + 1] / count - mean**2, 0.0))
    return len(norms)


def _set(norm: Any, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    old_mean, old_variance, gamma, beta = (
        np.asarray(one, np.float64) for one in (norm.moving_mean, norm.moving_variance, norm.gamma, norm.beta)
    )
    scale = gamma / np.sqrt(old_variance + norm.epsilon)
    norm.gamma.assign(scale * np.sqrt(variance + norm.epsilon))
    norm.beta.assign(beta + scale * (mean - old_mean))
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
