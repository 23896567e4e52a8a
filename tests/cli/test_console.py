from __future__ import annotations

import errno
import json
import os
import sys

import click
import pytest
from click.testing import CliRunner

from edgetransfer.cli import console, extras
from edgetransfer.errors import DataError, InputError


def outcome_of(error: BaseException, *, kept: str | None = None):
    """Return what a command that ends in `error` leaves."""

    @click.command()
    @click.pass_context
    def command(ctx: click.Context) -> None:
        with console.errors_as_lines(ctx):
            if kept:
                console.interrupted_keeps(kept)
            raise error

    return CliRunner().invoke(command)


def test_an_error_on_purpose_is_one_line_and_exit_code_1():
    result = outcome_of(InputError("image x: broken\n  on two lines"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: image x: broken on two lines\n"


def test_the_problems_of_a_data_set_are_listed_below_at_most_twenty():
    result = outcome_of(DataError("25 problems", [f"problem {i}" for i in range(25)]))
    lines = result.stderr.splitlines()
    assert lines[0] == "Error: 25 problems"
    assert lines[1:21] == [f"  problem {i}" for i in range(20)]
    assert lines[21:] == ["  ... and 5 more"]


def test_a_problem_that_the_message_names_is_not_told_twice():
    result = outcome_of(
        DataError("2 problems: class 'a' is empty; class 'b' is empty", ["class 'a' is empty", "other"])
    )
    assert result.stderr.splitlines()[1:] == ["  other"]


def test_a_full_disk_is_named_with_its_file_and_a_way_out():
    result = outcome_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "waste.run/run.npz"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: waste.run/run.npz: No space left on device; make room")


def test_a_failure_of_the_system_without_words_still_has_a_line():
    assert outcome_of(OSError()).stderr == "Error: OSError\n"


def test_an_unexpected_exception_is_an_internal_error_and_no_traceback():
    result = outcome_of(ZeroDivisionError("division by zero"))
    assert result.exit_code == 70
    assert result.stderr.startswith("Internal error: ZeroDivisionError: division by zero; run again as")
    assert result.stderr.count("\n") == 1


def test_too_little_memory_is_no_internal_error():
    result = outcome_of(MemoryError())
    assert result.exit_code == 1
    assert "not enough memory" in result.stderr


def test_ctrl_c_says_what_is_kept():
    result = outcome_of(KeyboardInterrupt(), kept="the cache is kept")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted: the cache is kept; run the same command again to go on"


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("keras.src", "pip install 'edgetransfer[train]'"),
        ("ai_edge_quantizer", "pip install 'edgetransfer[train]'"),
        ("PIL", "pip install 'edgetransfer[image]'"),
        ("sklearn", "pip install 'edgetransfer[demo]'"),
    ],
)
def test_a_missing_package_is_answered_with_the_command_that_brings_it(module, command, monkeypatch):
    monkeypatch.setattr(extras, "python_builds", lambda: True)
    result = outcome_of(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert result.exit_code == 1
    assert result.stderr == f"Error: the package {module.split('.')[0]!r} is not installed: {command}\n"


def test_a_missing_module_of_our_own_is_an_internal_error():
    assert outcome_of(ModuleNotFoundError("No module named 'edgetransfer.x'", name="edgetransfer.x")).exit_code == 70


def test_what_libraries_print_goes_to_standard_error(capfd):
    with console.standard_output_kept():
        print("from Python")
        os.write(1, b"from below\n")
        sys.stdout.flush()
    print("ours")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert sorted(err.splitlines()) == ["from Python", "from below"]


def test_standard_output_comes_back_after_an_error(capfd):
    with pytest.raises(InputError), console.standard_output_kept():
        raise InputError("x")
    os.write(1, b"ours\n")
    assert capfd.readouterr().out == "ours\n"


def test_json_keeps_labels_readable_where_the_terminal_can_show_them():
    @click.command()
    def command() -> None:
        console.emit_json({"label": "Müll"})

    assert "Müll" in CliRunner(charset="utf-8").invoke(command).stdout
    assert json.loads(CliRunner(charset="ascii").invoke(command).stdout) == {"label": "Müll"}
