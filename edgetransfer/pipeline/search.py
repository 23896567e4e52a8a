"""Keeps an accuracy budget: finds the fewest ops that must stay at higher precision, within a number of trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Evaluate = Callable[[tuple[str, ...]], float]
"""Gives the metric, 0 to 1, on the validation split when these ops are kept at higher precision."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An op that can be kept: its name, and what it costs to keep, in multiply-adds."""

    name: str
    cost: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the search found.

    Attributes:
        kept: The ops to keep at higher precision; empty where the plain recipe holds the budget.
        value: The metric with them.
        target: What it had to reach.
        evaluations: How many trials it took, the plain recipe included.
        trials: (number of ops kept, metric) in the order of trying.
        met: Whether the budget holds.
    """

    kept: tuple[str, ...]
    value: float
    target: float
    evaluations: int
    trials: tuple[tuple[int, float], ...]

    @property
    def met(self) -> bool:
        """Whether the budget holds."""
        return self.value >= self.target - 1e-9

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return {
            "met": self.met,
            "kept": list(self.kept),
            "val_metric": self.value,
            "val_target": self.target,
            "evaluations": self.evaluations,
            "trials": [{"kept": count, "val_metric": value} for count, value in self.trials],
        }


def keep_budget(
    plain: float,
    target: float,
    rank: Callable[[], Sequence[Candidate]],
    evaluate: Evaluate,
    *,
    most: int,
) -> Outcome:
    """Return the fewest of the ranked ops with which the metric reaches `target`.

    The noisiest 1, 2, 4, 8 ... are tried until the budget holds, then the number between is halved; what trials are
    left go into giving up the costliest of those kept, one at a time.

    Args:
        plain: The metric when nothing is kept.
        target: What must be reached.
        rank: Gives the ops, the noisiest first; called only if the plain recipe misses the target.
        evaluate: Trains and scores one trial.
        most: Trials at most, the plain recipe included.
    """
    if plain >= target - 1e-9:
        return Outcome((), plain, target, 1, ((0, plain),))
    search = _Search(list(rank()), plain, target, evaluate, most)
    search.widen()
    if search.held:
        search.narrow()
        search.give_up_costly()
    return search.outcome()


class _Search:
    """The trials so far; `best` is what held the budget with the fewest ops, or came nearest to it."""

    def __init__(self, ranked: list[Candidate], plain: float, target: float, evaluate: Evaluate, most: int) -> None:
        self.ranked, self.target, self.most = ranked, target, most
        self._evaluate = evaluate
        self.trials: list[tuple[int, float]] = [(0, plain)]
        self.best: tuple[tuple[str, ...], float] = ((), plain)
        self.held = False
        self.failed_count = 0

    def left(self) -> int:
        return self.most - len(self.trials)

    def holds(self, names: tuple[str, ...]) -> bool:
        value = self._evaluate(names)
        self.trials.append((len(names), value))
        held = value >= self.target - 1e-9
        if held or (not self.held and value > self.best[1]):
            self.best = (names, value)
        self.held = self.held or held
        return held

    def widen(self) -> None:
        count = 1
        while self.ranked and self.left() > 0:
            count = min(count, len(self.ranked))
            if self.holds(tuple(one.name for one in self.ranked[:count])):
                return
            self.failed_count = count
            if count == len(self.ranked):
                return
            count *= 2

    def narrow(self) -> None:
        enough = len(self.best[0])
        while enough - self.failed_count > 1 and self.left() > 0:
            middle = (enough + self.failed_count) // 2
            if self.holds(tuple(one.name for one in self.ranked[:middle])):
                enough = middle
            else:
                self.failed_count = middle

    def give_up_costly(self) -> None:
        cost = {one.name: one.cost for one in self.ranked}
        for name in sorted(self.best[0], key=lambda name: (-cost[name], name)):
            if self.left() <= 0 or len(self.best[0]) <= 1:
                return
            self.holds(tuple(other for other in self.best[0] if other != name))

    def outcome(self) -> Outcome:
        kept, value = self.best
        return Outcome(kept, value, self.target, len(self.trials), tuple(self.trials))
