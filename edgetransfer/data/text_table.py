"""Reads sentences from a CSV file `text,label[,split]` or from JSON lines into a listing, collecting every problem."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetransfer.data.report import NOUNS
from edgetransfer.data.sources import Entry, Listing, refuse
from edgetransfer.data.table import Rows, read_text
from edgetransfer.errors import DataError

COLUMNS = ("text", "label")
"""What a table of sentences has, beside a split if it is given."""
JSON_SUFFIXES = (".jsonl", ".ndjson")
_KEYS = frozenset({*COLUMNS, "split"})
_EXPECTED = "text,label or text,label,split"


def list_sentences(path: Path) -> Listing:
    """Return the sentences of a file: CSV with columns in any order, or a JSON object in each line.

    UTF-8 with or without a byte order mark. A sentence with a comma or a line break must be quoted in CSV. Sentences
    are called by their line; one that is quoted over several lines by the last of them.

    Raises:
        DataError: with all problems: other columns or keys, an empty sentence or label, an unknown split, some lines
            with a split and some without.
    """
    rows = _Sentences(path=path)
    if path.suffix.lower() in JSON_SUFFIXES:
        _read_json_lines(path, rows)
    else:
        _read_csv(path, rows)
    problems = [*rows.problems, *rows.split_problems()]
    if not rows.entries and not problems:
        problems = [f"lists no {NOUNS['text']}"]
    refuse(str(path), problems)
    return Listing(tuple(rows.entries), (), kind="text")


@dataclass(slots=True, kw_only=True)
class _Sentences(Rows):
    """The sentences read so far."""

    path: Path

    def add(self, cells: Mapping[str, str], line: int) -> None:
        """Add one sentence, or say what is wrong with it."""
        before = len(self.problems)
        label, split = self.label(cells["label"], line), self.split(cells.get("split", ""), line)
        text = cells["text"]
        if not text.strip():
            self.say(line, "empty text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.say(line, "text with half of a surrogate pair, which no UTF-8 has")
        if len(self.problems) == before:
            self.keep(Entry(self.path, f"line {line}", label, split, text), line)


def _read_csv(path: Path, found: _Sentences) -> None:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if len(set(header)) != len(header) or not set(COLUMNS) <= set(header) <= _KEYS:
            raise DataError(f"{path}: line 1: expected the columns {_EXPECTED}, got {','.join(header)[:80]!r}")
        for row in rows:
            if any(cell.strip() for cell in row):
                _add_row(found, header, row, rows.line_num)
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num}: not CSV: {error}") from error


def _add_row(found: _Sentences, header: Sequence[str], row: Sequence[str], line: int) -> None:
    if len(row) != len(header):
        why = "; a sentence with a comma must be quoted" if len(row) > len(header) else ""
        found.say(line, f"expected {len(header)} fields, got {len(row)}{why}")
        return
    found.add(dict(zip(header, row, strict=True)), line)


def _read_json_lines(path: Path, found: _Sentences) -> None:
    for line, text in _lines(path):
        try:
            value = json.loads(text)
        except ValueError as error:
            found.say(line, f"not JSON: {error}")
            continue
        problem = _wrong_shape(value)
        if problem:
            found.say(line, problem)
        else:
            found.add({key: part for key, part in value.items() if part is not None}, line)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Split at line feeds only: JSON may hold other separators of Unicode as they are.
    for number, text in enumerate(read_text(path).split("\n"), 1):
        if text.strip():
            yield number, text


def _wrong_shape(value: object) -> str:
    """Return what is wrong with a line's JSON value, "" if it has texts under the right keys."""
    if not isinstance(value, dict):
        return f'expected {{"text": ..., "label": ...}}, got {json.dumps(value)[:40]}'
    missing = [key for key in COLUMNS if key not in value]
    if missing:
        return f"no {' and no '.join(map(repr, missing))}"
    unknown = sorted(set(value) - _KEYS)
    if unknown:
        return f"unknown key {unknown[0]!r}, expected text, label and split"
    wrong = [key for key, part in value.items() if not isinstance(part, str) and (key != "split" or part is not None)]
    return f"{wrong[0]}: expected a text, got {json.dumps(value[wrong[0]])[:40]}" if wrong else ""
