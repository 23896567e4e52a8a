"""What all commands share: reports on standard output, progress on standard error, errors as one line."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NoReturn, Protocol, TypeVar

import click

from edgetransfer.cli import extras
from edgetransfer.errors import DataError, EdgetransferError

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_PROBLEMS = 20
EXIT_INTERNAL = 70  # sysexits.h: EX_SOFTWARE
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_KEPT = "edgetransfer.kept"


class Report(Protocol):
    """What a command ends with."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""

    def as_text(self) -> str:
        """Return the report for people."""


class Group(click.Group):
    """A group that answers a misspelt command with the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with.

        Raises:
            UsageError: there is none; says which is near.
        """
        names = self.list_commands(ctx)
        if args and args[0] not in names and args[0][:1].isalnum() and not ctx.resilient_parsing:
            near = get_close_matches(args[0], names, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}."
            ctx.fail(f"No such command {args[0]!r}.{guess}")
        return super().resolve_command(ctx, args)


def example(*lines: str) -> str:
    """Return the end of a command's help: what to type, one line each, left as it is."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  {line}" for line in lines)])


def json_option(function: Function) -> Function:
    """Add --json, which the function gets as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on standard output, nothing else there."
    )(function)


def quiet_option(function: Function) -> Function:
    """Add --quiet."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on standard error.")(function)


def emit(report: Report, *, as_json: bool) -> None:
    """Print `report` on standard output."""
    if as_json:
        emit_json(report.to_json())
    else:
        click.echo(report.as_text().rstrip("\n"))


def emit_json(document: Any, *, one_line: bool = False) -> None:
    """Print one JSON document on standard output, at once; a stream of them has each on one line."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "").replace("_", "")
    click.echo(json.dumps(document, indent=None if one_line else 2, ensure_ascii=encoding != "utf8", allow_nan=False))


def table(rows: list[list[str]]) -> str:
    """Return `rows` with their columns aligned to the left; the first row is the head."""
    from edgetransfer.spec.text_table import aligned  # here: --help loads no numpy, which `spec` needs

    return "\n".join(aligned(rows, left=len(rows[0])))


def interrupted_keeps(what: str) -> None:
    """Say what Ctrl-C leaves behind from here on; shown when it comes."""
    click.get_current_context().meta[_KEPT] = what


@contextmanager
def standard_output_kept() -> Iterator[None]:
    """Send what libraries and their children print on standard output to standard error, C++ included."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def log_to_stderr() -> None:
    """Send the package's own log to standard error until the command ends."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)7d ms %(name)s: %(message)s"))
    logger = logging.getLogger("edgetransfer")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    click.get_current_context().call_on_close(lambda: logger.removeHandler(handler))


@contextmanager
def errors_as_lines(ctx: click.Context) -> Iterator[None]:
    """Turn what goes wrong into one line on standard error and an exit code."""
    try:
        yield
    except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
        raise  # click knows what to do with its own
    except KeyboardInterrupt:
        kept = ctx.meta.get(_KEPT, "nothing was changed")
        _fail(ctx, f"\nInterrupted: {kept}; run the same command again to go on", EXIT_INTERRUPTED)
    except ModuleNotFoundError as missing:
        advice = extras.advice(missing.name or "")
        if advice is None:
            _fail(ctx, _internal(missing), EXIT_INTERNAL)
        _fail(ctx, f"Error: {advice}", 1)
    except EdgetransferError as error:
        click.echo(f"Error: {one_line(str(error))}", err=True)
        if isinstance(error, DataError):
            _list_problems(error)
        ctx.exit(1)
    except OSError as error:
        _fail(ctx, f"Error: {os_error_text(error)}", 1)
    except MemoryError:
        _fail(ctx, "Error: not enough memory; close other programs, or give fewer --workers", 1)
    except Exception as error:
        _fail(ctx, _internal(error), EXIT_INTERNAL)


def one_line(text: str) -> str:
    """Return `text` without line breaks."""
    return " ".join(part.strip() for part in text.splitlines() if part.strip())


def os_error_text(error: OSError) -> str:
    """Return what the system said, the file first, and what to do where that is plain."""
    if error.strerror is None:
        return one_line(str(error)) or type(error).__name__
    where = f"{error.filename}: " if error.filename else ""
    hint = "; make room and run the same command again" if error.errno == errno.ENOSPC else ""
    return one_line(f"{where}{error.strerror}{hint}")


def _fail(ctx: click.Context, line: str, code: int) -> NoReturn:
    click.echo(line, err=True)
    ctx.exit(code)


def _internal(error: Exception) -> str:
    what = one_line(f"{type(error).__name__}: {error}")
    return f"Internal error: {what}; run again as 'edgetransfer --debug ...' and report what it prints"


def _list_problems(error: DataError) -> None:
    """Print the problems that the message does not already name."""
    problems = [problem for problem in error.problems if problem not in str(error)]
    for problem in problems[:MAX_PROBLEMS]:
        click.echo(f"  {one_line(problem)}", err=True)
    if len(problems) > MAX_PROBLEMS:
        click.echo(f"  ... and {len(problems) - MAX_PROBLEMS} more", err=True)
