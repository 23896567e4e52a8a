"""The option --from of build: a bundle of what a transfer run made, from the run's own data and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgetransfer.cli import extras
from edgetransfer.cli.build_options import FilePath, set_defaults

if TYPE_CHECKING:
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.run_folder import TransferRun

_RUN = "edgetransfer.from_run"
_OF_BACKBONE = {"backbone": "--backbone", "alpha": "--alpha", "input_px": "--input-size", "weights": "--weights",
                "normalisation": "--normalise"}  # fmt: skip
_MADE = ("output", "run")  # where something goes says nothing about what it is


def _read_run(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Make what the run was made with the defaults of the other options."""
    if value is None:
        return
    extras.require("train")
    from edgetransfer.pipeline.run_folder import load_run

    run = load_run(value)
    ctx.meta[_RUN] = run
    kept = {name: one for name, one in run.values.items() if name not in _OF_BACKBONE}
    set_defaults(ctx, "--from", {**kept, "backbone": run.backbone})


from_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--from",
    type=FilePath,
    is_eager=True,
    expose_value=False,
    callback=_read_run,
    metavar="RUN",
    help="Take backbone, DATA and options from the folder that 'transfer finetune --run RUN', distill or fuse wrote; "
    "what is also given here comes first. The data must be that of the run.",
)


def from_run(ctx: click.Context, options: BuildOptions) -> tuple[BuildOptions, list[str]]:
    """Return `options`, bound to the data of the run where --from names one, and what the user should know.

    Raises:
        UsageError: an option asks for another backbone.
    """
    run: TransferRun | None = ctx.meta.get(_RUN)
    if run is None:
        return options, []
    given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    for name, option in _OF_BACKBONE.items():
        if name in given:
            raise click.UsageError(f"{option}: --from has a backbone of its own; leave one of the two out")
    notes = [f"other versions than those of the run may give other bytes: {one}" for one in run.other_versions]
    for name in given:
        if name in run.values and name not in _MADE:
            notes.append(f"{_called(ctx, name)} is taken from the command line, not from {run.folder}")
    return replace(options, data_fingerprint=run.data), notes


def _called(ctx: click.Context, name: str) -> str:
    """Return what users call a parameter."""
    found = next(one for one in ctx.command.params if one.name == name)
    return found.opts[0] if isinstance(found, click.Option) else found.make_metavar(ctx)
