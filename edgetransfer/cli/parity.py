"""The command parity: one set of photos through a run's Keras model and through bundles, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option
from edgetransfer.cli.progress import progress
from edgetransfer.spec.atomic import refuse_place

if TYPE_CHECKING:
    from edgetransfer.cli.progress import Progress
    from edgetransfer.pipeline.parity_report import ParityReport

GRID_SUFFIX = ".png"


def check_grid(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return where the picture goes.

    Raises:
        BadParameter: its name promises something else than a PNG.
    """
    if value is not None and value.suffix.lower() != GRID_SUFFIX:
        raise click.BadParameter(f"{str(value)!r}: expected a name that ends in {GRID_SUFFIX}", ctx, parameter)
    return value


@click.command(
    epilog=console.example(
        "edgetransfer parity waste.run waste.bundle waste_onnx.bundle --data photos/ --grid worst.png",
        "edgetransfer parity desk.bundle device.bundle --data photos/ --min-agreement 0.99 --json",
    )
)
@click.argument("artifacts", nargs=-1, required=True, type=FilePath, metavar="RUN_OR_BUNDLE...")
@click.option("--data", type=FilePath, required=True, metavar="PATH",
              help="A folder of photos or a CSV, as for build.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of splits that are made here; must be the build's.")  # fmt: skip
@click.option("--images", type=click.IntRange(1), metavar="N",
              help="Take so many images of the split, drawn by their content. [default: all]")  # fmt: skip
@click.option("--worst", type=click.IntRange(0, 200), default=12, show_default=True, metavar="N",
              help="Name, and draw, the images that are farthest apart.")  # fmt: skip
@click.option("--grid", type=FilePath, callback=check_grid, metavar="FILE",
              help="Draw the worst images with all answers as one PNG. [default: no picture]")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a picture that is there.")
@click.option("--min-agreement", type=click.FloatRange(0, 1), metavar="SHARE",
              help="Exit with 1 where an artifact gives fewer of the reference's answers, such as 0.99.")  # fmt: skip
@provider_option
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
@console.json_option
@console.quiet_option
@click.pass_context
def parity(
    ctx: click.Context,
    artifacts: tuple[Path, ...],
    data: Path,
    split: str,
    seed: int,
    images: int | None,
    worst: int,
    grid: Path | None,
    force: bool,
    min_agreement: float | None,
    providers: tuple[str, ...],
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show whether a run and its bundles compute the same.

    A run stands for its float Keras model with the head that was shipped, and is the reference; without one the
    first bundle is. First the prepared pixels are compared, alone: where the preprocessing is the same, no bit may
    differ. Then the outputs: in output steps, by their direction, by their answers. Labels are matched by name. Exits
    with 1 if pixels differ that must not, if an output is no number, or below --min-agreement.
    """
    extras.require("image")
    if grid is not None:
        refuse_place(grid, force=force, what="picture")
    from edgetransfer.data import load_dataset
    from edgetransfer.pipeline.parity import parity as run_parity
    from edgetransfer.pipeline.parity import reference_first
    from edgetransfer.pipeline.parity_artifacts import artifact_channels, is_run

    ordered = reference_first(artifacts)
    if is_run(ordered[0]):
        extras.require("train")
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        watcher.stage("reading the data")
        dataset = load_dataset(
            data,
            seed=seed,
            for_training=False,
            channels=artifact_channels(ordered[0]),
            progress=watcher.step,
            workers=workers,
        )
        report = run_parity(
            ordered,
            dataset,
            split,
            images=images,
            worst=worst,
            min_agreement=min_agreement,
            providers=providers or None,
            workers=workers,
            watcher=watcher,
        )
        if grid is not None:
            _draw(report, grid, watcher)
    console.emit(report, as_json=as_json)
    ctx.exit(0 if report.passed else 1)


def _draw(report: ParityReport, grid: Path, watcher: Progress) -> None:
    from edgetransfer.pipeline.parity_grid import draw_grid
    from edgetransfer.spec.atomic import write_atomically

    if not report.worst:
        watcher.note(f"no picture {grid}: no sample differs, or --worst is 0")
        return
    write_atomically(grid, draw_grid(report.worst))
    watcher.note(f"{len(report.worst)} images drawn: {grid}")
