"""The command transfer reshape: a backbone cut, resized, or freed of activations that a device lacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build import working
from edgetransfer.cli.build_options import FilePath, read_normalisation

if TYPE_CHECKING:
    from edgetransfer.spec.preprocess import Normalisation


@click.command(
    epilog=console.example(
        "edgetransfer transfer reshape efficientnet_lite0 --cut block10_add --output shallow.keras",
        "edgetransfer transfer reshape mobilenet_v3_small --simple-activations --output simple.keras",
    )
)
@click.argument("backbone")
@click.option("--alpha", type=click.FloatRange(0, min_open=True), metavar="FACTOR", help="Width multiplier.")
@click.option("--input-size", "input_px", type=click.IntRange(1), metavar="PX", help="Another input size.")
@click.option("--weights", type=FilePath, metavar="FILE", help="Pretrained weights from this file.")
@click.option("--normalise", "normalisation", callback=read_normalisation, metavar="SCALE,ZERO_POINT",
              help="What a keras:PATH model expects of a pixel, as for build.")  # fmt: skip
@click.option("--cut", metavar="LAYER",
              help="End there: features are the mean of that layer's map. A wrong name gets the nearest.")  # fmt: skip
@click.option("--simple-activations", is_flag=True,
              help="Put ReLU6 in the place of swish and the like, which integer engines compute slowly.")  # fmt: skip
@click.option("--output", type=FilePath, required=True, metavar="NAME.keras", help="The backbone to write.")
@click.option("--force", is_flag=True, help="Replace what is there already.")
@console.json_option
@console.quiet_option
def reshape(
    backbone: str,
    alpha: float | None,
    input_px: int | None,
    weights: Path | None,
    normalisation: Normalisation | None,
    cut: str | None,
    simple_activations: bool,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Change a backbone's structure for a device, and keep its weights.

    BACKBONE is a name of 'edgetransfer backbones' or keras:PATH. A cut and another size leave a working backbone;
    other activations make another function of it, which tuning repairs.
    """
    extras.require("train")
    from edgetransfer.pipeline.reshape import reshape as run
    from edgetransfer.spec.backbone import BackboneChoice

    choice = BackboneChoice(backbone, alpha, input_px, weights, normalisation)
    with working(quiet, kept="nothing was written") as watcher:
        report: Any = run(choice, output, cut=cut, simple_activations=simple_activations, force=force, watcher=watcher)
    console.emit(report, as_json=as_json)
