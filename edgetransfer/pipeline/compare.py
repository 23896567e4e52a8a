"""Several bundles on the same data: how right, whether the difference is one, where each wins, speed and bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, targets_of
from edgetransfer.errors import DataError, InputError
from edgetransfer.evaluate import Z_95, evaluate, scores_of_bundle
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.profile import profile
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned

_PROFILE_S = 0.3
_LISTED = 3  # labels where a bundle wins


@dataclass(frozen=True, slots=True)
class Contestant:
    """One bundle, and what was found of it.

    Attributes:
        name: Its folder's.
        report: How right it is on the data.
        old: How right it is on the old task's data, where that was given.
        ms: Median of one input here, on one thread.
        model_bytes: Of the model's file.
    """

    name: str
    report: EvalReport
    old: EvalReport | None
    ms: float
    model_bytes: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bundles on the same inputs.

    Attributes:
        first: Name of the one.
        second: Name of the other.
        only_first: Inputs that only the first is right on.
        only_second: Inputs that only the second is right on.
        difference: Accuracy of the first minus that of the second, -1 to 1.
        difference_95: Its 95 % interval, of pairs.
        p_value: Of McNemar's exact test: how likely so uneven a split, or a more uneven one, is by chance.
        first_wins: Label to how many more of its inputs the first is right on, where it is ahead.
        second_wins: The same of the second.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    difference: float
    difference_95: tuple[float, float]
    p_value: float
    first_wins: dict[str, int]
    second_wins: dict[str, int]

    def as_text(self) -> str:
        """Return the pair as one line."""
        verdict = "a difference" if self.p_value < 0.05 else "no difference that these inputs show"
        low, high = (100 * end for end in self.difference_95)
        lines = (
            f"{self.first} against {self.second}: {100 * self.difference:+.1f} points ({low:+.1f} to {high:+.1f}), "
            f"right alone {self.only_first} and {self.only_second} times, McNemar p = {self.p_value:.3g}: {verdict}"
        )
        for name, wins in ((self.first, self.first_wins), (self.second, self.second_wins)):
            if wins:
                most = sorted(wins.items(), key=lambda item: (-item[1], item[0]))[:_LISTED]
                lines += f"\n  {name} is ahead on {', '.join(f'{label} (+{count})' for label, count in most)}"
        return lines


@dataclass(frozen=True, slots=True)
class CompareReport:
    """All bundles, and every two of them."""

    contestants: tuple[Contestant, ...]
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "bundles": [
                {
                    "name": one.name,
                    "evaluation": one.report.to_json(),
                    "old_task": None if one.old is None else one.old.to_json(),
                    "p50_ms": one.ms,
                    "model_bytes": one.model_bytes,
                }
                for one in self.contestants
            ],
            "pairs": [
                {
                    "first": pair.first,
                    "second": pair.second,
                    "only_first_right": pair.only_first,
                    "only_second_right": pair.only_second,
                    "difference": pair.difference,
                    "difference_95": list(pair.difference_95),
                    "mcnemar_p": pair.p_value,
                    "first_wins": pair.first_wins,
                    "second_wins": pair.second_wins,
                }
                for pair in self.pairs
            ],
        }

    def as_text(self) -> str:
        """Return the report for people: a table, and a line for every two bundles."""
        old = any(one.old is not None for one in self.contestants)
        rows = [["bundle", "accuracy", "95 % interval", *(["old task"] if old else []), "ms here", "bytes"]]
        for one in self.contestants:
            low, high = one.report.accuracy_95
            cells = [one.name, f"{one.report.accuracy:.1%}", f"{low:.1%} to {high:.1%}"]
            if old:
                cells.append("-" if one.old is None else f"{one.old.accuracy:.1%}")
            rows.append([*cells, f"{one.ms:.2f}", f"{one.model_bytes:,}"])
        count = self.contestants[0].report.samples
        return "\n".join([f"{count} inputs", *aligned(rows), "", *(pair.as_text() for pair in self.pairs)])


def compare(
    bundles: Sequence[Path],
    dataset: Dataset,
    *,
    split: str = "test",
    old: Dataset | None = None,
    head: str | None = None,
    watcher: Watcher | None = None,
) -> CompareReport:
    """Return how the bundles do on the same split of the same data, and on the old task's if that is given.

    Args:
        bundles: Folders, two or more, with the same labels as the data.
        dataset: What they are compared on.
        split: "train", "val" or "test".
        old: Data of the task that was known before; bundles whose labels are others are left out there.
        head: Which head, of bundles that have several.
        watcher: Is told the stages.

    Raises:
        InputError: fewer than two bundles.
        DataError: other labels, or the split is empty.
    """
    watcher = watcher or Silent()
    if len(bundles) < 2:
        raise InputError(f"compare: expected at least two bundles, got {len(bundles)}")
    found, right = [], {}
    labels = np.array([sample.label for sample in dataset.split(split)])
    for path in bundles:
        bundle = Bundle.load(path)
        name = str(path) if [one.name for one in bundles].count(path.name) > 1 else path.name
        watcher.stage(f"evaluating {name}")
        report, right[name] = _evaluated(bundle, dataset, split, head, watcher)
        measured = profile(bundle, providers=(), seconds=_PROFILE_S)
        knew = None if old is None else _on_old_task(bundle, old, split, head, watcher)
        found.append(Contestant(name, report, knew, measured.one_thread.p50_ms, measured.model_bytes))
    pairs = tuple(_pair((a, right[a]), (b, right[b]), labels) for a, b in combinations(right, 2))
    return CompareReport(tuple(found), pairs)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided.

    Inputs on which both are right, or both wrong, say nothing; the others are coin tosses if the two are equally good
    (McNemar 1947; the exact binomial form).
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    # In logarithms: 2 ** tosses does not fit a float beyond a thousand.
    tail = sum(math.exp(_log_choose(tosses, k) - tosses * math.log(2)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def difference_95(only_first: int, only_second: int, inputs: int) -> tuple[float, float]:
    """Return the 95 % interval of a difference of accuracies on the same inputs, as shares.

    Wald's interval for matched pairs with half an input added to each of the four counts, so that it holds with few
    inputs too (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions",
    Statistics in Medicine 24).
    """
    first, second, n = only_first + 0.5, only_second + 0.5, inputs + 2
    middle, spread = (first - second) / n, math.sqrt(first + second - (first - second) ** 2 / n) / n
    return middle - Z_95 * spread, middle + Z_95 * spread


def paired(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float, tuple[float, float], float]:
    """Return what two answers to the same inputs, each right or not, say of each other.

    Args:
        first: (n,) whether the one is right.
        second: (n,) whether the other is.

    Returns:
        How often the first alone is right, how often the second alone, the difference of their accuracies, its 95 %
        interval, and McNemar's p-value.
    """
    counts = int((first & ~second).sum()), int((second & ~first).sum())
    inputs = len(first)
    return *counts, (counts[0] - counts[1]) / inputs, difference_95(*counts, inputs), mcnemar(*counts)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _pair(first: tuple[str, NDArray[np.bool_]], second: tuple[str, NDArray[np.bool_]], labels: NDArray[Any]) -> Pair:
    leads = first[1].astype(int) - second[1]
    ahead = {str(label): int(leads[labels == label].sum()) for label in np.unique(labels)}
    return Pair(
        first[0],
        second[0],
        *paired(first[1], second[1]),
        {label: lead for label, lead in ahead.items() if lead > 0},
        {label: -lead for label, lead in ahead.items() if lead < 0},
    )


def _evaluated(
    bundle: Bundle, dataset: Dataset, split: str, head: str | None, watcher: Watcher
) -> tuple[EvalReport, NDArray[np.bool_]]:
    """Return how right the bundle is, and on which inputs: (n,)."""
    task, scores = scores_of_bundle(bundle, dataset, split, providers=(), head=head, progress=watcher.step)
    if task.kind != "single_label":
        raise InputError(f"bundle {str(bundle.path)!r}: answers a {task.kind} task; compare takes one label of several")
    true = targets_of(dataset.split(split), task.kind, task.labels)
    report = evaluate(scores, true, task.labels, split=split, artifact=bundle.manifest.name)
    return report, scores.argmax(axis=1) == true


def _on_old_task(bundle: Bundle, old: Dataset, split: str, head: str | None, watcher: Watcher) -> EvalReport | None:
    try:
        return _evaluated(bundle, old, split, head, watcher)[0]
    except DataError as trouble:  # other labels: it was never asked to know that task
        watcher.note(f"{bundle.path.name} is left out on the old task: {trouble}")
        return None
