"""Reads a CSV file `path,label[,split]` into a listing, collecting every problem."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from edgetransfer.data.report import NOUNS, Finding
from edgetransfer.data.sources import SPLIT_NAMES, Entry, Listing, clean_label, kind_of_paths, refuse, shown
from edgetransfer.errors import DataError

_COLUMNS = (("path", "label"), ("path", "label", "split"))
_EXPECTED = "path,label or path,label,split"
_HINT = "; for sentences text,label or text,label,split"


def columns_of(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file, in small letters.

    Raises:
        DataError: it cannot be read, or its first line is no CSV.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        return [name.strip().lower() for name in next(rows, [])]
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: not CSV: {error}") from error


def list_table(path: Path, kind: str | None = None) -> Listing:
    """Return the photos that a CSV file lists; their paths are relative to its folder.

    `kind` is "image" or "audio"; None for sounds where paths end as sounds and none as pictures.

    UTF-8 with or without a byte order mark; the first line names the columns, in any order. A label with a
    comma must be quoted.

    Raises:
        DataError: with all problems: wrong columns, a missing file, an unknown split, an empty label, the same
            path twice with different labels or splits.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if tuple(sorted(header)) not in {tuple(sorted(columns)) for columns in _COLUMNS}:
            raise DataError(f"{path}: line 1: expected the columns {_EXPECTED}, got {','.join(header)[:80]!r}{_HINT}")
        table = _Table(folder=path.parent, header=header)
        for row in rows:
            if any(cell.strip() for cell in row):
                table.add(row, rows.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: not CSV: {error}") from error
    problems = [*table.problems, *table.split_problems()]
    kind = kind or kind_of_paths(entry.path for entry in table.entries)
    if not table.entries and not problems:
        problems = [f"lists no {NOUNS[kind]}"]
    refuse(str(path), problems)
    return Listing(tuple(table.entries), tuple(table.ignored), kind=kind)


def read_text(path: Path) -> str:
    """Return the content of a text file without its byte order mark.

    Raises:
        DataError: it cannot be read, or is no UTF-8; says the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: expected UTF-8, got UTF-16: save it as CSV UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: expected UTF-8, got the byte 0x{content[error.start]:02x}: save it as CSV UTF-8"
        ) from error


@dataclass(slots=True, kw_only=True)
class Rows:
    """What was read so far of a file with a sample a line, and what is wrong with it."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unsplit: list[int] = field(default_factory=list)

    def split_problems(self) -> list[str]:
        """Return what is wrong with the splits as a whole: some given, some not."""
        if not self.unsplit or len(self.unsplit) == len(self.entries):
            return []
        return [f"line {line}: empty split, while other lines have one" for line in self.unsplit]

    def keep(self, entry: Entry, line: int) -> None:
        """Keep a sound entry."""
        self.entries.append(entry)
        if entry.split is None:
            self.unsplit.append(line)

    def label(self, text: str, line: int) -> str:
        """Return `text` as a label, "" after noting what is wrong with it."""
        try:
            return clean_label(text)
        except ValueError as error:
            self.say(line, str(error))
            return ""

    def split(self, text: str, line: int) -> str | None:
        """Return `text` as a split, None if there is none or, after noting it, an unknown one."""
        word = text.strip()
        split = SPLIT_NAMES.get(word.lower())
        if split is None and word:
            self.say(line, f"unknown split {word!r}, expected train, val or test")
        return split

    def say(self, line: int, problem: str) -> None:
        """Note a problem."""
        self.problems.append(f"line {line}: {problem}")


@dataclass(slots=True, kw_only=True)
class _Table(Rows):
    """The rows of a CSV file that names files."""

    folder: Path
    header: list[str]
    ignored: list[Finding] = field(default_factory=list)
    seen: dict[str, tuple[int, Entry]] = field(default_factory=dict)

    def add(self, row: list[str], line: int) -> None:
        """Add one row, or say what is wrong with it."""
        before = len(self.problems)
        if len(row) != len(self.header):
            why = "; a label or path with a comma must be quoted" if len(row) > len(self.header) else ""
            self.say(line, f"expected {len(self.header)} fields, got {len(row)}{why}")
            return
        cells = dict(zip(self.header, row, strict=True))
        label = self.label(cells["label"], line)
        split = self.split(cells.get("split", ""), line)
        path = self._path(cells["path"], line)
        if len(self.problems) == before:
            self._add(Entry(path, shown(cells["path"].strip()), label, split), line)

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
