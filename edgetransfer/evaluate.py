"""How right an artifact is on one split: accuracy with its interval, per class, and how honest its scores are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer import evaluate_tasks
from edgetransfer.data import TASKS, targets_of
from edgetransfer.data.targets import ANSWERS
from edgetransfer.errors import DataError, InputError, UnknownNameError
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.report import ClassScores, EvalReport

if TYPE_CHECKING:
    from edgetransfer.data import Dataset, Sample
    from edgetransfer.spec.attention import AttentionPool
    from edgetransfer.spec.head import Head
    from edgetransfer.spec.task import Task
    from edgetransfer.spec.task_report import AnyTaskReport

CALIBRATION_BINS = 15
"""Bins of equal width, as Guo et al. 2017, "On Calibration of Modern Neural Networks"."""
SMALLEST_SCORE = 1e-7
Z_95 = 1.959963984540054
"""The standard normal distribution's 97.5 % point."""


def evaluate(
    scores: NDArray[np.floating[Any]],
    labels_true: NDArray[np.integer[Any]],
    label_names: Sequence[str],
    *,
    split: str,
    artifact: str,
) -> EvalReport:
    """Return how right `scores` are.

    Args:
        scores: (n, C), 0 to 1, each row's sum 1; the largest is the answer, of equals the first.
        labels_true: (n,) indices into `label_names`.
        label_names: C labels.
        split: the split's name, for the reader.
        artifact: what gave the scores, for the reader.

    Raises:
        InputError: no samples, shapes that do not fit, or scores that are no numbers from 0 to 1.
    """
    values: NDArray[np.float64] = np.asarray(scores, np.float64)
    true = np.asarray(labels_true)
    _check(values, true, len(label_names))
    predicted = values.argmax(axis=1)
    confusion = np.zeros((len(label_names), len(label_names)), np.int64)
    np.add.at(confusion, (true, predicted), 1)
    correct = predicted == true
    classes = tuple(_class_scores(label, confusion, i) for i, label in enumerate(label_names))
    return EvalReport(
        artifact=artifact,
        split=split,
        samples=len(true),
        accuracy=float(correct.mean()),
        accuracy_95=wilson_interval(int(correct.sum()), len(true)),
        macro_precision=float(np.mean([c.precision for c in classes])),
        macro_recall=float(np.mean([c.recall for c in classes])),
        macro_f1=float(np.mean([c.f1 for c in classes])),
        expected_calibration_error=_calibration_error(values.max(axis=1), correct),
        log_loss=float(-np.log(np.maximum(values[np.arange(len(true)), true], SMALLEST_SCORE)).mean()),
        classes=classes,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def evaluate_bundle(
    bundle: Bundle | str | os.PathLike[str],
    dataset: Dataset,
    split: str = "test",
    *,
    engine: str | None = None,
    providers: Sequence[str] | None = None,
    head: str | Head | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AnyTaskReport:
    """Return how right a bundle is on a split: the samples as files, through all that the device does.

    The report is that of the task: `EvalReport` of one label of several, else one of `edgetransfer.spec.task_report`.

    Args:
        bundle: an opened bundle, or its folder.
        dataset: must have exactly the bundle's labels; where samples have several, no others.
        split: "train", "val" or "test".
        engine: an engine's name; None takes that of the bundle's format.
        providers: what computes, for ONNX Runtime; None takes those that the bundle was built for.
        head: which head, of a bundle that has several outside of its graph.
        workers: threads, each with a predictor of its own; None takes one per core that this process may use.
        progress: is called with (done, total).

    Raises:
        UnknownNameError: no such head.
        DataError: other labels than the bundle's (says which), answers of another kind, or the split is empty.
        InputError: a photo cannot be read.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    task, scores = scores_of_bundle(
        opened, dataset, split, engine=engine, providers=providers, head=head, workers=workers, progress=progress
    )
    return evaluate_task(scores, dataset.split(split), task, split=split, artifact=opened.manifest.name)


def scores_of_bundle(
    opened: Bundle,
    dataset: Dataset,
    split: str = "test",
    *,
    engine: str | None = None,
    providers: Sequence[str] | None = None,
    head: str | Head | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Task, NDArray[np.floating[Any]]]:
    """Return the task, and what its decoder's `to_scores` gives for each sample of a split; as `evaluate_bundle`."""
    asked = _asked(opened, head)
    task = opened.manifest.task if asked is None else asked.task
    check_answers(task, dataset)
    samples = dataset.split(split)
    if not samples:
        raise DataError(f"data set: expected samples in its {split!r} split, got none")

    def load() -> Predictor:
        heads = None if asked is None else [asked]
        return Predictor.load(opened, engine=engine, providers=providers, threads=1, heads=heads)  # one a worker

    pool = None if asked is None else asked.pool
    real = real_outputs(opened, samples, load, workers or available_cores(), progress, pool)
    if asked is not None:
        real = asked.logits(real)
    return task, real if opened.manifest.model.scores_in_graph else get_decoder(task.kind).to_scores(real, task)


def evaluate_task(
    scores: NDArray[np.floating[Any]], samples: Sequence[Sample], task: Task, *, split: str, artifact: str
) -> AnyTaskReport:
    """Return how right `scores` are, as the decoder of `task` gives them, one row for each of `samples`.

    Raises:
        InputError: no samples, shapes that do not fit, or no scores.
    """
    targets = targets_of(samples, task.kind, task.labels)
    if task.kind == "multi_label":
        return evaluate_tasks.evaluate_multi_label(scores, targets, task, split=split, artifact=artifact)
    if task.kind == "ordinal":
        return evaluate_tasks.evaluate_ordinal(scores, targets, task, split=split, artifact=artifact)
    if task.kind == "regression":
        return evaluate_tasks.evaluate_regression(scores, targets, task, split=split, artifact=artifact)
    return evaluate(scores, targets, task.labels, split=split, artifact=artifact)


def _asked(bundle: Bundle, name: str | Head | None) -> Head | None:
    """Return the head that is to be evaluated, None where it is inside the graph."""
    if name is not None and not isinstance(name, str):
        name.check_fits(bundle.manifest, bundle.folder)
        return name
    if not bundle.manifest.is_split:
        if name is not None:
            raise InputError(f"--head {name}: the head of bundle {bundle.folder!r} is inside its graph")
        return None
    from edgetransfer.runtime.heads import load_heads

    heads = {one.name: one for one in load_heads(bundle)}
    if name is None and len(heads) == 1:
        return next(iter(heads.values()))
    if name is None:
        raise InputError(f"bundle {bundle.folder!r}: has the heads {', '.join(heads) or 'none'}; name one with --head")
    if name not in heads:
        raise UnknownNameError("head", name, heads)
    return heads[name]


def check_answers(task: Task, dataset: Dataset) -> None:
    """Compare the answers that a data set gives with those that `task` has.

    Raises:
        DataError: answers of another kind, or other labels; names those.
    """
    wanted = task.kind if task.kind in TASKS else "single_label"
    if dataset.task != wanted:
        column = next(name for name, kind in ANSWERS.items() if kind == wanted)
        raise DataError(
            f"data set: expected the column {column!r}, for a task of the kind {task.kind}, got answers of the kind "
            f"{dataset.task}"
        )
    if wanted == "single_label":
        check_labels(task.labels, dataset.labels)
    elif wanted == "multi_label":  # a sample of the world may well lack some of them
        check_labels(task.labels, [*dataset.labels, *task.labels])


def check_labels(expected: Sequence[str], got: Sequence[str]) -> None:
    """Compare a bundle's labels with a data set's; their order does not matter.

    Raises:
        DataError: names the labels that only one of them has.
    """
    unknown, missing = sorted(set(got) - set(expected)), sorted(set(expected) - set(got))
    problems = [f"unknown to the bundle: {label!r}" for label in unknown]
    problems += [f"missing from the data: {label!r}" for label in missing]
    if problems:
        raise DataError(f"data set: expected the bundle's {len(expected)} labels, got {'; '.join(problems)}", problems)


def wilson_interval(successes: int, samples: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion (Wilson 1927); sound for few samples and near 0 and 1."""
    share, square = successes / samples, Z_95**2
    middle = share + square / (2 * samples)
    spread = Z_95 * float(np.sqrt(share * (1 - share) / samples + square / (4 * samples**2)))
    scale = 1 + square / samples
    # At the ends the bounds are 0 and 1 exactly; rounding must not put the proportion itself outside.
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return (0.0 if successes == 0 else max(0.0, low), 1.0 if successes == samples else min(1.0, high))


def _check(scores: NDArray[np.float64], true: NDArray[Any], classes: int) -> None:
    if not len(true) or scores.shape != (len(true), classes) or true.ndim != 1:
        raise InputError(f"evaluate: expected scores (n, {classes}) for n labels, got {scores.shape} for {true.shape}")
    if not np.issubdtype(true.dtype, np.integer) or true.min() < 0 or true.max() >= classes:
        raise InputError(f"evaluate: expected true labels as whole numbers from 0 to {classes - 1}, got {true.dtype}")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1 + 1e-6):
        raise InputError("evaluate: expected scores from 0 to 1; logits go through a decoder's to_scores first")


def _class_scores(label: str, confusion: NDArray[np.int64], i: int) -> ClassScores:
    hits, predicted, support = int(confusion[i, i]), int(confusion[:, i].sum()), int(confusion[i].sum())
    precision = hits / predicted if predicted else 0.0
    recall = hits / support if support else 0.0
    f1 = 2 * hits / (predicted + support) if predicted + support else 0.0
    return ClassScores(label, precision, recall, f1, support)


def _calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    # Bins are open below and closed above, so that a confidence of 1 is in the last.
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.intp) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def real_outputs(
    bundle: Bundle,
    samples: Sequence[Sample],
    load: Callable[[], Predictor],
    workers: int,
    progress: Callable[[int, int], None] | None,
    pool: AttentionPool | None = None,
) -> NDArray[np.float32]:
    """Return the real outputs (n, C) in the samples' order: logits, scores or features; of windows their mean.

    With `pool`, that of a head, features of windows are pooled as that head takes them.

    Decoding and engine let go of Python's lock.
    """
    own = threading.local()
    opened: list[Predictor] = []

    def run(i: int) -> int:
        if not hasattr(own, "predictor"):
            own.predictor = load()
            opened.append(own.predictor)
        raw = own.predictor.reader.read(samples[i].source)
        found[i] = own.predictor.outputs(raw) if pool is None else pool.apply(own.predictor.window_outputs(raw))
        return i

    found = np.empty((len(samples), *bundle.manifest.model.output.shape[1:]), np.float32)
    with ThreadPoolExecutor(workers) as threads:
        jobs = [threads.submit(run, i) for i in range(len(samples))]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress is not None:
                    progress(done, len(samples))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    for predictor in opened:
        predictor.close()
    return found
