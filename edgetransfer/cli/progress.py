"""Tells on standard error how far the work is: one updating line on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

TERMINAL_EVERY_S = 0.1
LOG_EVERY_S = 15.0


class Progress:
    """Draws stages, steps and notes; a `Watcher` for the pipeline."""

    def __init__(self, stream: TextIO, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._quiet, self._clock = stream, quiet, clock
        self._terminal = stream.isatty()
        self._title = ""
        self._count = ""
        self._began = self._drawn = clock()
        self._stepped = False

    def stage(self, title: str) -> None:
        """Begin a stage."""
        self._end_stage()
        self._title, self._count, self._stepped = title, "", False
        self._began = self._drawn = self._clock()
        self._draw() if self._terminal else self._write(f"{title} ...\n")

    def step(self, done: int, total: int) -> None:
        """Say how much of the stage is done; may be called very often."""
        now = self._clock()
        self._stepped = True
        self._count = f"{done} of {total}" if total else f"{done}"
        if now - self._drawn < (TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            return
        self._drawn = now
        if self._terminal:
            self._draw()
        else:
            self._write(f"{self._title}: {self._count}{_left(done, total, now - self._began)}\n")

    def note(self, text: str) -> None:
        """Tell the user something, on a line of its own."""
        self._clear()
        self._write(f"note: {text}\n")
        if self._terminal and self._title:
            self._draw()

    def close(self) -> None:
        """End the last stage."""
        self._end_stage()
        self._title = ""

    def drop(self) -> None:
        """Leave the line as it is: the stage did not end well."""
        if self._terminal and self._title:
            self._write("\n")
        self._title = ""

    def _end_stage(self) -> None:
        if not self._title:
            return
        self._clear()
        took = self._clock() - self._began
        if self._terminal or self._stepped:
            self._write(f"{self._title}: {self._count + ', ' if self._count else ''}{took:.1f} s\n")

    def _draw(self) -> None:
        text = f"{self._title}: {self._count}" if self._count else f"{self._title} ..."
        width = shutil.get_terminal_size().columns - 1
        self._write(f"\r\x1b[K{text[:width]}")

    def _clear(self) -> None:
        if self._terminal and self._title:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, file=self._stream, nl=False)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Give a watcher on standard error whose line is ended in any case."""
    watcher = Progress(sys.stderr, quiet=quiet)
    try:
        yield watcher
    except BaseException:
        watcher.drop()
        raise
    watcher.close()


def _left(done: int, total: int, passed_s: float) -> str:
    """Return how long the rest may take, "" where that cannot be told."""
    if not (0 < done < total):
        return ""
    return f", about {passed_s * (total - done) / done:.0f} s left"
