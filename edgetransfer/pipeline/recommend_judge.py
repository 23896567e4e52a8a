"""Judges one candidate of `recommend`: its deployed graph, what that costs, and how well a quick head does on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgetransfer.data import Dataset, Sample
from edgetransfer.errors import DataError
from edgetransfer.estimate.latency import predict
from edgetransfer.estimate.op import Op
from edgetransfer.estimate.transferability import folds_of, log_me, right_when_held_out
from edgetransfer.evaluate import wilson_interval
from edgetransfer.export import get_exporter
from edgetransfer.features.deploy import deploy, float_backbone
from edgetransfer.features.extract import Progress, View, extract
from edgetransfer.pipeline.forecast import why_unknown
from edgetransfer.pipeline.recommend_candidates import Candidate
from edgetransfer.pipeline.train import labels_of
from edgetransfer.runtime.cores import cpu_name
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.device import Device
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.recipe import Plan

FOLDS = 5
LEAST_PHOTOS = 20  # fewer tell nothing
LEAST_OF_A_CLASS = 2  # one to learn from and one to be right on
_MULTIPLIES = ("conv", "depthwise", "dense", "matmul")
_WARM_UP, _MOST_RUNS, _MOST_S = 3, 60, 2.0  # of measuring here
_HEAD_BYTES = {"float32": 4, "float16": 2}  # of a weight; of other recipes 1


@dataclass(frozen=True, slots=True)
class ImageTime:
    """How long one image takes: predicted for a device, or measured here.

    Attributes:
        ms: Expected, or the median.
        low_ms: Lower end: nine of ten networks, or runs, take at least this.
        high_ms: Upper end likewise.
        threads: Of the CPU.
        measured: Whether a clock was read.
        validated: Whether it was measured, or the prediction was tested on networks that it did not see.
        words: How sure it is, as a sentence without full stop.
    """

    ms: float
    low_ms: float
    high_ms: float
    threads: int
    measured: bool
    validated: bool
    words: str

    def as_text(self) -> str:
        """Return the time with its range."""
        return f"{self.ms:.3g} ms ({self.low_ms:.3g} to {self.high_ms:.3g})"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a candidate costs.

    Attributes:
        model_bytes: Of the deployed graph that was made, and of a linear head on it.
        macs: Multiply-adds of one image.
        time: How long one image takes; None where nothing is known.
        no_time: Why nothing is known; "" where it is.
    """

    model_bytes: int
    macs: int
    time: ImageTime | None
    no_time: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON values."""
        latency = None if self.time is None else asdict(self.time)
        return {"model_bytes": self.model_bytes, "macs": self.macs, "latency": latency, "no_latency": self.no_time}


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with what it costs and what it is likely to bring.

    Attributes:
        candidate: What was judged.
        cost: What it costs.
        photos: How many photos were looked at.
        accuracy: Share of them, 0 to 1, that a quick head is right on when they are held out.
        standard_error: Of the accuracy.
        accuracy_95: Its 95 % Wilson score interval.
        log_me: LogME of the features; higher is better.
    """

    candidate: Candidate
    cost: Cost
    photos: int
    accuracy: float
    standard_error: float
    accuracy_95: tuple[float, float]
    log_me: float

    @property
    def name(self) -> str:
        """What was judged, for the reader."""
        return self.candidate.name

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            **self.candidate.to_json(),
            "accuracy": self.accuracy,
            "standard_error": self.standard_error,
            "accuracy_95": list(self.accuracy_95),
            "log_me": self.log_me,
            **self.cost.to_json(),
        }


def drawn(dataset: Dataset, most: int) -> list[Sample]:
    """Return at most so many photos of the training and validation splits, never of test.

    Each class has its share, and two at least where there is room; within a class they are drawn by content, and a
    photo that is there twice counts once.

    Raises:
        DataError: there are too few to tell anything.
    """
    pool = {sample.sha256: sample for name in ("train", "val") for sample in dataset.split(name)}
    of_class: dict[str, list[Sample]] = {}
    for sample in sorted(pool.values(), key=lambda sample: sample.sha256):
        of_class.setdefault(sample.label, []).append(sample)
    placed = [
        (max(0, number + 1 - LEAST_OF_A_CLASS) / len(same), sample.sha256, sample)
        for same in of_class.values()
        for number, sample in enumerate(same)
    ]
    found = [sample for _, _, sample in sorted(placed, key=lambda one: one[:2])[:most]]
    if len(found) < LEAST_PHOTOS:
        raise DataError(
            f"{dataset.report.source}: expected at least {LEAST_PHOTOS} different photos to train and validate with, "
            f"got {len(found)}: too few to choose a model by"
        )
    return sorted(found, key=lambda sample: (sample.label, sample.sha256))


