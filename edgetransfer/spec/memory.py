"""A few of the examples that a head was not trained on, as features: what learning on the device is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError

MOST_A_CLASS = 64
"""Examples of one class that are kept at most: 492 kB for six classes of 1,280 features, less in the file.

With 24 a class taught from 5 and from 20 photos cost the old ones 1.06 and 1.31 points, with 48 0.71 and 1.01, with 64
0.60 and 0.70; the new class was right on 34 and 53 %, 31 and 49 %, 28 and 42 % of its photos (TrashNet's test split,
each class left out in turn, EfficientNet-Lite0): the more is remembered, the more carefully a new class is let in."""

_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Memory:
    """Features of some examples, one byte each, and their labels.

    Attributes:
        stored: (n, D) uint8; a feature is low + step * stored.
        low: (D,) float32.
        step: (D,) float32.
        labels: (n,) uint16, numbers of labels.
    """

    stored: NDArray[np.uint8]
    low: NDArray[np.float32]
    step: NDArray[np.float32]
    labels: NDArray[np.uint16]

    def __post_init__(self) -> None:
        rows, width = self.stored.shape if self.stored.ndim == 2 else (-1, -1)
        if self.labels.shape != (rows,) or self.low.shape != (width,) or self.step.shape != (width,):
            raise BundleError(f"memory: expected (n, D) features and n labels, got {self.stored.shape}")
        if not (np.isfinite(self.low).all() and np.isfinite(self.step).all()):
            raise BundleError("memory: expected finite numbers, got NaN or infinity")

    @classmethod
    def of(cls, features: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> Memory:
        """Return a memory of real features (n, D) and their (n,) labels: of each class the first MOST_A_CLASS."""
        kept = np.sort(np.concatenate([np.flatnonzero(labels == one)[:MOST_A_CLASS] for one in np.unique(labels)]))
        some = features[kept].astype(np.float32)
        low = some.min(axis=0)
        step = np.maximum((some.max(axis=0) - low) / 255, _TINY).astype(np.float32)
        stored = np.clip(np.rint((some - low) / step), 0, 255).astype(np.uint8)
        return cls(stored, low, step, labels[kept].astype(np.uint16))

    @property
    def features(self) -> NDArray[np.float32]:
        """Return the real features, (n, D) float32."""
        return np.asarray(self.low + self.step * self.stored, np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a file keeps of it."""
        return {"stored": self.stored, "low": self.low, "step": self.step, "labels": self.labels}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Memory:
        """Return the memory that `arrays` described.

        Raises:
            BundleError: something is missing or has another shape.
        """
        try:
            return cls(
                arrays["stored"].astype(np.uint8),
                arrays["low"].astype(np.float32),
                arrays["step"].astype(np.float32),
                arrays["labels"].astype(np.uint16),
            )
        except KeyError as missing:
            raise BundleError(f"memory: {missing} is missing") from missing
