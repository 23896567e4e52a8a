"""Chooses how images meet the model's square: crop, squash or pad, by what a quick head makes of each.

Each image is judged by a ridge classifier trained on all the others (leave one out, in closed form), so that few
images suffice; they are drawn from training and validation, never from test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample, targets_of
from edgetransfer.features.deploy import FloatBackbone, deploy
from edgetransfer.features.extract import View, extract
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.spec.preprocess import FITS, Fit, ImageInput
from edgetransfer.spec.recipe import Plan
from edgetransfer.train.left_out import left_out_scores

MOST_IMAGES = 600  # the three ways differ by points where they differ, not by tenths
_PENALTIES = (0.03, 0.1, 0.3, 1.0)  # of the quick head, relative to the features' mean square


def deploy_to_fit(
    backbone: FloatBackbone,
    plan: Plan,
    samples: Sequence[Sample],
    dataset: Dataset,
    options: BuildOptions,
    watcher: Watcher,
) -> tuple[bytes, ImageInput, dict[Fit, float]]:
    """Deploy a backbone of images, and unless the user said how images meet its square, try the ways with that graph.

    Args:
        backbone: In floats.
        plan: What to make of it.
        samples: Training images that it is calibrated on.
        dataset: What the ways are tried on.
        options: Whether there is anything to choose.
        watcher: Is told that it is being chosen.

    Returns:
        The graph, calibrated on images prepared as chosen; the input; and each way's accuracy, see `choose_fit`.
    """
    fit = options.fit or "squash"
    spec = ImageInput(backbone.height_px, backbone.width_px, fit, channels=backbone.channels)
    graph = deploy(backbone, plan.recipe, samples, spec)
    if options.fit is not None:
        return graph, spec, {}
    watcher.stage("choosing how images meet the square")
    chosen, accuracy = choose_fit(graph, dataset, spec, engine=plan.engine, workers=options.workers, watcher=watcher)
    if chosen != spec:
        graph = deploy(backbone, plan.recipe, samples, chosen)
    return graph, chosen, accuracy


def choose_fit(
    graph: bytes, dataset: Dataset, spec: ImageInput, *, engine: str, workers: int | None, watcher: Watcher
) -> tuple[ImageInput, dict[Fit, float]]:
    """Return `spec` with the fit that does best, and each fit's accuracy, each image left out in turn.

    How right an image is answered is 1 or 0 of one label, the share of all labels that are told rightly of several, and
    1 less the squared error, in variances, of a value; accuracies are the means.

    At most MOST_IMAGES of training and validation images are looked at. "squash" keeps the whole image and every
    pixel of the model's input; another way must beat it by more than one standard error of the difference. Where
    every image has the model's aspect there is nothing to choose, and no figures are returned.
    """
    samples = [*dataset.split("train"), *dataset.split("val")]
    if all(sample.width_px * spec.height_px == sample.height_px * spec.width_px for sample in samples):
        return replace(spec, fit="squash"), {}
    # By content: as good as at random, but the same ones in every run.
    some = sorted(samples, key=lambda sample: sample.sha256)[:MOST_IMAGES]
    answers = targets_of(some, dataset.task, dataset.labels)
    right: dict[Fit, NDArray[np.float64]] = {}
    order: list[Fit] = ["squash", *(fit for fit in FITS if fit != "squash")]
    for done, fit in enumerate(order):
        features = extract(
            graph, [View(sample) for sample in some], replace(spec, fit=fit), engine=engine, workers=workers
        ).real
        right[fit] = _right_when_left_out(features, answers, dataset.task)
        watcher.step(done + 1, len(FITS))
    best = max(order, key=lambda fit: float(right[fit].mean()))  # the first of equals
    if not _clearly_better(right[best], right["squash"]):
        best = "squash"
    return replace(spec, fit=best), {fit: float(right[fit].mean()) for fit in order}


def _clearly_better(one: NDArray[Any], other: NDArray[Any]) -> bool:
    difference = one.astype(np.float64) - other
    return bool(difference.mean() > difference.std() / np.sqrt(len(difference)))


def _right_when_left_out(features: NDArray[np.float32], answers: NDArray[Any], task: str) -> NDArray[np.float64]:
    """Return for each image how right ridge regression on all the others is on it; for the best penalty."""
    table = (features - features.mean(axis=0)).astype(np.float64)
    targets = answers.astype(np.float64).reshape(len(answers), -1)
    if task == "single_label":
        targets = np.eye(int(answers.max()) + 1)[answers]
    means = targets.mean(axis=0)
    gram = table @ table.T
    best = np.full(len(answers), -np.inf)
    for penalty in _PENALTIES:
        scores = left_out_scores(gram, targets - means, penalty * float(np.trace(gram)) / len(gram)) + means
        right = _rightness(scores, targets, task)
        if right.mean() > best.mean():
            best = right
    return best


def _rightness(scores: NDArray[np.float64], targets: NDArray[np.float64], task: str) -> NDArray[np.float64]:
    """Return (n,) how right `scores` (n, k) are, at most 1, as `choose_fit` says."""
    found: NDArray[np.float64]
    if task == "single_label":
        # Less the means again, so that frequent labels are not said more often than they are seen.
        means = targets.mean(axis=0)
        found = np.asarray((scores - means).argmax(axis=1) == targets.argmax(axis=1), np.float64)
    elif task == "multi_label":
        found = ((scores > 0.5) == (targets > 0.5)).mean(axis=1, dtype=np.float64)
    else:
        found = 1 - ((scores - targets) ** 2).sum(axis=1) / max(float(targets.var()), 1e-12)
    return found
