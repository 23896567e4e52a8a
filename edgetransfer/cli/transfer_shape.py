"""The command transfer reshape: a backbone cut, resized, moved to another camera, or freed of activations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
        "edgetransfer transfer reshape efficientnet_lite0 --channels 1 --data photos/ --output grey.keras",
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
@click.option("--channels", type=click.IntRange(1, 4), metavar="N",
              help="Of the camera: 1 (grey) or 4 (RGB and one more, as near infrared). The stem is adapted."
              )  # fmt: skip
@click.option("--fourth", type=click.Choice(["zero", "mean"]), metavar="zero|mean",
              help="Kernel of the fourth channel: zero changes nothing before it is tuned, mean is that of R, G and B. "
              "[default: zero]")  # fmt: skip
@click.option("--data", type=FilePath, metavar="DATA",
              help="Photos to measure on: the backbone as it came and as it is now, deployed, with new heads."
              )  # fmt: skip
@click.option("--recipe", metavar="NAME", help="What to deploy with for --data. [default: as for build]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of the splits of --data.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
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
    channels: int | None,
    fourth: Literal["zero", "mean"] | None,
    data: Path | None,
    output: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
    **measuring: Any,
) -> None:
    """Change a backbone's structure for a device, and keep its weights.

    BACKBONE is a name of 'edgetransfer backbones' or keras:PATH. A cut, another size and a grey camera leave a working
    backbone; other activations make another function of it, which tuning repairs. Bundles of a grey backbone turn
    photos in colour grey by themselves.
    """
    extras.require("train")
    if fourth is not None and channels != 4:
        raise click.UsageError("--fourth is for --channels 4")
    if data is None and measuring["recipe"] is not None:
        raise click.UsageError("--recipe is for --data")
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.reshape import reshape as run
    from edgetransfer.spec.backbone import BackboneChoice

    choice = BackboneChoice(backbone, alpha, input_px, weights, normalisation)
    with working(quiet, kept="nothing was written") as watcher:
        report: Any = run(
            choice,
            output,
            cut=cut,
            simple_activations=simple_activations,
            channels=channels,
            fourth=fourth or "zero",
            measured_on=None if data is None else BuildOptions(data, choice, **measuring),
            force=force,
            watcher=watcher,
        )
    console.emit(report, as_json=as_json)
