"""Chooses how images meet the model's square: crop, squash or pad, by what a quick head makes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.features.extract import View, extract
from edgetransfer.pipeline.options import Watcher
from edgetransfer.spec.preprocess import FITS, Fit, ImageInput

MOST_IMAGES = 400  # of each split: the three ways differ by points where they differ, not by tenths
_PENALTIES = (1e-3, 1e-2, 1e-1)  # of the quick head, relative to the features' mean square


def choose_fit(
    graph: bytes, dataset: Dataset, spec: ImageInput, *, workers: int | None, watcher: Watcher
) -> tuple[ImageInput, dict[Fit, float]]:
    """Return `spec` with the fit that does best on the validation split, and each fit's accuracy there.

    A ridge classifier on at most MOST_IMAGES of each split judges; of equals "squash" wins, which keeps the whole
    image. Where every image has the model's aspect there is nothing to choose, and no figures are returned.
    """
    samples = [*dataset.split("train"), *dataset.split("val")]
    if all(sample.width_px * spec.height_px == sample.height_px * spec.width_px for sample in samples):
        return replace(spec, fit="squash"), {}
    some = {name: _first(dataset.split(name)) for name in ("train", "val")}
    number = {label: index for index, label in enumerate(dataset.labels)}
    labels = {name: np.array([number[s.label] for s in chosen]) for name, chosen in some.items()}
    accuracy: dict[Fit, float] = {}
    order: list[Fit] = ["squash", *(fit for fit in FITS if fit != "squash")]
    for done, fit in enumerate(order):
        tables = {
            name: extract(graph, [View(s) for s in chosen], replace(spec, fit=fit), workers=workers).real
            for name, chosen in some.items()
        }
        accuracy[fit] = _ridge_accuracy(tables["train"], labels["train"], tables["val"], labels["val"])
        watcher.step(done + 1, len(FITS))
    best = max(accuracy, key=lambda fit: accuracy[fit])  # the first of equals
    return replace(spec, fit=best), accuracy


def _first(samples: Sequence[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.sha256)[:MOST_IMAGES]


def _ridge_accuracy(
    train: NDArray[np.float32], labels: NDArray[np.int64], val: NDArray[np.float32], wanted: NDArray[np.int64]
) -> float:
    mean = train.mean(axis=0)
    table = (train - mean).astype(np.float64)
    targets = np.eye(int(max(labels.max(), wanted.max())) + 1)[labels]
    centre = targets.mean(axis=0)
    gram = table @ table.T
    best = 0.0
    for penalty in _PENALTIES:
        # The dual form: as many equations as images, of which there are fewer than features.
        ridge = penalty * float(np.trace(gram))
        alpha = np.linalg.solve(gram + ridge * np.eye(len(gram)), targets - centre)
        scores = (val - mean) @ (table.T @ alpha) + centre
        best = max(best, float((scores.argmax(axis=1) == wanted).mean()))
    return best
