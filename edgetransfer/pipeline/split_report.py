"""What building a split bundle, or one head for it, showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data.report import DataReport
from edgetransfer.estimate.latency import Prediction
from edgetransfer.estimate.memory import Memory
from edgetransfer.pipeline.gates import Gate
from edgetransfer.pipeline.gates import as_text as gates_as_text
from edgetransfer.pipeline.head_text import head_lines
from edgetransfer.pipeline.placement import Placement, placements_as_text
from edgetransfer.pipeline.split_head import TrainedHead, head_json
from edgetransfer.quantize.plan import plan_as_text
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.recipe import Plan
from edgetransfer.spec.report import ProfileReport, VerifyReport
from edgetransfer.spec.task_report import AnyTaskReport


@dataclass(frozen=True, slots=True)
class HeadRow:
    """A head and its figures: `exported` by split, through the bundle; `rejected` the share of test, 0 to 1."""

    trained: TrainedHead
    exported: Mapping[str, AnyTaskReport]
    size_bytes: int
    rejected: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        exported = {split: report.to_json() for split, report in self.exported.items()}
        return head_json(self.trained, self.size_bytes) | {"exported": exported, "test_rejected": self.rejected}

    def as_text(self, recipe: str) -> list[str]:
        """Return the row as lines: its figures, what quantization cost, how honest its scores are."""
        return head_lines(self.trained, self.exported, recipe, self.size_bytes, self.rejected)


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What was built: the bundle, its heads with their figures, its speed here."""

    bundle: Bundle
    plan: Plan
    data: Mapping[str, DataReport]
    heads: tuple[HeadRow, ...]
    verified: VerifyReport
    profiled: ProfileReport
    gates: tuple[Gate, ...]
    predicted: Prediction | None
    placements: tuple[Placement, ...]
    memory: Memory | None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "bundle": str(self.bundle.path),
            "sha256": self.bundle.sha256,
            "plan": self.plan.to_json(),
            "data": {name: report.to_json() for name, report in self.data.items()},
            "heads": [row.to_json() for row in self.heads],
            "verified": self.verified.to_json(),
            "profile": self.profiled.to_json(),
            "predicted": None if self.predicted is None else self.predicted.to_json(),
            "accelerators": [one.to_json() for one in self.placements],
            "memory": None if self.memory is None else self.memory.to_json(),
            "gates": [gate.to_json() for gate in self.gates],
        }

    def as_text(self) -> str:
        """Return the report for people, and what to type next."""
        name, recipe = self.bundle.path, self.plan.recipe.name
        lines = [plan_as_text(self.plan, notes=False, takes=self.bundle.manifest.preprocess.summary), ""]
        for head, report in self.data.items():
            lines += [f"data of {head}: {report.as_text()}", ""]
        for row in self.heads:
            lines += [*row.as_text(recipe), ""]
        lines += [
            f"bytes          {self.profiled.model_bytes:,} ({recipe} model file, without heads)",
            f"latency here   {self.profiled.one_thread.p50_ms:.2f} ms for one input on one thread, whatever the number "
            f"of heads ({self.profiled.engine} {self.profiled.engine_version})",
            *([] if self.predicted is None else [f"latency there  {self.predicted.as_text()}"]),
            *placements_as_text(self.placements, f"{'or there':<15}"),
            *([] if self.memory is None else [f"memory         {self.memory.as_text()}"]),
            f"verified       {'yes' if self.verified.passed else 'NO'}",
            *gates_as_text(self.gates),
            f"bundle         {name}",
            "",
            f"next:  edgetransfer run {name} FILE",
            f"       edgetransfer heads train DATA --bundle {name} --output another.head",
            "in an app:",
            "       from edgetransfer.runtime import Predictor",
            f'       result = Predictor.load("{name}").predict(source)',
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class HeadReport:
    """A head that was trained for a bundle, as its file."""

    path: Path
    bundle: Bundle
    data: DataReport
    row: HeadRow

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "head": str(self.path),
            "bundle": str(self.bundle.path),
            "data": self.data.to_json(),
        } | self.row.to_json()

    def as_text(self) -> str:
        """Return the report for people, and what to type next."""
        lines = [self.data.as_text(), "", *self.row.as_text(self.bundle.manifest.recipe.name), ""]
        lines += [
            f"head           {self.path}",
            "",
            f"next:  edgetransfer heads add {self.bundle.path} {self.path}",
        ]
        return "\n".join(lines)
