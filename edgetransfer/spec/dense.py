"""A dense layer as numbers: what heads are made of, in training and on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Dense:
    """One dense layer: activation(x @ kernel + bias).

    `kernel` is (in, out) float32, `bias` (out,) float32, `activation` "linear" or "relu".
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str = "linear"

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the layer's output for `values` (n, in) as (n, out) float32."""
        out: NDArray[np.float32] = values.astype(np.float32) @ self.kernel + self.bias
        return np.maximum(out, np.float32(0)) if self.activation == "relu" else out


def apply_head(head: Sequence[Dense], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the float logits (n, classes) of `features` (n, D)."""
    for layer in head:
        features = layer.apply(features)
    return features
