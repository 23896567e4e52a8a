"""How right answers are that are not one label of several: several labels, labels with an order, a quantity.

Every figure is a function of how often each example counts: once for the figure itself, and as often as chance draws it
for the bootstrap's intervals (Efron 1979; percentiles of 1,000 draws).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.decoders.ordinal import ranks
from edgetransfer.spec.task import Task
from edgetransfer.spec.task_report import Figure, LabelScores, MultiLabelReport, OrdinalReport, RegressionReport

DRAWS = 1000
_MOST_AT_ONCE = 4_000_000
"""Counts held in memory at a time: 32 MB."""

Counts = NDArray[np.float64]
"""(draws, n): how often each example counts in each draw."""
Statistic = Callable[[Counts], NDArray[np.float64]]
"""A figure (draws,) of every draw."""


def evaluate_multi_label(
    scores: NDArray[np.floating[Any]], targets: NDArray[Any], task: Task, *, split: str, artifact: str, seed: int = 0
) -> MultiLabelReport:
    """Return how right `scores` are with the task's thresholds.

    Args:
        scores: (n, labels), 0 to 1.
        targets: (n, labels) of 0 and 1.
        task: With labels and thresholds.
        split: The split's name, for the reader.
        artifact: What gave the scores, for the reader.
        seed: Of the bootstrap.

    Raises:
        InputError: no samples, shapes that do not fit, or no scores.
    """
    values, wanted = _table(scores, task, targets.shape), np.asarray(targets) == 1
    if not np.isin(targets, (0, 1)).all():
        raise InputError("evaluate: expected targets of 0 and 1, one for each example and label")
    given = values >= np.asarray(task.thresholds)
    micro, macro, precision = _figures(len(values), seed, *_f1s(given, wanted), _mean_average_precision(values, wanted))
    return MultiLabelReport(
        artifact,
        split,
        len(values),
        micro,
        macro,
        precision,
        tuple(_label_scores(task, k, values[:, k], given[:, k], wanted[:, k]) for k in range(values.shape[1])),
    )


def evaluate_ordinal(
    scores: NDArray[np.floating[Any]],
    true: NDArray[np.integer[Any]],
    task: Task,
    *,
    split: str,
    artifact: str,
    seed: int = 0,
) -> OrdinalReport:
    """Return how right `scores` are, the median label being the answer.

    Args:
        scores: (n, labels), 0 to 1, each row's sum 1.
        true: (n,) positions in the order of labels.
        task: With the labels.
        split: As for `evaluate_multi_label`.
        artifact: Likewise.
        seed: Likewise.

    Raises:
        InputError: no samples, shapes that do not fit, or no scores.
    """
    labels = len(task.labels)
    values = _table(scores, task, (*true.shape, labels))
    if not np.issubdtype(true.dtype, np.integer) or true.min() < 0 or true.max() >= labels:
        raise InputError(f"evaluate: expected true labels as whole numbers from 0 to {labels - 1}, got others")
    answers = ranks(values)
    distance = np.abs(answers - true).astype(np.float64)
    confusion = np.bincount(labels * true + answers, minlength=labels**2).reshape(labels, labels).tolist()
    accuracy, error, kappa = _figures(
        len(true), seed, _mean_of(distance == 0), _mean_of(distance), _kappa(answers, true, labels)
    )
    return OrdinalReport(
        artifact,
        split,
        len(true),
        accuracy,
        error,
        kappa,
        task.labels,
        tuple(map(tuple, confusion)),
    )


def evaluate_regression(
    values: NDArray[np.floating[Any]],
    true: NDArray[np.floating[Any]],
    task: Task,
    *,
    split: str,
    artifact: str,
    seed: int = 0,
) -> RegressionReport:
    """Return how right `values` are.

    Args:
        values: (n,) or (n, 1) answers in the task's unit, as its decoder's `to_scores` gives them.
        true: (n,) in the same unit.
        task: With quantity, unit and interval.
        split: As for `evaluate_multi_label`.
        artifact: Likewise.
        seed: Likewise.

    Raises:
        InputError: no samples, shapes that do not fit, or values that are no numbers.
    """
    wanted, errors = np.asarray(true, np.float64), _errors(values, true)
    half = task.half_width
    root = _mean_of(errors**2)
    statistics = [_mean_of(errors), lambda counts: np.sqrt(root(counts)), _r2(errors, wanted)]
    if half is not None:
        statistics.append(_mean_of(errors <= half))
    figures = _figures(len(wanted), seed, *statistics)
    return RegressionReport(
        artifact,
        split,
        len(wanted),
        task.labels[0],
        task.unit,
        figures[0],
        figures[1],
        figures[2],
        None if half is None else figures[3],
        None if half is None else task.coverage,
    )


def _errors(values: NDArray[np.floating[Any]], true: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    answers, wanted = np.asarray(values, np.float64).reshape(-1), np.asarray(true, np.float64)
    if not len(wanted) or answers.shape != wanted.shape:
        raise InputError(f"evaluate: expected as many values as true ones, got {values.shape} for {true.shape}")
    if not (np.isfinite(answers).all() and np.isfinite(wanted).all()):
        raise InputError("evaluate: expected finite values, got NaN or infinity")
    return np.abs(answers - wanted)


def _figures(examples: int, seed: int, *statistics: Statistic) -> list[Figure]:
    """Return each statistic of all examples, with the interval of the same draws for all of them."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _MOST_AT_ONCE // examples)
    found: list[list[NDArray[np.float64]]] = [[] for _ in statistics]
    for begin in range(0, DRAWS, at_once):
        draws = min(at_once, DRAWS - begin)
        drawn = rng.integers(0, examples, (draws, examples)) + examples * np.arange(draws)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=draws * examples).reshape(draws, examples).astype(np.float64)
        for values, statistic in zip(found, statistics, strict=True):
            values.append(statistic(counts))
    once = np.ones((1, examples))
    ends = [np.percentile(np.concatenate(values), (2.5, 97.5)) for values in found]
    return [
        Figure(float(statistic(once)[0]), float(low), float(high))
        for statistic, (low, high) in zip(statistics, ends, strict=True)
    ]


