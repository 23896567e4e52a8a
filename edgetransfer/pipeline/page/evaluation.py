"""How right a bundle is on labelled data, in the detail that a page shows: calibration and worst mistakes too."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.errors import BundleError, DataError
from edgetransfer.evaluate import CALIBRATION_BINS, check_labels, evaluate, wilson_interval
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.page.figures import FloatModel
from edgetransfer.pipeline.page.measured import Calibration, ConfidenceBin, ConfusedPair, Evaluation, Mistake
from edgetransfer.pipeline.page.words import words_of
from edgetransfer.pipeline.parity_artifacts import BundleArtifact
from edgetransfer.pipeline.parity_outputs import decoded
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task

BLOCK = 32  # photos in memory at a time


def evaluate_for_page(
    bundle: Bundle,
    dataset: Dataset,
    split: str,
    *,
    worst: int,
    providers: Sequence[str] | None,
    workers: int | None,
    watcher: Watcher,
) -> Evaluation:
    """Return how right `bundle`, with its head inside the graph, is on a split, its calibration, `worst` mistakes.

    Raises:
        DataError: other labels than the bundle's (says which), or the split is empty.
        EngineError: the bundle's engine is not installed, or refuses the model.
        InputError: a photo cannot be read, or an output is no number.
    """
    manifest = bundle.manifest
    task = manifest.task
    check_labels(task.labels, dataset.labels)
    samples = samples_of(dataset, split)
    watcher.stage(f"evaluating the bundle ({split} split)")
    with closing(BundleArtifact(bundle, manifest.name, providers)) as artifact:
        stored = _outputs(artifact, samples, workers or available_cores(), watcher)
    true = np.array([task.labels.index(sample.label) for sample in samples])
    about = artifact.about
    scores = decoded(about, stored, task.labels, true).scores
    plain_scores = None
    if task.temperature != 1 and not manifest.model.scores_in_graph:
        plain_scores = decoded(replace(about, task=replace(task, temperature=1.0)), stored, task.labels, true).scores
    return judged(
        scores,
        plain_scores,
        true,
        samples,
        task,
        dataset,
        artifact=manifest.name,
        engine=about.what,
        worst=worst,
        same_data=dataset.fingerprint == manifest.data.fingerprint,
    )


def samples_of(dataset: Dataset, split: str) -> tuple[Sample, ...]:
    """Return the samples of a split.

    Raises:
        DataError: there are none; says which splits have some.
    """
    samples = dataset.split(split)
    if not samples:
        has = [f"{name} ({len(dataset.split(name))})" for name in ("train", "val", "test") if dataset.split(name)]
        raise DataError(
            f"data set {dataset.report.source}: expected {words_of(dataset.kind).many} in its {split!r} split, got "
            f"none; take another --split: {', '.join(has)}"
        )
    return samples


def judged(
    scores: NDArray[np.float64],
    plain_scores: NDArray[np.float64] | None,
    true: NDArray[np.int64],
    samples: Sequence[Sample],
    task: Task,
    dataset: Dataset,
    *,
    artifact: str,
    engine: str,
    worst: int,
    same_data: bool | None,
    rejected: NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Return how right `scores` are.

    Args:
        scores: (n, C), 0 to 1, with the task's temperature.
        plain_scores: The same at temperature 1; None where there are none, or no other.
        true: (n,) numbers of labels.
        samples: n of them, in this order.
        task: With the labels.
        dataset: Whose samples they are.
        artifact: What gave the scores, for the reader.
        engine: What computed, for the reader.
        worst: How many mistakes to keep.
        same_data: Whether it is the data of the build; None where that cannot be told.
        rejected: (n,) which samples the device turns away; None: none.
    """
    split = samples[0].split
    answers = scores.argmax(axis=1)
    wrong = np.flatnonzero(answers != true)
    surest = wrong[np.argsort(-scores[wrong, answers[wrong]], kind="stable")][:worst]
    mistakes = [
        Mistake(
            file=samples[i].path,
            name=_name(samples[i], Path(dataset.report.source)),
            label=samples[i].label,
            answer=task.labels[answers[i]],
            answer_score=float(scores[i, answers[i]]),
            label_score=float(scores[i, true[i]]),
            text=samples[i].text,
            rejected=rejected is not None and bool(rejected[i]),
            channels=samples[i].channels,
        )
        for i in surest
    ]
    return Evaluation(
        report=evaluate(scores, true, task.labels, split=split, artifact=artifact),
        engine=engine,
        calibration=calibration_of(scores, true, task.temperature),
        uncalibrated=None if plain_scores is None else calibration_of(plain_scores, true, 1.0),
        mistakes=tuple(mistakes),
        data=dataset.report,
        same_data=same_data,
    )


