"""The command transfer adapt: from labelled photos of one domain to heads for another that has no labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build import working
from edgetransfer.cli.build_options import FilePath, build_options

if TYPE_CHECKING:
    from edgetransfer.pipeline.options import BuildOptions


def _ways(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(way.strip() for way in value.split(",")))


@click.command(
    epilog=console.example(
        "edgetransfer transfer adapt catalogue/ --target camera/ --target-labels camera.csv",
        "edgetransfer transfer adapt catalogue/ --target camera/ --how coral --output shelf.bundle",
        "edgetransfer transfer adapt catalogue/ --target camera/ --how pseudo --labels more.csv",
    )
)
@build_options
@click.option("--target", type=FilePath, required=True, metavar="PHOTOS",
              help="A folder with photos from where the device will be, whatever they show.")  # fmt: skip
@click.option("--target-labels", "judge", type=FilePath, metavar="DATA",
              help="Labelled photos from there, to measure with. Of folders val and test (or such a column) the first "
              "chooses the way, if one is clearly ahead, and the second is reported.")  # fmt: skip
@click.option("--how", "ways", callback=_ways, default="none,coral,importance,pseudo", show_default=True,
              metavar="WAYS",
              help="What is tried: nothing; source features moved to the target's mean and covariance; source photos "
              "weighted by how much they look like the target; target photos labelled by the head itself.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True, metavar="SHARE",
              help="How often a pseudo-label is to be right, judged on the source's validation split.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True, metavar="N",
              help="Of pseudo-labels: how often they are given anew.")  # fmt: skip
@click.option("--most-each", type=click.IntRange(1), metavar="N",
              help="Pseudo-labels of one class at most. [default: an even share of the photos]")  # fmt: skip
@click.option("--output", "adapted_bundle", type=FilePath, metavar="NAME.bundle",
              help="A bundle with the head of the chosen way.")  # fmt: skip
@click.option("--labels", "labels_file", type=FilePath, metavar="FILE.csv",
              help="The source's photos and the pseudo-labelled ones, as data for build.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace what is there already.")
@console.json_option
@console.quiet_option
def adapt(
    options: BuildOptions,
    target: Path,
    judge: Path | None,
    ways: tuple[str, ...],
    rate: float,
    rounds: int,
    most_each: int | None,
    adapted_bundle: Path | None,
    labels_file: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make heads for photos that look otherwise than those with labels.

    DATA has the labels, such as photos of a catalogue; --target has photos of what the device will see, without labels.
    All ways are measured on features of the deployed backbone, on the source's test split and with --target-labels in
    the target too. Without labels that are set apart to choose by, the way is "none", or the only one that --how
    names: what helps in one place harms in another. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.adapt import AdaptOutputs
    from edgetransfer.pipeline.adapt import adapt as run
    from edgetransfer.transfer.adaptation import AdaptOptions

    outputs = AdaptOutputs(adapted_bundle, labels_file, force)
    how = AdaptOptions(rate, rounds, most_each)
    with working(quiet) as watcher:
        report = run(options, target, ways=ways, judge=judge, how=how, outputs=outputs, watcher=watcher)
    console.emit(report, as_json=as_json)