def _mean_of(values: NDArray[Any]) -> Statistic:
    return lambda counts: counts @ values / counts.sum(axis=1)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)
    return found


def _f1s(given: NDArray[np.bool_], wanted: NDArray[np.bool_]) -> tuple[Statistic, Statistic]:
    """Return the micro and the macro F1 of labels given and wanted, both (n, labels)."""
    hits, all_counted = 2.0 * (given & wanted), 1.0 * given + wanted

    def micro(counts: Counts) -> NDArray[np.float64]:
        return _ratio((counts @ hits).sum(axis=1), (counts @ all_counted).sum(axis=1))

    def macro(counts: Counts) -> NDArray[np.float64]:
        found: NDArray[np.float64] = _ratio(counts @ hits, counts @ all_counted).mean(axis=1)
        return found

    return micro, macro


def _mean_average_precision(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> Statistic:
    def mean_precision(counts: Counts) -> NDArray[np.float64]:
        found = np.stack([_average_precision(scores[:, k], wanted[:, k], counts) for k in range(scores.shape[1])])
        known = ~np.isnan(found)
        return _ratio(np.where(known, found, 0.0).sum(axis=0), known.sum(axis=0))

    return mean_precision


def _r2(errors: NDArray[np.float64], true: NDArray[np.float64]) -> Statistic:
    about = true - true.mean()  # exact where the values are large beside their spread

    def r2(counts: Counts) -> NDArray[np.float64]:
        total = counts.sum(axis=1)
        spread = counts @ about**2 - (counts @ about) ** 2 / total
        # Where all values drawn are one there is no variance to account for.
        return np.where(spread > 1e-12 * (about**2).sum(), 1 - _ratio(counts @ errors**2, spread), 0.0)

    return r2


def _kappa(answers: NDArray[np.int64], true: NDArray[np.integer[Any]], labels: int) -> Statistic:
    """Cohen 1968, "Weighted kappa": 1 - observed / expected squared distance, of answers drawn apart from the truth."""
    said, was = np.eye(labels)[answers], np.eye(labels)[true]
    squares = (np.arange(labels)[:, None] - np.arange(labels)) ** 2

    def kappa(counts: Counts) -> NDArray[np.float64]:
        observed = counts @ (answers - true) ** 2
        expected = ((counts @ was) @ squares * (counts @ said)).sum(axis=1) / counts.sum(axis=1)
        # Nothing expected: truth and answers are one and the same label throughout.
        return np.where(expected > 0, 1 - _ratio(observed, expected), 1.0)

    return kappa


def _average_precision(scores: NDArray[np.float64], wanted: NDArray[np.bool_], counts: Counts) -> NDArray[np.float64]:
    """Return the mean precision at each positive, equal scores counted together: (draws,), NaN without positives."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each run of equal scores
    given = np.cumsum(counts[:, order], axis=1)[:, last]
    hits = np.cumsum(counts[:, order] * wanted[order], axis=1)[:, last]
    sums = (_ratio(hits, given) * np.diff(hits, prepend=0, axis=1)).sum(axis=1)
    total = hits[:, -1]
    return np.where(total > 0, _ratio(sums, total), np.nan)


def _label_scores(
    task: Task, k: int, scores: NDArray[np.float64], given: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> LabelScores:
    hits, answered, support = int((given & wanted).sum()), int(given.sum()), int(wanted.sum())
    precision = float(_average_precision(scores, wanted, np.ones((1, len(scores))))[0])
    return LabelScores(
        task.labels[k],
        task.thresholds[k],
        hits / answered if answered else 0.0,
        hits / support if support else 0.0,
        2 * hits / (answered + support) if answered + support else 0.0,
        precision if support else None,
        support,
    )


def _table(scores: NDArray[np.floating[Any]], task: Task, wanted: Sequence[int]) -> NDArray[np.float64]:
    """Return the scores, held against the task and the shape that the truth asks for."""
    values: NDArray[np.float64] = np.asarray(scores, np.float64)
    if not len(values) or values.shape != tuple(wanted) or values.shape[1:] != (len(task.labels),):
        raise InputError(
            f"evaluate: expected scores (n, {len(task.labels)}) for n examples, got {values.shape} for {tuple(wanted)}"
        )
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise InputError("evaluate: expected scores from 0 to 1; logits go through a decoder's to_scores first")
    return values
