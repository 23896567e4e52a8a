"""Batch norms that one network has and the other has not: folded into a kernel, or made up so that they do nothing.

In inference a batch norm is y = gamma (x - mean) / sqrt(variance + epsilon) + beta.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer import layouts
from edgetransfer.transfer.alignment import signature
from edgetransfer.transfer.source import SourceLayer

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Norm:
    """A batch norm's numbers, (C,) float64 each; gamma 1 and beta 0 where it has none."""

    gamma: Vector
    beta: Vector
    mean: Vector
    variance: Vector
    epsilon: float

    @property
    def scale(self) -> Vector:
        """What it multiplies by."""
        found: Vector = self.gamma / np.sqrt(self.variance + self.epsilon)
        return found

    def with_epsilon(self, epsilon: float) -> Norm:
        """Return a norm that computes the same and adds `epsilon` to the variance."""
        gamma = self.gamma * np.sqrt((self.variance + epsilon) / (self.variance + self.epsilon))
        return Norm(gamma, self.beta, self.mean, self.variance, epsilon)

    def after_bias(self, bias: Vector) -> Norm:
        """Return a norm that computes of x what this one does of x + `bias`."""
        return Norm(self.gamma, self.beta, self.mean - bias, self.variance, self.epsilon)


def identity(channels: int, epsilon: float) -> Norm:
    """Return a norm that gives what it takes."""
    ones, zeros = np.ones(channels), np.zeros(channels)
    return Norm(ones, zeros, zeros, ones - epsilon, epsilon)


def read_norm(layer: SourceLayer, epsilon: float) -> Norm:
    """Return the numbers of a batch norm; `epsilon` where the file does not say its own.

    Raises:
        WeightsError: it has no statistics, or they cannot be read.
    """
    found: dict[str, Vector] = {
        tensor.role: tensor.values().astype(np.float64) for tensor in layer.tensors if tensor.mappable
    }
    if not {"moving_mean", "moving_variance"} <= set(found):
        raise WeightsError(f"source layer {layer.name!r}: expected a batch norm's mean and variance, got {list(found)}")
    mean = found["moving_mean"]
    return Norm(
        found.get("gamma", np.ones_like(mean)),
        found.get("beta", np.zeros_like(mean)),
        mean,
        found["moving_variance"],
        epsilon if layer.epsilon is None else layer.epsilon,
    )


def scaled(kernel: NDArray[np.float32], layout: str, scale: Vector) -> NDArray[np.float32]:
    """Return a kernel whose channels out are multiplied by `scale`, one number each."""
    parts = layouts.axes_of(layout)
    out = [parts.index("C"), parts.index("M")] if "M" in parts else [parts.index("O")]
    shape = [size if axis in out else 1 for axis, size in enumerate(kernel.shape)]
    return np.asarray(kernel * scale.reshape(shape), np.float32)


def norms_by_order(layers: Sequence[SourceLayer]) -> dict[str, str]:
    """Return the batch norm that follows each kernel layer, by name, as the order of a file without a graph tells.

    A run of n norms belongs to the last n kernels before it, in their order: branches that run side by side are
    written kernel, kernel, norm, norm. Where channels differ, nothing is said of that kernel.
    """
    found: dict[str, str] = {}
    kernels: list[SourceLayer] = []
    run: list[SourceLayer] = []

    def settle() -> None:
        for kernel, norm in zip(kernels[-len(run) :], run, strict=False):
            if len(kernels) >= len(run) and channels_out(kernel) == norm.tensors[0].size:
                found[kernel.name] = norm.name

    for layer in layers:
        what = signature(layer)
        if what is None:
            continue
        if what[0][0] == "batch_norm":
            run.append(layer)
        elif what[0][0] in ("kernel", "depthwise_kernel", "transposed_kernel"):
            if run:
                settle()
                kernels, run = [], []
            kernels.append(layer)
    if run:
        settle()
    return found


def channels_out(layer: SourceLayer) -> int:
    """Return how many channels a kernel layer makes."""
    what: Any = signature(layer)
    sizes: Mapping[str, int] = dict(what[-1][1:])
    return sizes["C"] * sizes["M"] if "M" in sizes else sizes["O"]
