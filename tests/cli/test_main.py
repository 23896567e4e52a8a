from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest

import edgetransfer
from edgetransfer.cli.main import SECTIONS, cli
from edgetransfer.models import backbones
from edgetransfer.spec.device import device_names

HEAVY = ("numpy", "keras", "tensorflow", "PIL", "ai_edge_litert", "edgetransfer.spec", "edgetransfer.runtime")
TABLE = {name: entry for commands in SECTIONS.values() for name, entry in commands.items()}


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in TABLE:
        command = cli.get_command(click.Context(cli), name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


def test_the_commands_of_the_pipeline_are_all_there():
    assert set(TABLE) == {
        *("demo", "build", "plan", "train", "export", "verify", "evaluate", "parity", "profile", "run", "inspect"),
        *("recommend", "report", "devices", "backbones", "recipes", "weights", "doctor", "heads", "transfer"),
    }


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_has_help_with_an_example_that_calls_it(path, call):
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"edgetransfer {' '.join(path)}" in result.stdout.split("Example", 1)[1]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_commands_says_what_the_command_says_of_itself(name):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == TABLE[name][1] + "."


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["build", "--help"], ["run", "--help"]])
def test_help_loads_neither_numpy_nor_keras(arguments):
    code = (
        "import sys\nfrom edgetransfer.cli.main import main\n"
        f"sys.argv = ['edgetransfer', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stdout.write('\\n' + ' '.join(sys.modules))"
    )
    root = Path(edgetransfer.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "click" in modules
    assert not modules & set(HEAVY)


def test_help_lists_every_command_with_its_line(call):
    lines = call("--help").stdout.splitlines()
    for name, (_, short) in TABLE.items():
        assert any(line.split() == [name, *short.split()] for line in lines), name


def test_version_is_the_packages(call):
    assert call("--version").stdout == f"edgetransfer, version {edgetransfer.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(["biuld"], "'build'"), (["evalute", "x"], "'evaluate'"), (["devices", "shwo"], "'show'")],
)
def test_a_misspelt_command_is_answered_with_the_nearest(arguments, near, call):
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"Did you mean {near}?" in result.stderr


def test_a_word_that_is_near_no_command_gets_the_list_of_all(call):
    assert "Known: demo, build, plan" in call("xyzzy").stderr


def test_a_misspelt_option_is_answered_with_the_nearest(call):
    result = call("recipes", "--jsn")
    assert result.exit_code == 2
    assert "--json" in result.stderr


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_examples_speak_of_devices_and_backbones_that_there_are(path, call):
    words = call(*path, "--help").stdout.split("Example", 1)[1].split()
    named = dict(pairwise(words))
    device = named.get("--device", "./a_file.toml")
    assert device in device_names() or re.fullmatch(r"\./\w+\.toml", device)
    backbone = named.get("--backbone", backbones.names()[0])
    assert backbone in backbones.names() or backbone.startswith(backbones.OWN)


def test_debug_lets_the_exception_through(process):
    assert "Traceback" in process("--debug", "verify", "no_such.bundle").stderr


def test_without_debug_an_error_is_one_line_on_standard_error(process):
    done = process("verify", "no_such.bundle", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: bundle 'no_such.bundle'")
    assert done.stderr.count("\n") == 1


def test_libraries_leave_standard_error_alone(process, bundle, photos):
    done = process("run", bundle, photos / "red")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 8


def test_a_reader_that_goes_away_is_no_trouble(bundle, photos):
    root = Path(edgetransfer.__file__).parents[1]
    command = [sys.executable, "-m", "edgetransfer", "run", str(bundle), str(photos)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""


def test_ctrl_c_ends_with_one_line_and_130(bundle, photos):
    root = Path(edgetransfer.__file__).parents[1]
    command = [sys.executable, "-m", "edgetransfer", "run", str(bundle), str(photos / "red" / "0.png"), "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def hear_ctrl_c() -> None:
        # A shell that starts the tests in the background has them ignore Ctrl-C, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(command, cwd=root, text=True, preexec_fn=hear_ctrl_c, **pipes) as child:
        assert child.stdout is not None
        assert "red" in child.stdout.readline()  # now it waits for standard input
        child.send_signal(signal.SIGINT)
        try:
            child.wait(30)
        finally:
            child.kill()
        assert child.stderr is not None
        lines = child.stderr.read().strip().splitlines()
        assert child.returncode == 130
    assert lines == ["Interrupted: nothing was changed; run the same command again to go on"]


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_stream_is_no_trouble(closed, bundle, photos):
    root = Path(edgetransfer.__file__).parents[1]
    line = f"{sys.executable} -m edgetransfer evaluate {bundle} --data {photos} --json {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    if closed == "2>&-":
        assert json.loads(done.stdout)["accuracy"] == 1.0
