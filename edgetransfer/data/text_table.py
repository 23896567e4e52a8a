"""Reads sentences from a CSV file `text,label[,split]` or from JSON lines into a listing, collecting every problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data.report import NOUNS
from edgetransfer.data.sources import Entry, Listing, refuse
from edgetransfer.data.table_rows import Rows, read_rows


def list_sentences(path: Path) -> Listing:
    """Return the sentences of a file: CSV with columns in any order, or a JSON object in each line.

    UTF-8 with or without a byte order mark. A sentence with a comma or a line break must be quoted in CSV. Sentences
    are called by their line; one that is quoted over several lines by the last of them. `labels` and `value` may stand
    for `label` as in `list_table`.

    Raises:
        DataError: with all problems: other columns or keys, an empty sentence or label, an unknown split, some lines
            with a split and some without.
    """
    rows = _Sentences(source="text", path=path)
    read_rows(path, rows, quoted="a sentence")
    problems = [*rows.problems, *rows.split_problems()]
    if not rows.entries and not problems:
        problems = [f"lists no {NOUNS['text']}"]
    refuse(str(path), problems)
    return Listing(tuple(rows.entries), (), kind="text", task=rows.task)


@dataclass(slots=True, kw_only=True)
class _Sentences(Rows):
    """The sentences read so far."""

    path: Path

    def add(self, cells: Mapping[str, Any], line: int) -> None:
        """Add one sentence, or say what is wrong with it."""
        before = len(self.problems)
        label, target = self.target(cells, line)
        split, text = self.split(cells.get("split", ""), line), cells["text"]
        if not text.strip():
            self.say(line, "empty text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            self.say(line, "text with half of a surrogate pair, which no UTF-8 has")
        if len(self.problems) == before:
            self.keep(Entry(self.path, f"line {line}", label, split, text, target), line)
