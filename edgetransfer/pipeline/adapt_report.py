"""What adapting to another domain brought, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data import DataReport
from edgetransfer.pipeline.build import BuildReport
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned


@dataclass(frozen=True, slots=True)
class Against:
    """A way beside the head that knows nothing of the target, on the same target photos.

    Attributes:
        difference: Accuracy of the way minus that of the other, -1 to 1.
        difference_95: Its 95 % interval, of pairs.
        p_value: Of McNemar's exact test.
    """

    difference: float
    difference_95: tuple[float, float]
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"difference": self.difference, "difference_95": list(self.difference_95), "p_value": self.p_value}


@dataclass(frozen=True, slots=True)
class WayRow:
    """One way: how right it is in both domains, and what it has to say.

    Attributes:
        way: Its name.
        source: On the source's test split; None where there is none.
        target_val: On the target photos that the choice is made on; None where there are none.
        val_against_none: Beside the way "none", on these; None for itself.
        target: On the target photos that are reported; None without a judge.
        against_none: Beside the way "none", on these; None for itself and without a judge.
        about: Figures of its own, by name.
    """

    way: str
    source: EvalReport | None
    target_val: EvalReport | None
    val_against_none: Against | None
    target: EvalReport | None
    against_none: Against | None
    about: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        parts = {
            "source": self.source,
            "target_val": self.target_val,
            "val_against_none": self.val_against_none,
            "target": self.target,
            "against_none": self.against_none,
        }
        found = {name: None if one is None else one.to_json() for name, one in parts.items()}
        return {"way": self.way, **found, "about": dict(self.about)}


@dataclass(frozen=True, slots=True)
class AdaptReport:
    """What was measured of each way, which was chosen, and what was written.

    Attributes:
        data: Of the source.
        recipe: What the backbone was deployed with.
        photos: How many photos of the target were looked at.
        also_judged: How many of them are judged too; their labels were not looked at.
        rows: "none" first.
        chosen: The way that was chosen.
        because: Why, for people.
        labels: The table of pseudo-labels; None where none was asked for.
        built: The bundle of the chosen way; None where none was asked for.
    """

    data: DataReport
    recipe: str
    photos: int
    also_judged: int
    rows: tuple[WayRow, ...]
    chosen: str
    because: str
    labels: Path | None = None
    built: BuildReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "data": self.data.to_json(),
            "recipe": self.recipe,
            "target_photos": self.photos,
            "also_judged": self.also_judged,
            "ways": [row.to_json() for row in self.rows],
            "chosen": self.chosen,
            "because": self.because,
            "labels": None if self.labels is None else str(self.labels),
            "built": None if self.built is None else self.built.to_json(),
        }

    def as_text(self) -> str:
        """Return the report for people: a table, what the ways say, the choice, and what to type next."""
        heading = [f"{self.recipe}, head", "source test", "95 %", "target", "95 %", "against none"]
        rows = [[row.way, *_cells(row.source), *_cells(row.target), _against(row.against_none)] for row in self.rows]
        lines = [self.data.as_text(), f"target: {self.photos} photos without labels{self._shared()}", ""]
        lines += [*aligned([heading, *rows]), *(f"{row.way}: {said}" for row in self.rows if (said := _said(row)))]
        lines.append(f"chosen: {self.chosen}, {self.because}")
        if self.labels is not None:
            lines += ["", f"next:  edgetransfer build {self.labels} --output NAME.bundle"]
        if self.built is not None:
            lines += ["", self.built.as_text()]
        return "\n".join(lines)

    def _shared(self) -> str:
        return f", {self.also_judged} of them judged too (their labels were not looked at)" if self.also_judged else ""


def _cells(report: EvalReport | None) -> list[str]:
    if report is None:
        return ["-", "-"]
    low, high = report.accuracy_95
    return [f"{report.accuracy:.1%}", f"{low:.1%} to {high:.1%}"]


def _against(found: Against | None) -> str:
    if found is None:
        return "-"
    low, high = (100 * end for end in found.difference_95)
    return f"{100 * found.difference:+.1f} ({low:+.1f} to {high:+.1f}) points, p = {found.p_value:.2g}"


def _said(row: WayRow) -> str:
    about = row.about
    if row.way == "importance":
        return (
            f"the domains are told apart in {about['domains_told_apart']:.0%} of photos; the weighted photos say as "
            f"much as {about['effective_examples']:.0f} would"
        )
    if row.way == "pseudo":
        sure = f", each at least {about['threshold']:.2f} sure" if "threshold" in about else ": none is sure enough"
        return f"{about['pseudo_labels']:.0f} photos labelled{sure}"
    return ""