def calibration_of(scores: NDArray[np.float64], true: NDArray[np.int64], temperature: float) -> Calibration:
    """Return how honest (n, C) scores are, 0 to 1, which `temperature` gave; `true` are (n,) numbers of labels."""
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == true
    bins = confidence_bins(confidence, right)
    error = sum(one.samples * abs(one.confidence - one.accuracy) for one in bins) / len(true)
    return Calibration(temperature, error, float(confidence.mean()), float(right.mean()), bins)


def evaluate_float_for_page(run: Path, bundle: Bundle, dataset: Dataset, split: str, watcher: Watcher) -> FloatModel:
    """Return how right the float Keras model of the run is on the same split.

    Raises:
        BundleError: `run` is no run, or its labels are not the bundle's.
    """
    # Everything else of a page is made without Keras.
    from edgetransfer.models.trained import TrainedModel
    from edgetransfer.pipeline.build import evaluate_float

    about = TrainedModel.load(run).description
    wanted, got = set(bundle.manifest.task.labels), set(about["task"]["labels"])
    if wanted != got:
        raise BundleError(
            f"run {str(run)!r}: expected the bundle's labels, got {sorted(got)}; give the run that "
            "'edgetransfer build' left beside the bundle"
        )
    report = evaluate_float(run, dataset, split, watcher=watcher)
    return FloatModel(report, about["data"]["fingerprint"] == bundle.manifest.data.fingerprint)


def confidence_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[ConfidenceBin, ...]:
    """Return the bins that the calibration error is made of, without the empty ones.

    Args:
        confidence: (n,) the scores of the answers, 0 to 1.
        right: (n,) whether each answer is the data's label.
    """
    # Open below and closed above, as evaluate has them: a confidence of 1 is in the last bin.
    numbers = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1, 0, CALIBRATION_BINS - 1)
    found = []
    for number in range(CALIBRATION_BINS):
        inside = numbers == number
        count = int(inside.sum())
        if count:
            hits = int(right[inside].sum())
            found.append(
                ConfidenceBin(
                    low=number / CALIBRATION_BINS,
                    high=(number + 1) / CALIBRATION_BINS,
                    samples=count,
                    confidence=float(confidence[inside].mean()),
                    accuracy=hits / count,
                    accuracy_95=wilson_interval(hits, count),
                )
            )
    return tuple(found)


def confused_pairs(report: EvalReport) -> tuple[ConfusedPair, ...]:
    """Return which label was taken for which other one, the most frequent first, then in the order of the labels."""
    labels = [scores.label for scores in report.classes]
    found = [
        ConfusedPair(label, labels[column], count, count / sum(row))
        for label, row in zip(labels, report.confusion, strict=True)
        for column, count in enumerate(row)
        if count and labels[column] != label
    ]
    return tuple(sorted(found, key=lambda pair: -pair.count))


def _outputs(artifact: BundleArtifact, samples: Sequence[Sample], workers: int, watcher: Watcher) -> NDArray[Any]:
    """Return the stored outputs of all samples, (n, C), in their order."""
    blocks = []
    with ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(samples), BLOCK):
            some = samples[start : start + BLOCK]
            blocks.append(artifact.outputs(list(threads.map(artifact.pixels, some)), threads))
            watcher.step(start + len(some), len(samples))
    return np.concatenate(blocks)


def _name(sample: Sample, source: Path) -> str:
    """Return the path inside the data set; a page must not tell how its maker's folders are called."""
    if sample.text:
        return source.name
    folder = source if source.is_dir() else source.parent
    return sample.path.relative_to(folder).as_posix() if sample.path.is_relative_to(folder) else sample.path.name
