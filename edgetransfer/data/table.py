"""Reads a table `path,label[,split]` of files, CSV or JSON lines, into a listing, collecting every problem."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.data.report import NOUNS, Finding
from edgetransfer.data.sources import Entry, Listing, kind_of_paths, refuse, shown
from edgetransfer.data.table_rows import Rows, read_rows

_HINT = "; for sentences text,label or text,label,split"


def list_table(path: Path, kind: str | None = None) -> Listing:
    """Return the photos or sounds that a file lists; their paths are relative to its folder.

    `kind` is "image" or "audio"; None for sounds where paths end as sounds and none as pictures.

    UTF-8 with or without a byte order mark. Of CSV the first line names the columns, in any order, and a label with a
    comma must be quoted; of JSON lines each is an object with these keys. In place of `label` there may be `labels`,
    several with "|" between, none if empty (in JSON a list), or `value`, a number.

    Raises:
        DataError: with all problems: wrong columns, a missing file, an unknown split, an empty label, the same
            path twice with different labels or splits.
    """
    table = _Table(source="path", folder=path.parent)
    read_rows(path, table, quoted="a label or path", hint=_HINT)
    problems = [*table.problems, *table.split_problems()]
    kind = kind or kind_of_paths(entry.path for entry in table.entries)
    if not table.entries and not problems:
        problems = [f"lists no {NOUNS[kind]}"]
    refuse(str(path), problems)
    return Listing(tuple(table.entries), tuple(table.ignored), kind=kind, task=table.task)


@dataclass(slots=True, kw_only=True)
class _Table(Rows):
    """The rows of a table that names files."""

    folder: Path
    ignored: list[Finding] = field(default_factory=list)
    seen: dict[str, tuple[int, Entry]] = field(default_factory=dict)

    def add(self, cells: Mapping[str, Any], line: int) -> None:
        """Add one row, or say what is wrong with it."""
        before = len(self.problems)
        label, target = self.target(cells, line)
        split = self.split(cells.get("split", ""), line)
        path = self._path(cells["path"], line)
        if len(self.problems) == before:
            self._add(Entry(path, shown(cells["path"].strip()), label, split, target=target), line)

    def _add(self, entry: Entry, line: int) -> None:
        key = os.path.normpath(entry.path)
        earlier_line, earlier = self.seen.setdefault(key, (line, entry))
        if earlier is entry:
            self.keep(entry, line)
        elif earlier.label != entry.label:
            self.say(line, f"{entry.name} is {entry.label!r} here and {earlier.label!r} in line {earlier_line}")
        elif earlier.split != entry.split:
            self.say(line, f"{entry.name} is in {entry.split} here and in {earlier.split} in line {earlier_line}")
        else:
            self.ignored.append(Finding(entry.name, f"line {line} repeats line {earlier_line}"))

    def _path(self, text: str, line: int) -> Path:
        word = text.strip()
        path = self.folder / word
        if not word:
            self.say(line, "empty path")
        elif not _is_file(path):
            slashes = "; write paths with /" if "\\" in word else ""
            self.say(line, f"no such file: {shown(word)}{slashes}")
        return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        return False
