"""What `recommend` tells: the table, the Pareto front, the best with the reason, and the command to run next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.pipeline.recommend_candidates import LeftOut, Space
from edgetransfer.pipeline.recommend_choice import Limits, effort, pareto_front, timed
from edgetransfer.pipeline.recommend_judge import Judged
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.text_table import aligned

_TITLES = {
    "weights": "not judged, weights are missing",
    "plan": "does not run or fit",
    "limit": "over a limit",
    "failed": "could not be made",
    "time": "not judged for lack of time (--time-budget; features so far are kept)",
    "unasked": "not tried",
}
_ACCURACY = (
    "accuracy: ridge head on these photos, each fifth held out in turn; build trains a better one on all of them"
)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The outcome of `recommend`.

    Attributes:
        data: Folder or CSV, as it was given.
        device: Slug or file of the device, as it was given; None: this machine.
        space: What was chosen among, as it was asked for.
        limits: What the model must not exceed.
        seed: Of splits made here.
        photos: How many photos each candidate was judged on.
        pool: How many there are for training and validation.
        judged: All that were judged, the fastest first.
        best: The one to take; None where none is expected to hold the limits.
        reason: Why, as a sentence.
        left_out: What was not judged, and why.
        seconds: How long it took.
    """

    data: Path
    device: str | None
    space: Space
    limits: Limits
    seed: int
    photos: int
    pool: int
    judged: tuple[Judged, ...]
    best: Judged | None
    reason: str
    left_out: tuple[LeftOut, ...]
    seconds: float

    @property
    def front(self) -> tuple[Judged, ...]:
        """The Pareto front over accuracy, time (else multiply-adds) and bytes, the fastest first."""
        return pareto_front(self.judged)

    @property
    def command(self) -> str | None:
        """The `edgetransfer build` to run next, ready for a shell; None where there is no best."""
        return None if self.best is None else shlex.join(("edgetransfer", *self.arguments_of(self.best)))

    def arguments_of(self, one: Judged, output: str | None = None) -> list[str]:
        """Return the arguments after `edgetransfer` that build `one`, by default to a bundle named after the data."""
        candidate = one.candidate
        words = ["build", str(self.data)]
        pairs: list[tuple[str, object]] = [
            ("--device", self.device),
            ("--backbone", candidate.choice.name),
            ("--alpha", None if candidate.choice.alpha in (None, 1) else f"{candidate.choice.alpha:g}"),
            ("--input-size", candidate.plan.height_px),
            ("--normalise", _normalise(candidate.choice.normalisation)),
            ("--recipe", candidate.recipe),
            ("--format", self.space.format),
            ("--seed", self.seed or None),
            ("--output", output or f"{self.data.resolve().name.removesuffix('.csv')}.bundle"),
        ]
        return words + [word for name, value in pairs if value is not None for word in (name, str(value))]

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        front = self.front
        return {
            "report": "recommend",
            "data": str(self.data),
            "device": self.device,
            "limits": self.limits.to_json(),
            "photos": self.photos,
            "photos_to_choose_from": self.pool,
            "compared_by": "latency" if timed(self.judged) else "multiply-adds",
            "judged": [
                one.to_json()
                | {"name": one.name, "front": one in front, "best": one is self.best, "limit": self._verdict(one)}
                for one in self.judged
            ],
            "best": None if self.best is None else self.best.name,
            "reason": self.reason,
            "command": self.command,
            "left_out": [one.to_json() for one in self.left_out],
            "seconds": round(self.seconds, 1),
        }

    def as_text(self) -> str:
        """Return the outcome for people."""
        lines = [
            f"{self.data}: {self.photos} of {self.pool} photos for training and validation looked at, none for testing",
            f"device  {self.device or 'this machine'}{self._limits_text()}",
            "",
        ]
        if self.judged:
            lines += [*aligned(self._rows(), left=3), "", *self._footnotes(), ""]
        lines += self._left_out_lines()
        lines.append(f"best: {self.reason}" if self.best else self.reason)
        if self.command is not None:
            lines += ["", f"next:  {self.command}"]
        return "\n".join(lines)

    def _verdict(self, one: Judged) -> str:
        return self.limits.verdict(one.cost)

    def _limits_text(self) -> str:
        most = [] if self.limits.max_latency_ms is None else [f"{self.limits.max_latency_ms:g} ms an image"]
        most += [] if self.limits.max_bytes is None else [f"{self.limits.max_bytes:,} bytes"]
        return f", at most {' and '.join(most)}" if most else ""

    def _rows(self) -> list[list[str]]:
        front, known = self.front, timed(self.judged)
        effort_head = "ms an image (range)" if known else "M multiply-adds"
        limited = self.limits.max_latency_ms is not None
        rows = [["", "", "candidate", "accuracy", "95 %", "LogME", effort_head, "MB", *(["limit"] if limited else [])]]
        for number, one in enumerate(self.judged):
            mark = "best" if one is self.best else "front" if one in front else ""
            low, high = one.accuracy_95
            cost = one.cost.time.as_text().replace(" ms", "") if one.cost.time else f"{one.cost.macs / 1e6:.0f}"
            row = [str(number + 1), mark, one.name, f"{one.accuracy:.1%}", f"{100 * low:.1f} to {100 * high:.1f}"]
            row += [f"{one.log_me:.3f}", cost, f"{one.cost.model_bytes / 1e6:.2f}"]
            rows.append([*row, self._verdict(one)] if limited else row)
        return rows

    def _footnotes(self) -> list[str]:
        error = max(one.standard_error for one in self.judged)
        notes = [f"{_ACCURACY}; standard error up to {100 * error:.1f} points"]
        times = [one.cost.time for one in self.judged if one.cost.time is not None]
        threads = {one.threads for one in times}
        for words in dict.fromkeys(one.words for one in times):
            said = ", ".join(f"{count} thread{'s' if count > 1 else ''}" for count in sorted(threads))
            notes.append(f"latency: {words}; {said}")
        notes += [f"latency: not known: {why}" for why in dict.fromkeys(one.cost.no_time for one in self.judged) if why]
        notes.append(
            f"front: no other is at least as accurate, as {'fast' if timed(self.judged) else 'light'} and as small"
        )
        return notes

    def _left_out_lines(self) -> list[str]:
        lines: list[str] = []
        for kind, title in _TITLES.items():
            found = [one for one in self.left_out if one.kind == kind]
            if not found:
                continue
            lines.append(f"{title}:")
            for reason in dict.fromkeys(one.reason for one in found):
                named = ", ".join(one.what for one in found if one.reason == reason)
                lines.append(f"  {named}: {reason}" if reason else f"  {named}")
            lines.append("")
        return lines


def _normalise(normalisation: Normalisation | None) -> str | None:
    return None if normalisation is None else f"{normalisation.scale!r},{normalisation.zero_point}"


def sorted_by_effort(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Return `judged`, the fastest first."""
    by_time = timed(judged)
    return tuple(sorted(judged, key=lambda one: (effort(one, by_time=by_time), one.name)))
