from __future__ import annotations

import io

import pytest

from edgetransfer.cli.progress import Progress, progress


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_on_a_terminal_a_stage_is_one_line_that_is_written_over(clock):
    stream = Stream(terminal=True)
    watcher = Progress(stream, clock=clock)
    watcher.stage("reading")
    for done in range(1, 11):
        clock.now += 1
        watcher.step(done, 10)
    watcher.close()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.count("\r") == 12  # begun, ten steps, ended
    assert text.endswith("\r\x1b[Kreading: 10 of 10, 10.0 s\n")


def test_a_thousand_steps_in_no_time_are_not_drawn_a_thousand_times(clock):
    stream = Stream(terminal=True)
    watcher = Progress(stream, clock=clock)
    watcher.stage("reading")
    for done in range(1000):
        watcher.step(done, 1000)
    assert stream.getvalue().count("reading") == 1


def test_elsewhere_lines_are_sparse_and_have_no_control_characters(clock):
    stream = Stream(terminal=False)
    watcher = Progress(stream, clock=clock)
    watcher.stage("reading")
    for done in range(1, 41):
        clock.now += 1
        watcher.step(done, 40)
    watcher.note("careful")
    watcher.close()
    assert stream.getvalue().splitlines() == [
        "reading ...",
        "reading: 15 of 40, about 25 s left",
        "reading: 30 of 40, about 10 s left",
        "note: careful",
        "reading: 40 of 40, 40.0 s",
    ]


def test_a_note_on_a_terminal_stands_on_its_own_line(clock):
    stream = Stream(terminal=True)
    watcher = Progress(stream, clock=clock)
    watcher.stage("reading")
    watcher.note("careful")
    assert stream.getvalue() == "\r\x1b[Kreading ...\r\x1b[Knote: careful\n\r\x1b[Kreading ..."


def test_quiet_is_quiet(clock):
    for terminal in (True, False):
        stream = Stream(terminal=terminal)
        watcher = Progress(stream, quiet=True, clock=clock)
        watcher.stage("reading")
        watcher.step(1, 1)
        watcher.note("careful")
        watcher.close()
        assert stream.getvalue() == ""


def test_an_error_begins_on_a_new_line_and_does_not_say_that_the_stage_was_done(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr("sys.stderr", stream)

    def read() -> None:
        with progress(quiet=False) as watcher:
            watcher.stage("reading")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        read()
    assert stream.getvalue() == "\r\x1b[Kreading ...\n"
