"""How important each channel of a network is, by its weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.channels import ChannelGroups
from edgetransfer.transfer.keras_graph import KerasGraph

Importance = Literal["l1", "bn"]
_ALIKE = 1e-6  # relative spread of gammas that were all set to one number


def importance_of(graph: KerasGraph, groups: ChannelGroups, kind: Importance) -> Mapping[int, NDArray[np.float64]]:
    """Return the importance of each channel, (channels,) float64, by group; only the order within a group counts.

    Of a layer p that makes channel c, with a batch norm behind it:

        l1: |W_p[..., c]|_1 * |gamma| / sqrt(variance + epsilon), the sum of the weights that the channel is computed
            with, the norm folded in (Li et al. 2017, "Pruning Filters for Efficient ConvNets", arXiv 1608.08710)
        bn: |gamma| (Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", arXiv
            1708.06519)

    Each is divided by its mean over the layer's channels, and a group's is the sum over its layers, so that none counts
    more because its numbers are large.

    Raises:
        BackboneError: "bn" of a network whose batch norms are missing, or all have one gamma because they were folded.
    """
    ops = {node.name: node.op for node in graph.nodes}
    norms = {name: ops[norm] for name, norm in graph.norms().items()}
    if kind == "bn":
        _check_gammas(list(norms.values()))
    found = {}
    for group, size in groups.sizes.items():
        total = np.zeros(size)
        for name in groups.makers(group):
            scores = _scores(ops[name], norms.get(name), kind)
            total += scores / scores.mean() if scores.mean() > 0 else scores
        found[group] = total
    return found


def _scores(layer: Any, norm: Any, kind: Importance) -> NDArray[np.float64]:
    kernel = np.abs(np.asarray(layer.kernel, np.float64))
    depthwise = type(layer).__name__.startswith("Depthwise")
    sums = kernel.sum(axis=(0, 1)).reshape(-1) if depthwise else kernel.reshape(-1, kernel.shape[-1]).sum(axis=0)
    gamma = None if norm is None else norm.gamma
    strength = np.ones_like(sums) if gamma is None else np.abs(np.asarray(gamma, np.float64))
    if kind == "bn":
        return strength
    if norm is not None:
        strength = strength / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    found: NDArray[np.float64] = sums * strength
    return found


def _check_gammas(norms: list[Any]) -> None:
    gammas = [np.abs(np.asarray(norm.gamma, np.float64)) for norm in norms if norm.gamma is not None]
    if not gammas or all(np.ptp(one) <= _ALIKE * one.mean() for one in gammas):
        raise BackboneError(
            "importance 'bn': expected batch norms whose gammas differ, got none; they were folded into the kernels, "
            "so choose by 'l1'"
        )
