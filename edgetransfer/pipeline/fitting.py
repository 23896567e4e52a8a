"""Chooses how images meet the model's square: crop, squash or pad, by what a quick head makes of each.

Each image is judged by a ridge classifier trained on all the others (leave one out, in closed form), so that few
images suffice; they are drawn from training and validation, never from test.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset
from edgetransfer.features.extract import View, extract
from edgetransfer.pipeline.options import Watcher
from edgetransfer.spec.preprocess import FITS, Fit, ImageInput

MOST_IMAGES = 600  # the three ways differ by points where they differ, not by tenths
_PENALTIES = (0.03, 0.1, 0.3, 1.0)  # of the quick head, relative to the features' mean square


def choose_fit(
    graph: bytes, dataset: Dataset, spec: ImageInput, *, engine: str, workers: int | None, watcher: Watcher
) -> tuple[ImageInput, dict[Fit, float]]:
    """Return `spec` with the fit that does best, and each fit's accuracy, each image left out in turn.

    At most MOST_IMAGES of training and validation images are looked at. "squash" keeps the whole image and every
    pixel of the model's input; another way must beat it by more than one standard error of the difference. Where
    every image has the model's aspect there is nothing to choose, and no figures are returned.
    """
    samples = [*dataset.split("train"), *dataset.split("val")]
    if all(sample.width_px * spec.height_px == sample.height_px * spec.width_px for sample in samples):
        return replace(spec, fit="squash"), {}
    # By content: as good as at random, but the same ones in every run.
    some = sorted(samples, key=lambda sample: sample.sha256)[:MOST_IMAGES]
    number = {label: index for index, label in enumerate(dataset.labels)}
    labels = np.array([number[sample.label] for sample in some])
    right: dict[Fit, NDArray[np.bool_]] = {}
    order: list[Fit] = ["squash", *(fit for fit in FITS if fit != "squash")]
    for done, fit in enumerate(order):
        features = extract(
            graph, [View(sample) for sample in some], replace(spec, fit=fit), engine=engine, workers=workers
        ).real
        right[fit] = _right_when_left_out(features, labels)
        watcher.step(done + 1, len(FITS))
    best = max(order, key=lambda fit: float(right[fit].mean()))  # the first of equals
    if not _clearly_better(right[best], right["squash"]):
        best = "squash"
    return replace(spec, fit=best), {fit: float(right[fit].mean()) for fit in order}


def _clearly_better(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    difference = one.astype(np.float64) - other
    return bool(difference.mean() > difference.std() / np.sqrt(len(difference)))


def _right_when_left_out(features: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each image whether ridge regression on all the others is right on it; for the best penalty."""
    table = (features - features.mean(axis=0)).astype(np.float64)
    targets = np.eye(int(labels.max()) + 1)[labels]
    targets -= targets.mean(axis=0)
    gram = table @ table.T
    best = np.zeros(len(labels), np.bool_)
    for penalty in _PENALTIES:
        scores = left_out_scores(gram, targets, penalty * float(np.trace(gram)) / len(gram))
        right = scores.argmax(axis=1) == labels
        if right.mean() > best.mean():
            best = right
    return best


def left_out_scores(gram: NDArray[np.float64], targets: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return what ridge regression on all other rows says of each row, (n, k), without n regressions.

    Args:
        gram: (n, n) inner products of the rows.
        targets: (n, k).
        ridge: The penalty.

    Source: y_i - f_i = a_i / (G^-1)_ii with a = G^-1 y and G = gram + ridge I (Rasmussen and Williams 2006, equation
    5.12).
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    scores: NDArray[np.float64] = targets - (inverse @ targets) / np.diag(inverse)[:, None]
    return scores
