"""The command transfer weights: parameters of one model put into another architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build import working
from edgetransfer.cli.build_options import FilePath, read_normalisation


@click.command(
    epilog=console.example(
        "edgetransfer transfer weights efficientnet-lite0.pth efficientnet_lite0 --output lite0.keras",
        "edgetransfer transfer weights mobilenet_v2:1.0 mobilenet_v2:0.5 --data photos/ --output slim.keras",
    ),
)
@click.argument("source")
@click.argument("target")
@click.option("--output", type=FilePath, metavar="NAME.keras", help="The backbone to write.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="REGEX=REPLACEMENT",
    help="Turn names of the source's layers into the target's; several are applied one after the other.",
)
@click.option(
    "--normalise",
    "normalisation",
    callback=read_normalisation,
    metavar="SCALE,ZERO_POINT",
    help="What the source expects of a pixel, SCALE * (pixel - ZERO_POINT), where its file does not say.",
)
@click.option(
    "--data",
    type=FilePath,
    metavar="DATA",
    help="Labelled photos: after channels were cut each layer is fitted to give on them what the source's gives, and "
    "the target must see as the source does before it is written.",
)
@click.option(
    "--least-agreement",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of the photos on which both must say the same. [default: what an untrained target reaches]",
)
@click.option(
    "--importance",
    type=click.Choice(["l1", "bn"]),
    help="Which channels stay: by the sum of their weights, or by the scale of their batch norm. [default: bn with "
    "--data and batch norms, else l1]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of splits, and of what is initialised at random.",
)
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
@click.option("--force", is_flag=True, help="Replace what is there already.")
@console.json_option
@console.quiet_option
def weights(
    source: str, target: str, output: Path | None, dry_run: bool, force: bool, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Put the weights of a model into another network, and write it as a backbone for build.

    SOURCE is a file of any framework that transfer inspect reads, NAME[:ALPHA[:PX]] of a registered backbone, or
    keras:FILE. TARGET is NAME[:ALPHA[:PX]] or keras:FILE. In the same architecture layers are found by name, else by
    order and shape, and where that leaves a choice it is yours (--rename). A Keras source also fills a narrower, wider,
    shallower or deeper network of the same structure.
    """
    extras.require("train")
    if (output is None) != dry_run:
        raise click.UsageError("Give either --output NAME.keras or --dry-run.")
    from edgetransfer.pipeline.transfer_weights import TransferOptions, transfer_weights

    with working(quiet, kept="nothing was written") as watcher:
        options = TransferOptions(source, target, **given)
        report = transfer_weights(options, output, force=force, watcher=watcher)
    console.emit(report, as_json=as_json)
