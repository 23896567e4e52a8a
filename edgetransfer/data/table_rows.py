"""Reads the rows of a table of samples, CSV or JSON lines, collecting every problem by its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.data.sources import SPLIT_NAMES, Entry
from edgetransfer.data.targets import ANSWERS, SEPARATOR, Target, read_answer
from edgetransfer.errors import DataError

JSON_SUFFIXES = (".jsonl", ".ndjson")
SOURCES = ("path", "text")
"""The columns that can hold the sample itself."""
_OTHER_ANSWERS = f"; labels (several, with {SEPARATOR} between) or value (a number) may stand for label"
_TYPES = {"labels": "a list of texts", "value": "a number"}


def columns_of(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file, in small letters, or the keys of the first of JSON lines.

    Raises:
        DataError: it cannot be read, or its first line is no CSV.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        return list(next(_objects(path), {}))
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        return _names(next(rows, []))
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: not CSV: {error}") from error


def task_of(path: Path) -> str:
    """Return the kind of task that the data in `path` makes; "single_label" of folders and of what cannot be read."""
    if path.is_dir() or not path.exists():
        return ANSWERS["label"]
    try:
        return ANSWERS[answer_of(columns_of(path))]
    except DataError:  # whoever reads it all says what is wrong
        return ANSWERS["label"]


def answer_of(columns: Sequence[str]) -> str:
    """Return the column of ANSWERS that is among `columns`; "label" where none is."""
    return next((name for name in ANSWERS if name in columns), "label")


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
    """What was read so far of a file with a sample a line, and what is wrong with it.

    `source` is the column with the sample itself, `answer` the one of ANSWERS that the file has.
    """

    source: str
    answer: str = "label"
    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unsplit: list[int] = field(default_factory=list)

    @property
    def task(self) -> str:
        """The kind of task that the answers make."""
        return ANSWERS[self.answer]

    def add(self, cells: Mapping[str, Any], line: int) -> None:
        """Add one sample, or say what is wrong with it."""
        raise NotImplementedError

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

    def target(self, cells: Mapping[str, Any], line: int) -> tuple[str, Target]:
        """Return a line's answer as text and as target, nothing after noting what is wrong with it."""
        try:
            return read_answer(self.answer, cells[self.answer])
        except ValueError as error:
            self.say(line, str(error))
            return "", None

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


def read_rows(path: Path, rows: Rows, *, quoted: str, hint: str = "") -> None:
    """Add every line of `path` to `rows`.

    Args:
        path: A CSV file whose first line names the columns, in any order, or JSON lines.
        rows: Takes the samples and the problems.
        quoted: What must be quoted if it has a comma, for messages.
        hint: What else the columns could be, for messages.

    Raises:
        DataError: no CSV, or other columns.
    """
    if path.suffix.lower() in JSON_SUFFIXES:
        rows.answer = answer_of(columns_of(path))
        _read_json_lines(path, rows)
    else:
        _read_csv(path, rows, quoted, hint)


def _read_csv(path: Path, found: Rows, quoted: str, hint: str) -> None:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = _names(next(rows, []))
        found.answer = answer_of(header)
        needed = {found.source, found.answer}
        if len(set(header)) != len(header) or not needed <= set(header) <= needed | {"split"}:
            expected = f"{found.source},label or {found.source},label,split"
            got = ",".join(header)[:80]
            raise DataError(f"{path}: line 1: expected the columns {expected}, got {got!r}{hint}{_OTHER_ANSWERS}")
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                why = f"; {quoted} with a comma must be quoted" if len(row) > len(header) else ""
                found.say(rows.line_num, f"expected {len(header)} fields, got {len(row)}{why}")
            else:
                found.add(dict(zip(header, row, strict=True)), rows.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: not CSV: {error}") from error


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def _read_json_lines(path: Path, found: Rows) -> None:
    for line, text in _lines(path):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.say(line, f"not JSON: {error}")
            continue
        problem = _wrong_shape(value, found.source, found.answer)
        if problem:
            found.say(line, problem)
        else:
            found.add({key: part for key, part in value.items() if part is not None}, line)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Split at line feeds only: JSON may hold other separators of Unicode as they are.
    for number, text in enumerate(read_text(path).split("\n"), 1):
        if text.strip():
            yield number, text


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of JSON lines; what is none is left to whoever reads them all."""
    for _, text in _lines(path):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _wrong_shape(value: object, source: str, answer: str) -> str:
    """Return what is wrong with a line's JSON value, "" if it has what it should under the right keys."""
    if not isinstance(value, dict):
        return f'expected {{"{source}": ..., "{answer}": ...}}, got {json.dumps(value)[:40]}'
    missing = [key for key in (source, answer) if key not in value]
    if missing:
        return f"no {' and no '.join(map(repr, missing))}"
    unknown = sorted(set(value) - {source, answer, "split"})
    if unknown:
        return f"unknown key {unknown[0]!r}, expected {source}, {answer} and split"
    for key, part in value.items():
        if not _is_sound(key, part):
            return f"{key}: expected {_TYPES.get(key, 'a text')}, got {json.dumps(part)[:40]}"
    return ""


def _is_sound(key: str, part: object) -> bool:
    if key == "labels":
        return isinstance(part, list) and all(isinstance(one, str) for one in part)
    if key == "value":
        return isinstance(part, (int, float)) and not isinstance(part, bool)
    return isinstance(part, str) or (key == "split" and part is None)
