"""What tuning a backbone brought, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.data import DataReport
from edgetransfer.pipeline.reports import accuracy_cells
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.tuning import Epoch, Tuned


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """What tuning brought: the deployed backbone as it was, and as it is now, each with its own head.

    Attributes:
        output: The backbone file.
        data: What was learned from.
        before: Split to how right the backbone was as it came, deployed.
        after: The same of the tuned one.
        tuned: Epoch by epoch.
        replayed: How many images of the old task took part.
        others: What was measured besides, as lines of the table.
    """

    output: Path
    source: str
    recipe: str
    data: DataReport
    before: Mapping[str, EvalReport]
    after: Mapping[str, EvalReport]
    tuned: Tuned
    replayed: int = 0
    others: Mapping[str, Mapping[str, EvalReport]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "backbone": str(self.output),
            "source": self.source,
            "recipe": self.recipe,
            "data": self.data.to_json(),
            "before": reports_json(self.before),
            "after": reports_json(self.after),
            "replayed": self.replayed,
            "others": {name: reports_json(one) for name, one in self.others.items()},
            "best_epoch": self.tuned.best.number,
            "epochs": [epoch_json(epoch) for epoch in self.tuned.epochs],
        }

    def as_text(self) -> str:
        """Return the report for people: one table, and what to type next."""
        rows = {f"{self.source} as it came": self.before, "tuned": self.after, **self.others}
        heading = [f"{self.recipe}, head on deployed features", "validation", "test", "95 % interval of test"]
        lines = [
            self.data.as_text(),
            *([f"and {self.replayed} images of the old task"] if self.replayed else []),
            "",
            *aligned([heading, *(report_row(name, one) for name, one in rows.items())]),
            f"{kept_text(self.tuned)}; in training it had validation accuracy {self.tuned.best.val_accuracy:.1%}",
            "",
            f"next:  edgetransfer build DATA --backbone keras:{self.output} --output NAME.bundle",
        ]
        return "\n".join(lines)


def kept_text(tuned: Tuned) -> str:
    """Return which epoch was kept, for people."""
    if tuned.best.number < 0:
        return "kept: no epoch beat it, nothing was changed"
    return f"kept: epoch {tuned.best.number + 1} of {len(tuned.epochs)}"


def reports_json(reports: Mapping[str, EvalReport]) -> dict[str, Any]:
    """Return the reports of the splits as JSON values."""
    return {split: one.to_json() for split, one in reports.items()}


def report_row(name: str, reports: Mapping[str, EvalReport]) -> list[str]:
    """Return a line of a table: what was measured, on validation, on test, and the interval of the latter."""
    return [name, *accuracy_cells(reports)]


def epoch_json(epoch: Epoch) -> dict[str, Any]:
    """Return the figures of one epoch as JSON values."""
    return {
        "epoch": epoch.number,
        "train_loss": epoch.train_loss,
        "val_accuracy": epoch.val_accuracy,
        "val_loss": epoch.val_loss,
    }