@dataclass(frozen=True, slots=True)
class Judge:
    """What every candidate is judged with.

    Attributes:
        dataset: Photos; those for testing are not looked at.
        samples: Those of `drawn`.
        device: Where it will run, or None for this machine.
        workers: Threads to extract features with; None: one a core.
    """

    dataset: Dataset
    samples: tuple[Sample, ...]
    device: Device | None
    workers: int | None

    def deployed(self, candidate: Candidate) -> tuple[bytes, ImageInput]:
        """Return the graph that `build` would make of the candidate, from the cache if it was made before.

        Raises:
            BackboneError, WeightsError, ExportError, RecipeError: it cannot be made.
        """
        backbone = float_backbone(candidate.choice, candidate.plan.format)
        spec = ImageInput(backbone.height_px, backbone.width_px, channels=backbone.channels)
        return deploy(backbone, candidate.plan.recipe, self.dataset.split("train"), spec), spec

    def cost(self, candidate: Candidate, graph: bytes) -> Cost:
        """Return what `graph` costs; where no device is named, its time is measured on this machine."""
        plan = candidate.plan
        ops = get_exporter(plan.format).costs(graph)
        time_of, reason = _measured(plan, graph) if self.device is None else _predicted(plan, self.device, ops)
        macs = sum(op.macs for op in ops if op.kind in _MULTIPLIES)
        features = next((op.channels_out for op in reversed(ops) if op.channels_out), 0)
        head = features * len(self.dataset.labels) * _HEAD_BYTES.get(plan.recipe.weights, 1)
        return Cost(len(graph) + head, macs, time_of, reason)

    def judged(
        self, candidate: Candidate, graph: bytes, spec: ImageInput, cost: Cost, progress: Progress | None
    ) -> Judged:
        """Return the candidate with the accuracy of a quick head on the features of its `graph`."""
        views = [View(sample) for sample in self.samples]
        # Where it is another one than the device's, it differs by one output step at most, and is twenty times as fast.
        engine = get_exporter(candidate.plan.format).FLOAT_ENGINE
        features = extract(graph, views, spec, engine=engine, workers=self.workers, progress=progress).real
        labels = labels_of(self.samples, self.dataset.labels)
        right = right_when_held_out(features, labels, folds_of(labels, FOLDS))
        share, count = float(right.mean()), len(right)
        return Judged(
            candidate=candidate,
            cost=cost,
            photos=count,
            accuracy=share,
            standard_error=float(np.sqrt(share * (1 - share) / count)),
            accuracy_95=wilson_interval(int(right.sum()), count),
            log_me=log_me(features, labels),
        )


def _predicted(plan: Plan, device: Device, ops: Sequence[Op]) -> tuple[ImageTime | None, str]:
    """Return the predicted time on `device`, or None and why there is none."""
    reason = why_unknown(device, plan.providers)
    found = None if reason else predict(ops, device.speeds, engine=plan.engine, threads=plan.threads or 1)
    if found is None:
        return None, reason or f"the device file of {device.slug} has no figures to predict it from"
    words = f"predicted, {found.words}"
    return ImageTime(found.ms, found.low_ms, found.high_ms, found.threads, False, found.validated, words), ""


def _measured(plan: Plan, graph: bytes, clock: Callable[[], float] = time.perf_counter) -> tuple[ImageTime | None, str]:
    """Return the time of `graph` on one thread here, or None and why it would mean nothing."""
    if plan.format == "tflm":
        return None, "a desk's time tells nothing of a microcontroller: name one with --device"
    engine = open_engine(plan.engine, graph, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, engine.input.shape, np.uint8)
    times_ms: list[float] = []
    ends = clock() + _MOST_S
    for number in range(_WARM_UP + _MOST_RUNS):
        begun = clock()
        engine.run(pixels)
        if number >= _WARM_UP:
            times_ms.append(1e3 * (clock() - begun))
        if times_ms and clock() > ends:
            break
    engine.close()
    low, middle, high = (float(value) for value in np.percentile(times_ms, (5, 50, 95)))
    return ImageTime(middle, low, high, 1, True, True, f"measured on this machine, {cpu_name()}"), ""
