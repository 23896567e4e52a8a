"""The command recommend: which backbone, input size and recipe to build with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, config_option, read_normalisation
from edgetransfer.cli.progress import progress
from edgetransfer.spec.atomic import refuse_place

PICTURES = (".svg", ".png")


def check_picture(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """Return where the picture goes.

    Raises:
        BadParameter: its name is that of no picture we draw.
    """
    if value is not None and value.suffix.lower() not in PICTURES:
        raise click.BadParameter(
            f"{str(value)!r}: expected a name that ends in {' or '.join(PICTURES)}", ctx, parameter
        )
    return value


@click.command(
    epilog=console.example(
        "edgetransfer recommend photos/ --device raspberry_pi_4 --max-latency-ms 15 --picture front.svg",
        "edgetransfer recommend photos/ --backbone efficientnet_lite0 --input-size 160 --input-size 224 --json",
    )
)
@config_option
@click.argument("data", type=FilePath)
@click.option("--device", metavar="NAME",
              help="Where it will run: a name of 'edgetransfer devices list', or a .toml file. [default: this machine, "
              "where latency is measured]")  # fmt: skip
@click.option("--max-latency-ms", type=click.FloatRange(0, min_open=True), metavar="N",
              help="The most that one image may take there.")  # fmt: skip
@click.option("--max-bytes", type=click.IntRange(1), metavar="N", help="The most that the model's file may weigh.")
@click.option("--backbone", "backbones", multiple=True, metavar="NAME",
              help="Only this one, keras:PATH, or several. [default: all with weights here]")  # fmt: skip
@click.option("--alpha", "alphas", type=click.FloatRange(0, min_open=True), multiple=True, metavar="FACTOR",
              help="Only this width, or several. [default: least, usual and greatest]")  # fmt: skip
@click.option("--input-size", "inputs_px", type=click.IntRange(1), multiple=True, metavar="PX",
              help="Only this size, or several. [default: the usual, one smaller, one larger]")  # fmt: skip
@click.option("--recipe", "recipes", multiple=True, metavar="NAME",
              help="Only this one, a .toml file, or several. [default: the first with integers and the "
              "first in floats that run there]")  # fmt: skip
@click.option("--format", type=click.Choice(["litert", "onnx", "tflm"]),
              help="File format. [default: that of the device's first engine, else litert]")  # fmt: skip
@click.option("--normalise", "normalisation", callback=read_normalisation, metavar="SCALE,ZERO_POINT",
              help="What keras:PATH models expect of a pixel, as for build.")  # fmt: skip
@click.option("--photos", type=click.IntRange(20, 5000), default=600, show_default=True, metavar="N",
              help="Judge on at most so many photos of the training and validation splits.")  # fmt: skip
@click.option("--time-budget", "seconds", type=click.FloatRange(0, min_open=True), default=300, show_default=True,
              metavar="SECONDS", help="Begin no candidate later; what is not judged is listed.")  # fmt: skip
@click.option("--picture", type=FilePath, callback=check_picture, metavar="FILE",
              help="Draw accuracy against latency, as .svg or .png.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a picture that is there.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of splits that are made here; must be the build's.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
@console.json_option
@console.quiet_option
def recommend(
    data: Path, device: str | None, max_latency_ms: float | None, max_bytes: int | None, photos: int, seconds: float,
    picture: Path | None, force: bool, seed: int, workers: int | None, as_json: bool, quiet: bool, **space: Any,
) -> None:  # fmt: skip
    """Choose backbone, input size and recipe for photos and a device.

    Makes each candidate that fits as build would, cross-validates a quick head on a part of the training and
    validation photos, and predicts what it costs on the device. Says which are not beaten in accuracy, latency and
    bytes, which is best and why, and what to type to build it. Never looks at photos for testing. Exits with 1 if
    nothing is expected to hold the limits. A second run goes on from the cache.
    """
    extras.require("train")
    if picture is not None:
        refuse_place(picture, force=force, what="picture")
    if picture is not None:
        from edgetransfer.pipeline.recommend_picture import draw_front  # before all work: it may not be installed
    from edgetransfer.pipeline.recommend import RecommendOptions
    from edgetransfer.pipeline.recommend import recommend as run_recommend
    from edgetransfer.pipeline.recommend_candidates import Space
    from edgetransfer.pipeline.recommend_choice import Limits
    from edgetransfer.spec.atomic import write_atomically

    limits = Limits(max_latency_ms, max_bytes)
    options = RecommendOptions(data, device, limits, Space(**space), photos, seconds, seed, workers)
    console.interrupted_keeps("features that were computed are in the cache")
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        found = run_recommend(options, watcher=watcher)
        if picture is not None and found.judged:
            write_atomically(picture, draw_front(found, picture.suffix.lower().removeprefix(".")))
            watcher.note(f"picture: {picture}")
    console.emit(found, as_json=as_json)
    click.get_current_context().exit(0 if found.best is not None else 1)
