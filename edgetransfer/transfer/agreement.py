"""How alike two networks see the same images: similarity of features, and agreement of what is read out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.train.left_out import left_out_scores

_RIDGE = 0.1  # of the read-out, relative to the features' mean square


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two networks on the same images.

    Attributes:
        images: How many were looked at.
        cka: Linear CKA of the features, 0 to 1.
        cosine: Mean cosine between the features of an image; None where the two have not as many.
        read_out: Share of the images on which ridge classifiers on either's features, trained on the other images,
            say the same.
        relative_difference: Largest difference of a feature, relative to the largest feature; None as `cosine`.
    """

    images: int
    cka: float
    cosine: float | None
    read_out: float
    relative_difference: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the agreement as JSON values."""
        return {
            "images": self.images,
            "linear_cka": self.cka,
            "cosine": self.cosine,
            "read_out_agreement": self.read_out,
            "relative_difference": self.relative_difference,
        }


def agreement(source: NDArray[np.float32], target: NDArray[np.float32], classes: NDArray[np.int64]) -> Agreement:
    """Return how alike the features of the same images are.

    Args:
        source: (n, D) of the source, n at least 3.
        target: (n, E) of the target.
        classes: (n,) class of each image.
    """
    alike = source.shape == target.shape
    difference = float(np.abs(source - target).max() / max(float(np.abs(source).max()), 1e-12)) if alike else None
    return Agreement(
        images=len(classes),
        cka=linear_cka(source, target),
        cosine=mean_cosine(source, target) if alike else None,
        read_out=float((read_out(source, classes) == read_out(target, classes)).mean()),
        relative_difference=difference,
    )


def linear_cka(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the linear centred kernel alignment of two tables of features (n, D) and (n, E); 0 where one is constant.

    |Y'X|^2 / (|X'X| |Y'Y|) of centred columns, norms of Frobenius; 1 for features that differ by a rotation and a
    scale (Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", arXiv 1905.00414). It is
    computed from inner products of images, which are fewer than features.
    """
    grams = []
    for table in (one, other):
        centred = table.astype(np.float64) - table.mean(axis=0, dtype=np.float64)
        grams.append(centred @ centred.T)
    size = float(np.linalg.norm(grams[0]) * np.linalg.norm(grams[1]))
    return float((grams[0] * grams[1]).sum()) / size if size else 0.0


def mean_cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the mean over rows of the cosine between `one` and `other`, both (n, D); of a row of zeros it is 0."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    sizes = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = (first * second).sum(axis=1)
    return float(np.divide(products, sizes, out=np.zeros_like(products), where=sizes > 0).mean())


def read_out(features: NDArray[Any], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) which class a ridge classifier trained on all other images gives each image.

    Args:
        features: (n, D); columns are centred over all images.
        classes: (n,) class of each image.
    """
    table = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    gram = table @ table.T
    ridge = _RIDGE * float(np.trace(gram)) / len(gram)
    targets = np.eye(int(classes.max()) + 1)[classes]
    scores = left_out_scores(gram, targets - targets.mean(axis=0), ridge or 1.0)  # features that are all alike give 0
    return np.asarray(scores.argmax(axis=1), np.int64)
