"""What was found in a data set: counts, files left out, copies and leaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

SPLITS = ("train", "val", "test")

Kind = Literal["exact", "near"]
NOUNS = {"image": "photo", "audio": "sound", "text": "sentence"}
"""What a sample is called, by kind of input."""
_FEW = 5  # lines of each list that the text form shows


@dataclass(frozen=True, slots=True)
class Finding:
    """A file, relative to the data set, and why it is not used."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Copies:
    """Files with the same photo: "exact" are the same bytes, "near" the same picture saved another way.

    Of sounds there are exact ones only. Sentences that differ in nothing but blanks and in how Unicode writes a letter
    are exact.

    `labels` are the different labels they carry, `action` says what was done with them.
    """

    kind: Kind
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    action: str


@dataclass(frozen=True, slots=True)
class Leak:
    """A photo of one split that is also in a later one, so that results there look better than they are.

    `dropped` says whether it was taken out of training; `same_label` whether both carry one label.
    """

    kind: Kind
    path: str
    split: str
    other_path: str
    other_split: str
    same_label: bool
    dropped: bool


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a data set holds and what was left out of it.

    Attributes:
        source: the folder or CSV file, as it was given.
        labels: all classes, in the order of the model's outputs.
        counts: samples for each split and label.
        splits_made: the splits that edgetransfer made; the others were given.
        left_out: photos that are not used, with the reason.
        ignored: files that are not photos.
        copies: copies within what edgetransfer split, and copies that contradict one another.
        leaks: copies across splits that were given.
        notes: anything else worth knowing, in sentences.
        kind: of input: "image", "audio" or "text".
        task: "single_label"; "multi_label", where a sample counts once for each of its labels; or "regression", which
            has no labels.
        samples: samples of each split.
        values: of "regression": the least, the median and the greatest value of each split that has samples.
    """

    source: str
    labels: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    splits_made: tuple[str, ...]
    left_out: tuple[Finding, ...]
    ignored: tuple[Finding, ...]
    copies: tuple[Copies, ...]
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]
    kind: str = "image"
    task: str = "single_label"
    samples: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def conflicts(self) -> tuple[Copies, ...]:
        """Exact copies that carry different labels: at least one of them is wrong."""
        return tuple(c for c in self.copies if c.kind == "exact" and len(c.labels) > 1)

    def to_json(self) -> dict[str, Any]:
        """Return the whole report as JSON values."""
        return {
            "report": "data",
            "kind": self.kind,
            "task": self.task,
            "source": self.source,
            "labels": list(self.labels),
            "counts": {split: dict(by_label) for split, by_label in self.counts.items()},
            "samples": dict(self.samples),
            "values": {split: list(values) for split, values in self.values.items()},
            "splits_made": list(self.splits_made),
            "left_out": [_plain(f) for f in self.left_out],
            "ignored": [_plain(f) for f in self.ignored],
            "copies": [_plain(c) for c in self.copies],
            "leaks": [_plain(leak) for leak in self.leaks],
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """Return the report as plain text: all counts, and the first few of everything else."""
        made = f" ({', '.join(self.splits_made)} made here)" if self.splits_made else " (as given)"
        noun = NOUNS[self.kind]
        what = {"multi_label": f"{len(self.labels)} labels", "regression": "a value each"}
        classes = what.get(self.task, f"{len(self.labels)} classes")
        lines = [f"{self.source}: {sum(self.samples.values())} {noun}s, {classes}{made}", *self._table()]
        sections = (
            ("left out", [f"{f.path}: {f.reason}" for f in self.left_out]),
            (f"ignored, not {noun}s", [f"{f.path}: {f.reason}" for f in self.ignored]),
            (f"same {noun} under different labels", [_copies_line(c) for c in self.conflicts]),
            ("copies", [_copies_line(c) for c in self.copies if c not in self.conflicts]),
            ("leaks between splits", [_leak_line(leak) for leak in self.leaks]),
        )
        shortened = False
        for title, items in sections:
            if items:
                lines += [f"{title}: {len(items)}", *(f"  {item}" for item in items[:_FEW])]
            if len(items) > _FEW:
                lines.append(f"  and {len(items) - _FEW} more")
                shortened = True
        lines += self.notes
        if shortened:
            lines.append("All of them: --json.")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [["class" if self.task == "single_label" else "label", *SPLITS]]
        rows += [[label, *(str(self.counts[split].get(label, 0)) for split in SPLITS)] for label in self.labels]
        if self.task == "regression":
            rows = [["value", *SPLITS]]
            for place, name in enumerate(("least", "median", "greatest")):
                found = [self.values.get(split) for split in SPLITS]
                rows.append([name, *("-" if one is None else f"{one[place]:g}" for one in found)])
        rows.append(["all", *(str(self.samples.get(split, 0)) for split in SPLITS)])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]


def _plain(value: Any) -> dict[str, Any]:
    fields = {name: getattr(value, name) for name in value.__slots__}
    return {name: list(field) if isinstance(field, tuple) else field for name, field in fields.items()}


def _copies_line(copies: Copies) -> str:
    more = f" and {len(copies.paths) - 3} more" if len(copies.paths) > 3 else ""
    labels = f" [{', '.join(copies.labels)}]" if len(copies.labels) > 1 else ""
    return f"{copies.kind}: {' = '.join(copies.paths[:3])}{more}{labels}: {copies.action}"


def _leak_line(leak: Leak) -> str:
    verdict = "dropped from training" if leak.dropped else "kept"
    labels = "" if leak.same_label else ", with another label"
    return f"{leak.kind}: {leak.path} ({leak.split}) = {leak.other_path} ({leak.other_split}{labels}): {verdict}"
