"""What the stages tell: the plan, and what was trained. The report of a whole build is in build.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data import DataReport
from edgetransfer.estimate.latency import Prediction
from edgetransfer.features.cost import KeptCost
from edgetransfer.pipeline.forecast import budget_words
from edgetransfer.pipeline.placement import Placement, placements_as_text
from edgetransfer.pipeline.search import Outcome
from edgetransfer.quantize.plan import plan_as_text
from edgetransfer.spec.preprocess import Fit
from edgetransfer.spec.recipe import Plan
from edgetransfer.spec.report import EvalReport


def accuracy_cells(reports: Mapping[str, EvalReport]) -> list[str]:
    """Return how right a model is, as three cells: on validation, on test, and the interval of the latter."""
    val, test = reports.get("val"), reports.get("test")
    cells = [f"{one.accuracy:.1%}" if one else "-" for one in (val, test)]
    interval = "" if test is None else f"{test.accuracy_95[0]:.1%} to {test.accuracy_95[1]:.1%} ({test.samples} images)"
    return [*cells, interval]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What would be built from which data, and how long one input would take on the device, where that is known.

    `takes` says what the model looks at where that is no image.
    """

    plan: Plan
    data_report: DataReport | None
    predicted: Prediction | None = None
    max_latency_ms: float | None = None
    placements: tuple[Placement, ...] = ()
    takes: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "plan": self.plan.to_json(),
            "data": None if self.data_report is None else self.data_report.to_json(),
            "predicted": None if self.predicted is None else self.predicted.to_json(),
            "accelerators": [one.to_json() for one in self.placements],
        }

    def as_text(self) -> str:
        """Return the report for people."""
        parts = [plan_as_text(self.plan, takes=self.takes)]
        if self.predicted is not None:
            words = budget_words(self.predicted, self.max_latency_ms)
            parts.append(f"one image there, without the head: {self.predicted.as_text()}{words}")
        if placed := placements_as_text(self.placements, "on the accelerator "):
            parts.append("\n".join(placed))
        if self.data_report is not None:
            parts.append(self.data_report.as_text())
        return "\n\n".join(parts)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What was trained, and how well it does on the validation split (in floats, before export)."""

    run: Path
    plan: Plan
    data_report: DataReport
    chosen: Mapping[str, float]
    candidates: tuple[Mapping[str, float], ...]
    fit: str
    fit_accuracy: Mapping[Fit, float]
    budget: Outcome | None = None
    kept_cost: KeptCost | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "run": str(self.run),
            "plan": self.plan.to_json(),
            "data": self.data_report.to_json(),
            "chosen": dict(self.chosen),
            "candidates": [dict(row) for row in self.candidates],
            "fit": self.fit,
            "fit_val_accuracy": dict(self.fit_accuracy),
            "budget": None if self.budget is None else self.budget.to_json(),
            "kept_cost": None if self.kept_cost is None else self.kept_cost.to_json(),
        }

    def as_text(self) -> str:
        """Return the report for people."""
        choice = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.chosen.items())
        tried = ", ".join(f"{name} {value:.1%}" for name, value in self.fit_accuracy.items())
        lines = [
            plan_as_text(self.plan, notes=False),
            f"notes     {len(self.plan.notes)} on why, and on what the device leaves unused: edgetransfer plan",
            "",
            self.data_report.as_text(),
            "",
            f"images meet the square by: {self.fit}"
            + (f" (quick head, each image left out in turn: {tried})" if tried else ""),
            f"head: {choice} (of {len(self.candidates)} tried)",
            *self._budget_lines(),
            f"run: {self.run}",
        ]
        return "\n".join(lines)

    def _budget_lines(self) -> list[str]:
        if self.budget is None:
            return []
        found = self.budget
        verdict = "holds" if found.met else "cannot be met"
        what = f"{len(found.kept)} ops kept in floats" if found.kept else "nothing had to be kept in floats"
        head = (
            f"accuracy budget {verdict}: {found.value:.1%} on validation, at least {found.target:.1%} wanted; {what} "
            f"({found.evaluations} heads trained)"
        )
        cost = [] if self.kept_cost is None else [self.kept_cost.as_text()]
        return [head, *(f"  in floats: {name}" for name in found.kept), *cost]
