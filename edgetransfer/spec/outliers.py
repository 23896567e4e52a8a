"""Tells inputs that are unlike anything a head was trained on by their features: a few rows of numbers, numpy alone.

Each class is a few centres. A stranger is far from all of them, or as near to one class as to another. Stored are the
centres as int8 and three numbers a feature as float16: (K + 6) D bytes and some, 39 kB for 6 classes with 4 centres
each of 1,280 features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError, InputError

Real = NDArray[np.float64]
Rows = NDArray[np.floating[Any]]

MOST_SHOTS = 8
"""Centres that a class learned on the device gets at most, beside its mean."""
_SETTINGS = ("threshold", "false_reject_rate", "ambiguity")
_LARGEST = 127
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Space:
    """The space that distances are measured in: (x - shift) * scale, divided by its length.

    `shift` and `scale` are (D,) float16. Lengths say more of an input's contrast than of what it shows; without them
    distances tell strangers better (Mueller and Hein 2025, "Mahalanobis++").
    """

    shift: NDArray[np.float16]
    scale: NDArray[np.float16]

    def place(self, features: Rows) -> Real:
        """Return real features (n, D) in this space, (n, D) float64."""
        rows: Real = (features.astype(np.float64) - self.shift) * self.scale
        placed: Real = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
        return placed


@dataclass(frozen=True, slots=True)
class OutlierDetector:
    """Scores how strange features are, and the threshold above which they are rejected.

    What a class learned later needs is here too, in `space`: `class_means` and `spread`.

    Attributes:
        space: Where distances are measured.
        stored: (K, D) int8 centres in that space, each row in steps of its own.
        steps: (K,) float32, what one step of each row is.
        labels: (K,) uint16, the class of each centre.
        counts: (K,) uint32, how many training samples each centre is the mean of; 0: it is one sample by itself.
        spread: (D,) float16, each feature's standard deviation within the classes.
        ambiguity: How much it counts that another class is as near; 0 is not at all.
        threshold: Scores above it are rejected.
        false_reject_rate: Share of inputs like the training data that the threshold rejects, at most, in the mean.
    """

    space: Space
    stored: NDArray[np.int8]
    steps: NDArray[np.float32]
    labels: NDArray[np.uint16]
    counts: NDArray[np.uint32]
    spread: NDArray[np.float16]
    ambiguity: float
    threshold: float
    false_reject_rate: float

    def __post_init__(self) -> None:
        rows, width = self.stored.shape if self.stored.ndim == 2 else (0, 0)
        a_row: dict[str, NDArray[Any]] = {"steps": self.steps, "labels": self.labels, "counts": self.counts}
        a_feature: dict[str, NDArray[Any]] = {
            "shift": self.space.shift,
            "scale": self.space.scale,
            "spread": self.spread,
        }
        bad = [name for name, array in a_row.items() if array.shape != (rows,)]
        bad += [name for name, array in a_feature.items() if array.shape != (width,)]
        if not rows or not width or bad:
            raise BundleError(f"outliers: expected {rows} centres of {width} features, got other shapes: {bad}")
        numbers = (*a_feature.values(), self.steps, np.array([self.threshold, self.ambiguity]))
        if not all(np.isfinite(array).all() for array in numbers):
            raise BundleError("outliers: expected finite numbers, got NaN or infinity")
        if not (self.ambiguity >= 0 and 0 < self.false_reject_rate < 1):
            raise BundleError(
                "outliers: expected an ambiguity from 0 and a false reject rate between 0 and 1, got "
                f"{self.ambiguity} and {self.false_reject_rate}"
            )

    @property
    def centres(self) -> Real:
        """The centres in `space`, (K, D)."""
        found: Real = self.stored * self.steps.astype(np.float64)[:, None]
        return found

    @property
    def class_means(self) -> Real:
        """The mean of each class's training features in `space`, (C, D), by label number."""
        centres, weights = self.centres, np.maximum(self.counts, _TINY)
        own = [np.flatnonzero(np.equal(self.labels, label)) for label in range(int(self.labels.max()) + 1)]
        return np.stack([np.average(centres[one], axis=0, weights=weights[one]) for one in own])

    @property
    def size_bytes(self) -> int:
        """How many bytes the arrays take, uncompressed."""
        return sum(array.nbytes for array in self.arrays().values())

    def score(self, features: Rows) -> Real:
        """Return how strange real features (n, D) are, (n,) float64 from 0; higher is stranger.

        d1 (d1 / d2)^ambiguity, where d1 is the distance to the nearest centre and d2 that to the nearest of another
        class (after Lowe's ratio of nearest neighbours, 2004). What is not finite scores infinity.

        Raises:
            InputError: features of another shape.
        """
        if features.ndim != 2 or features.shape[1] != self.stored.shape[1]:
            raise InputError(f"outliers: expected features (n, {self.stored.shape[1]}), got {features.shape}")
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=1))
        placed = self.space.place(np.where(finite[:, None], features, 0))
        found = strangeness(squared_distances(placed, self.centres), self.labels, self.ambiguity)
        return np.where(finite, found.astype(np.float64), np.inf)

    def rejects(self, features: Rows) -> NDArray[np.bool_]:
        """Return whether real features (n, D) are above the threshold, (n,)."""
        found: NDArray[np.bool_] = self.score(features) > self.threshold
        return found

    def with_class(self, features: Rows, label: int) -> OutlierDetector:
        """Return a detector that knows one more class, from a few real features (n, D) of it.

        Its centres are their mean and at most MOST_SHOTS of them; the threshold stays, so what share of the new class
        is rejected is not held to the chosen rate.

        Raises:
            InputError: no features, of another shape, or not finite.
        """
        width = self.stored.shape[1]
        if features.ndim != 2 or features.shape[1] != width or not len(features) or not np.isfinite(features).all():
            raise InputError(f"outliers: expected finite features (n, {width}) of a class, got {features.shape}")
        placed = self.space.place(features)
        stored, steps = to_steps(np.concatenate([placed.mean(axis=0, keepdims=True), placed[:MOST_SHOTS]]))
        counts = np.zeros(len(steps), np.uint32)
        counts[0] = len(features)
        return replace(
            self,
            stored=np.concatenate([self.stored, stored]),
            steps=np.concatenate([self.steps, steps]),
            labels=np.concatenate([self.labels, np.full(len(steps), label, np.uint16)]),
            counts=np.concatenate([self.counts, counts]),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a file keeps, by name."""
        settings = (self.threshold, self.false_reject_rate, self.ambiguity)
        return {
            "centres": self.stored,
            "steps": self.steps,
            "labels": self.labels,
            "counts": self.counts,
            "shift": self.space.shift,
            "scale": self.space.scale,
            "spread": self.spread,
            "settings": np.array(settings, np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> OutlierDetector:
        """Return the detector that `arrays` gave.

        Raises:
            BundleError: arrays are missing, or do not fit each other.
        """
        if missing := sorted({"centres", "steps", "labels", "counts", "shift", "scale", "spread"} - set(arrays)):
            raise BundleError(f"outliers: arrays are missing: {', '.join(missing)}")
        if "settings" not in arrays or arrays["settings"].shape != (len(_SETTINGS),):
            raise BundleError(f"outliers: expected the settings {', '.join(_SETTINGS)}")
        threshold, rate, ambiguity = (float(value) for value in arrays["settings"])
        return cls(
            space=Space(arrays["shift"].astype(np.float16), arrays["scale"].astype(np.float16)),
            stored=arrays["centres"].astype(np.int8),
            steps=arrays["steps"].astype(np.float32),
            labels=arrays["labels"].astype(np.uint16),
            counts=arrays["counts"].astype(np.uint32),
            spread=arrays["spread"].astype(np.float16),
            ambiguity=ambiguity,
            threshold=threshold,
            false_reject_rate=rate,
        )


def squared_distances(rows: Rows, centres: Rows) -> Rows:
    """Return the squared distance of each of `rows` (n, D) to each of `centres` (K, D), (n, K)."""
    squares = (rows**2).sum(axis=1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(axis=1)
    found: Rows = np.maximum(squares, 0)  # rounding can put a distance of nothing below it
    return found


def strangeness(squares: Rows, labels: NDArray[np.integer[Any]], ambiguity: float) -> Rows:
    """Return d1 (d1 / d2)^ambiguity, (n,), of squared distances (n, K) to centres of the classes `labels` (K,)."""
    nearest = squares.argmin(axis=1)
    first = squares[np.arange(len(squares)), nearest]
    if not ambiguity or (labels == labels[0]).all():
        only: Rows = np.sqrt(first)
        return only
    second = np.where(labels[nearest][:, None] == labels[None], squares.dtype.type(np.inf), squares).min(axis=1)
    ratio = np.where(second > 0, first / np.maximum(second, _TINY), 1.0)
    found: Rows = np.sqrt(first) * np.sqrt(np.minimum(ratio, 1.0)) ** ambiguity
    return found


def to_steps(rows: Rows) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return `rows` (K, D) as int8 and each row's step (K,): row = stored * step, the largest number 127 steps."""
    steps = np.maximum(np.abs(rows).max(axis=1) / _LARGEST, _TINY).astype(np.float32)
    stored = np.clip(np.rint(rows / steps[:, None]), -_LARGEST, _LARGEST)
    return stored.astype(np.int8), steps
