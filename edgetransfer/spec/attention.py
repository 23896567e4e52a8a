"""How several windows of one input become one feature vector: a mean weighted by how much each window tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError


def mean_of_windows(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the features (D,) of (W, D) windows that count alike; those of a single one as they are."""
    found: NDArray[np.float32] = windows[0] if len(windows) == 1 else np.mean(windows, axis=0, dtype=np.float32)
    return found


@dataclass(frozen=True, slots=True)
class AttentionPool:
    """Attention over windows or patches: a scoring vector, and a softmax over its products with the windows.

    Ilse, Tomczak and Welling 2018, "Attention-based Deep Multiple Instance Learning" (arXiv 1802.04712), without
    their hidden layer. A vector of zeros is the mean.

    Attributes:
        weights: (D,) float32.
    """

    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or not self.weights.size or not np.isfinite(self.weights).all():
            raise BundleError(f"attention pool: expected finite weights (D,), got shape {self.weights.shape}")

    def attention(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return how much each of (..., W, D) windows counts: (..., W), together 1."""
        if windows.ndim < 2 or windows.shape[-1] != len(self.weights) or not windows.shape[-2]:
            raise BundleError(f"attention pool: expected windows (W, {len(self.weights)}), got {windows.shape}")
        scores = windows.astype(np.float32) @ self.weights
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        found: NDArray[np.float32] = powers / powers.sum(axis=-1, keepdims=True)
        return found

    def apply(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (..., D) of (..., W, D) windows."""
        pooled: NDArray[np.float32] = (self.attention(windows)[..., None] * windows).sum(axis=-2).astype(np.float32)
        return pooled
