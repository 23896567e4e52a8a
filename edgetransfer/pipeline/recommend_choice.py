"""Chooses among judged candidates: who is on the Pareto front, who holds the limits, which is best and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgetransfer.pipeline.recommend_judge import Cost, Judged

Verdict = Literal["", "holds", "may exceed", "exceeds", "not known"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the model must not exceed; None: anything goes."""

    max_latency_ms: float | None = None
    max_bytes: int | None = None

    def verdict(self, cost: Cost) -> Verdict:
        """Return whether an image stays within the time; "" where none was asked for."""
        if self.max_latency_ms is None:
            return ""
        if cost.time is None:
            return "not known"
        if cost.time.high_ms <= self.max_latency_ms:
            return "holds"
        return "may exceed" if cost.time.low_ms <= self.max_latency_ms else "exceeds"

    def broken_by(self, cost: Cost) -> str:
        """Return which limit `cost` surely exceeds, with its figures; "" if it may hold them."""
        if self.max_bytes is not None and cost.model_bytes > self.max_bytes:
            return f"{cost.model_bytes:,} bytes, over --max-bytes {self.max_bytes:,}"
        if self.verdict(cost) == "exceeds" and cost.time is not None:
            return f"{cost.time.as_text()} an image, over --max-latency-ms {self.max_latency_ms:g}"
        return ""

    def expected_within(self, cost: Cost) -> bool:
        """Whether `cost` is expected to stay within the limits: its middle does; what is not known may."""
        if self.broken_by(cost):
            return False
        return self.max_latency_ms is None or cost.time is None or cost.time.ms <= self.max_latency_ms

    def to_json(self) -> dict[str, Any]:
        """Return the limits as JSON values."""
        return asdict(self)


def timed(judged: Sequence[Judged]) -> bool:
    """Whether the time of every candidate is known, so that they are compared by it and not by multiply-adds."""
    return all(one.cost.time is not None for one in judged)


def effort(one: Judged, *, by_time: bool) -> float:
    """Return what an image costs: milliseconds, or multiply-adds where time is not known."""
    return one.cost.time.ms if by_time and one.cost.time is not None else float(one.cost.macs)


def pareto_front(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Return those that no other beats: at least as accurate, as fast and as small, and better in one of these.

    The fastest come first.
    """
    by_time = timed(judged)

    def beaten(one: Judged) -> bool:
        own = (-one.accuracy, effort(one, by_time=by_time), one.cost.model_bytes)
        others = [(-two.accuracy, effort(two, by_time=by_time), two.cost.model_bytes) for two in judged]
        return any(two != own and all(a <= b for a, b in zip(two, own, strict=True)) for two in others)

    kept = [one for one in judged if not beaten(one)]
    return tuple(sorted(kept, key=lambda one: effort(one, by_time=by_time)))


def choose(judged: Sequence[Judged], limits: Limits) -> tuple[Judged | None, str]:
    """Return the best and the reason in one sentence; None where no candidate is expected to hold the limits.

    Of those that are, the fastest that is at most one standard error less accurate than the most accurate: the rule
    of Breiman, Friedman, Olshen and Stone 1984 for choosing the simplest of models that are as good as equal.
    """
    if not judged:
        return None, "No candidate could be judged."
    within = [one for one in judged if limits.expected_within(one.cost)]
    by_time = timed(judged)
    if not within:
        near = min(judged, key=lambda one: effort(one, by_time=by_time))
        return None, f"No candidate is expected to hold the limits; the nearest is {near.name} with {_costs(near)}."
    top = max(within, key=lambda one: (one.accuracy, -effort(one, by_time=by_time), -one.cost.model_bytes))
    equals = [one for one in within if one.accuracy >= top.accuracy - top.standard_error]
    best = min(equals, key=lambda one: (effort(one, by_time=by_time), one.cost.model_bytes, -one.accuracy))
    return best, _reason(best, top, limits, judged)


def _reason(best: Judged, top: Judged, limits: Limits, judged: Sequence[Judged]) -> str:
    unsaid = limits == Limits() or limits.verdict(best.cost) == "not known"  # then it is not claimed that they hold
    among = "" if unsaid else " within the limits"
    error = f"one standard error ({100 * top.standard_error:.1f} points)"
    if best is top:
        found = (
            f"{best.name} is the most accurate{among} ({best.accuracy:.1%}), and none within {error} of it takes less: "
            f"{_costs(best)}"
        )
    else:
        found = (
            f"{best.name} ({best.accuracy:.1%}) is within {error} of the most accurate{among}, {top.name} "
            f"({top.accuracy:.1%}), and takes least of those: {_costs(best)} rather than {_costs(top)}"
        )
    return f"{found}{_doubt(best, limits, judged)}."


def _doubt(best: Judged, limits: Limits, judged: Sequence[Judged]) -> str:
    """Return what is not sure about the limit of time, "" where nothing is."""
    verdict = limits.verdict(best.cost)
    if verdict == "not known":
        return f"; whether an image stays within {limits.max_latency_ms:g} ms is not known: {best.cost.no_time}"
    if verdict != "may exceed":
        return ""
    sure = [one for one in judged if limits.verdict(one.cost) == "holds"]
    if not sure:
        return f"; it may exceed {limits.max_latency_ms:g} ms, as may all others that were judged"
    most = max(sure, key=lambda one: one.accuracy)
    return f"; it may exceed {limits.max_latency_ms:g} ms, {most.name} ({most.accuracy:.1%}) would not"


def _costs(one: Judged) -> str:
    time = f"{one.cost.macs / 1e6:.0f} M multiply-adds" if one.cost.time is None else one.cost.time.as_text()
    return f"{time} and {one.cost.model_bytes / 1e6:.2f} MB"
