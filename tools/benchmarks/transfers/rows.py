"""What each bench of transfers measures: rows of bundles, each with its minutes, compared on the same photos."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.compare import CompareReport, compare
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions, Silent
from edgetransfer.pipeline.train import read_data
from edgetransfer.spec.text_table import aligned

_BEGUN = time.monotonic()


class Says(Silent):
    """Tells the stages on standard error, with the time since the start, and keeps the CPU seconds of each."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}

    def stage(self, title: str) -> None:
        """Say that a stage begins."""
        self._begun[title] = time.process_time()
        print(f"{time.monotonic() - _BEGUN:6.0f} s  {title}", file=sys.stderr, flush=True)

    def cpu_seconds(self) -> dict[str, float]:
        """Return what each stage took, all cores together; the last one until now."""
        ends = [*list(self._begun.values())[1:], time.process_time()]
        return {title: end - begin for (title, begin), end in zip(self._begun.items(), ends, strict=True)}

    def note(self, text: str) -> None:
        """Say what the user should know."""
        print(f"          {text}", file=sys.stderr, flush=True)


@dataclass
class Clock:
    """Minutes since it was made, by this process's CPU time over its cores, and by the clock on the wall.

    `before` is what came before it and counts as well.
    """

    before: tuple[float, float] = (0.0, 0.0)
    cpu: float = field(default_factory=time.process_time)
    wall: float = field(default_factory=time.monotonic)

    def minutes(self) -> tuple[float, float]:
        """Return (CPU minutes over cores, minutes of the clock)."""
        cores = len(os.sched_getaffinity(0))
        cpu, wall = (time.process_time() - self.cpu) / cores, time.monotonic() - self.wall
        return self.before[0] + cpu / 60, self.before[1] + wall / 60


@dataclass(frozen=True)
class Row:
    """One way: its bundle, its float and shipped figures, and what it took."""

    name: str
    bundle: Path
    report: Any
    minutes: tuple[float, float]
    about: str = ""


@dataclass
class Rows:
    """All ways, and every two of them on the same photos."""

    title: str
    rows: list[Row] = field(default_factory=list)
    compared: CompareReport | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, options: BuildOptions, folder: Path, clock: Clock, about: str = "") -> Row:
        """Build the bundle NAME of `options`; its minutes are those since `clock` was made."""
        bundle = folder / f"{name.replace(' ', '_').replace(',', '')}.bundle"
        # What quantization costs is what is measured here, so the gate on it does not end the run.
        report = build(options, bundle, how=ExportOptions(force=True, allow=("accuracy",)), watcher=Says())
        row = Row(name, bundle, report, clock.minutes(), about)
        self.rows.append(row)
        test = report.exported["test"]
        print(f"          {name}: test {test.accuracy:.2%}, {row.minutes[0]:.1f} min", file=sys.stderr, flush=True)
        return row

    def compare(self, options: BuildOptions) -> None:
        """Compare every two bundles on the test split."""
        paths = [row.bundle for row in self.rows]
        self.compared = compare(paths, read_data(options, options.data, Silent()), watcher=Says())

    def as_text(self) -> str:
        """Return the table, and a line for every two rows."""
        table = [["", "float", "int8", "95 % of int8", "validation", "minutes (clock)", ""]]
        for row in self.rows:
            test = row.report.exported["test"]
            low, high = test.accuracy_95
            floats = f"{row.report.floats['test'].accuracy:.1%}" if row.report.floats else "-"
            cells = [row.name, floats, f"{test.accuracy:.1%}", f"{low:.1%} to {high:.1%}"]
            cells += [f"{row.report.exported['val'].accuracy:.1%}"]
            table.append([*cells, f"{row.minutes[0]:.1f} ({row.minutes[1]:.1f})", row.about])
        lines = [self.title, *aligned(table)]
        if self.compared is not None:
            lines += ["", *(pair.as_text() for pair in self.compared.pairs)]
        return "\n".join([*lines, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "rows": [
                {
                    "name": row.name,
                    "minutes": row.minutes[0],
                    "clock_minutes": row.minutes[1],
                    "about": row.about,
                    "exported": {split: one.to_json() for split, one in row.report.exported.items()},
                    "floats": {split: one.to_json() for split, one in (row.report.floats or {}).items()},
                }
                for row in self.rows
            ],
            "compared": None if self.compared is None else self.compared.to_json(),
            "notes": self.notes,
        }
