"""One head of a split bundle: trained on deployed features, calibrated on validation, and what it can be told by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgetransfer
from edgetransfer.data import Dataset
from edgetransfer.evaluate import evaluate
from edgetransfer.features.extract import View
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.split_backbone import SplitBackbone
from edgetransfer.pipeline.train import head_options, labels_of
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.head import Head
from edgetransfer.spec.memory import Memory
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.train.confidence import fit_outliers, fit_temperature
from edgetransfer.train.fit import Fit, fit

LEAST_VALIDATION = 50
"""Samples below which no temperature is fitted to the validation split: from 10 sentences one of 2.2 came out, and the
calibration error on others rose from 0.02 to 0.15."""


@dataclass(frozen=True, slots=True)
class HeadWish:
    """A head that is asked for: its name and the data that it learns from."""

    name: str
    data: Path


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head, and what is known of it before it is in a bundle.

    Attributes:
        head: As its file keeps it.
        chosen: What the validation split chose.
        floats: Split to how right the all-float model is; empty where none was trained.
        uncalibrated: Split to how right and how honest the head is at temperature 1.
    """

    head: Head
    chosen: Mapping[str, float]
    floats: Mapping[str, EvalReport]
    uncalibrated: Mapping[str, EvalReport]


def train_head_on(
    backbone: SplitBackbone,
    dataset: Dataset,
    name: str,
    options: BuildOptions,
    *,
    reject: float | None,
    teachable: bool,
    watcher: Watcher,
) -> TrainedHead:
    """Return a head trained on the features that `backbone` gives for `dataset`.

    Args:
        backbone: Whose features.
        dataset: With train and val splits; test is only measured on.
        name: Of the head.
        options: How to train.
        reject: Share of inputs like the training data that may be rejected as unlike it, 0 to 1; None never rejects.
        teachable: Keep features of a few validation samples in the head, which learning on the device needs.
        watcher: Is told the stages.

    Raises:
        DataError: `reject` with too few validation samples to find a threshold on.
    """
    if options.hidden is None:  # a linear head is some kilobytes, a hidden layer makes it hundreds
        options = replace(options, hidden=0)
    work = _Work(backbone, dataset, options, watcher)
    found = work.fitted(floats=False)
    head = Head(
        name, Task("single_label", dataset.labels), found.head, backbone.fingerprint, made_by=_VERSION
    ).rounded()
    logits = head.logits(work.val)
    uncalibrated = work.reports(head.layers, head.task, floats=False)
    if len(work.val) >= LEAST_VALIDATION:
        head = replace(head, task=replace(head.task, temperature=fit_temperature(logits, work.labels("val"))))
    if reject is not None:
        watcher.stage("learning what to reject")
        detector = fit_outliers(work.train, work.labels("train"), work.val, false_reject_rate=reject)
        head = replace(head, outliers=detector)
    if teachable:
        head = replace(head, memory=Memory.of(work.val, work.labels("val")))
    floats: Mapping[str, EvalReport] = {}
    if options.float_reference and backbone.floats is not None:
        floats = work.reports(work.fitted(floats=True).head, Task("single_label", dataset.labels), floats=True)
    return TrainedHead(head, found.chosen, floats, uncalibrated)


_VERSION = edgetransfer.__version__


class _Work:
    """A data set seen through a backbone."""

    def __init__(self, backbone: SplitBackbone, dataset: Dataset, options: BuildOptions, watcher: Watcher) -> None:
        self._backbone, self._dataset, self._options, self._watcher = backbone, dataset, options, watcher
        watcher.stage("computing features")
        self.train = self._features("train", floats=False)
        self.val = self._features("val", floats=False)

    def labels(self, split: str, *, augmented: bool = False) -> NDArray[np.int64]:
        """Return (n,) indices of labels of a split, of its augmented views too."""
        found = labels_of(self._dataset.split(split), self._dataset.labels)
        return np.repeat(found, self._options.augment + 1) if augmented else found

    def fitted(self, *, floats: bool) -> Fit:
        """Return the head that does best on the validation split."""
        options = self._options
        if floats:
            self._watcher.stage("computing float features, for comparison")
        train = self._views(floats=floats)
        val = self._features("val", floats=True) if floats else self.val
        self._watcher.stage("training the head")
        return fit(
            (train, self.labels("train", augmented=True)),
            (val, self.labels("val")),
            len(self._dataset.labels),
            head_options(options),
            progress=self._watcher.step,
        )

    def reports(self, head: tuple[Dense, ...], task: Task, *, floats: bool) -> dict[str, EvalReport]:
        """Return how right `head` is on validation and test."""
        found = {}
        for split in ("val", "test"):
            if not self._dataset.split(split):
                continue
            features = self.val if split == "val" and not floats else self._features(split, floats=floats)
            scores = get_decoder(task.kind).to_scores(apply_head(head, features), task)
            artifact = "float32 model" if floats else "temperature 1"
            found[split] = evaluate(scores, self.labels(split), task.labels, split=split, artifact=artifact)
        return found

    def _features(self, split: str, *, floats: bool) -> NDArray[np.float32]:
        samples, workers = self._dataset.split(split), self._options.workers
        return self._backbone.features(samples, self._watcher, workers=workers, floats=floats)

    def _views(self, *, floats: bool) -> NDArray[np.float32]:
        options = self._options
        if not options.augment and not floats:
            return self.train
        numbers = range(options.augment + 1)
        views = [View(sample, n, options.seed) for sample in self._dataset.split("train") for n in numbers]
        return self._backbone.features((), self._watcher, views=views, workers=options.workers, floats=floats)


def rejected(head: Head, features: NDArray[np.float32]) -> float | None:
    """Return the share of (n, D) features that `head` rejects; None if it never does."""
    if head.outliers is None:
        return None
    return float((head.outliers.score(features) > head.outliers.threshold).mean())


def head_json(trained: TrainedHead, size_bytes: int) -> dict[str, Any]:
    """Return what is known of a head as JSON values."""
    head = trained.head
    return {
        "name": head.name,
        "bytes": size_bytes,
        "task": head.task.to_json(),
        "chosen": dict(trained.chosen),
        "rejects": None if head.outliers is None else head.outliers.false_reject_rate,
        "float": {split: report.to_json() for split, report in trained.floats.items()},
        "temperature_1": {split: report.to_json() for split, report in trained.uncalibrated.items()},
    }
