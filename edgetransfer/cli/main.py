"""The command `edgetransfer`: a table of commands whose files are imported only when one is called."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from typing import Any

import click

from edgetransfer import __version__
from edgetransfer.cli import console

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Build": {
        "demo": ("build", "Build and check a small bundle from data that pip brings"),
        "build": ("build", "Build a verified bundle from labelled examples: all stages"),
        "plan": ("build", "Show what would be built, what not, and why"),
        "recommend": ("recommend", "Choose backbone, input size and recipe for photos and a device"),
        "train": ("build", "Train a head and keep it in a run folder"),
        "export": ("build", "Write a trained run as a bundle"),
        "heads": ("heads", "List, train, add or remove heads of a bundle"),
        "transfer": ("transfer", "Move what one model has learned into another"),
    },
    "Use and check, on the device too": {
        "run": ("run", "Say what is in images, sounds or sentences"),
        "verify": ("check", "Check that a bundle is whole and computes what it should"),
        "evaluate": ("check", "Measure how right a bundle is on labelled examples"),
        "parity": ("parity", "Show whether a run and its bundles compute the same"),
        "profile": ("check", "Measure how fast and how large a bundle is here"),
        "inspect": ("inspect", "Show what is in a bundle"),
        "report": ("report", "Write one page about a bundle: what it is, how right, how fast"),
    },
    "Look up": {
        "devices": ("devices", "List the known devices, show one, or check a file"),
        "backbones": ("catalogue", "List the pretrained backbones"),
        "recipes": ("catalogue", "List the ways to store and compute numbers"),
        "weights": ("catalogue", "List pretrained weights, or fetch them"),
        "doctor": ("doctor", "Tell what is installed, what is missing, and how to mend it"),
    },
}
"""Commands by section, in the order of the work: name -> (file in edgetransfer/cli, first line of its help)."""

_COMMANDS = {name: entry for commands in SECTIONS.values() for name, entry in commands.items()}


class LazyGroup(console.Group):
    """A group that knows its commands' names and first lines by heart, and imports only what is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command `cmd_name`, None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"edgetransfer.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong becomes one line, unless --debug asks for the traceback."""
        if ctx.params["debug"]:
            return super().invoke(ctx)
        with console.errors_as_lines(ctx):
            return super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=console.example(
        "edgetransfer build photos/ --device raspberry_pi_4 --output waste.bundle",
        "edgetransfer run waste.bundle bottle.jpg",
    ),
)
@click.option("--debug", is_flag=True, help="Show tracebacks and the program's log.")
@click.version_option(__version__, prog_name="edgetransfer")
def cli(debug: bool) -> None:
    """From a folder of labelled photos to a verified model on a small device."""
    if debug:
        console.log_to_stderr()


def main() -> None:
    """Run the command line and leave the process with its exit code."""
    _open_closed_streams()
    if "--debug" not in sys.argv[1:2]:
        _hush_libraries()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a label must not stop a terminal that cannot show it
    cli(prog_name="edgetransfer")


def _open_closed_streams() -> None:
    """Give a stream that the caller closed to nowhere, so that no other file becomes descriptor 1 or 2."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", closefd=False))


def _hush_libraries() -> None:
    """Keep what libraries say, in Python's warnings and in C++, away from our lines; --debug shows it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # LiteRT announces its delegates on descriptor 2 and cannot be told not to, so Python's stream moves elsewhere.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
