"""The commands that list what there is to choose from: backbones, recipes, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgetransfer.cli import console
from edgetransfer.cli.progress import progress

if TYPE_CHECKING:
    from edgetransfer.models.weights import WeightStatus
    from edgetransfer.spec.backbone import BackboneSpec


@click.command(epilog=console.example("edgetransfer backbones"))
@console.json_option
def backbones(as_json: bool) -> None:
    """List the pretrained backbones.

    Any image model of your own serves as well: --backbone keras:PATH.
    """
    from edgetransfer.models import backbones as known

    found = [known.get_spec(name) for name in known.names()]
    if as_json:
        console.emit_json({"backbones": [spec.to_json() for spec in found]})
        return
    rows = [["name", "input px", "alphas", "parameters", "multiply-adds", "licence", "what"]]
    click.echo(console.table(rows + [_backbone_row(spec) for spec in found]))
    click.echo("parameters and multiply-adds: millions, at the first input size and alpha 1 or the backbone's own")


@click.command(epilog=console.example("edgetransfer recipes", "edgetransfer build photos/ --recipe mine.toml"))
@console.json_option
def recipes(as_json: bool) -> None:
    """List the ways to store and compute numbers.

    Activations: "float32" are floats; "dynamic" are floats between ops and int8 inside them, of a range found for each
    image; "int8" and "int16" are integers of a range that training photos set. Granularity: one scale for each output
    channel of a weight tensor, or one in all.

    A recipe of your own is a TOML file, given by its path:

    \b
      base = "static_int8"         # start from a recipe; or give weights and activations
      weight_ranges = "mse"        # best (the default), min_max or mse
      [[overrides]]                # of several that match an op, the last holds
      pattern = "block1_|stem"     # a regular expression, found in the op's name
      weights = "float32"          # float32, float16, int8, int4
      activations = "float32"      # float32, dynamic, int8, int16
    """  # noqa: D301  # click's own mark for lines that stay as they are
    from edgetransfer.spec.recipe import RECIPES

    if as_json:
        texts = [{"summary": r.summary, "needed_by": r.needed_by} for r in RECIPES.values()]
        rows = [r.to_json() | text for r, text in zip(RECIPES.values(), texts, strict=True)]
        console.emit_json({"recipes": rows})
        return
    head = ["name", "weights", "activations", "granularity", "who needs it", "what for"]
    found = [[r.name, r.weights, r.activations, r.granularity, r.needed_by, r.summary] for r in RECIPES.values()]
    click.echo(console.table([head, *found]))
    click.echo("one of your own: --recipe mine.toml; edgetransfer recipes --help shows what stands in it")


@click.group(cls=console.Group, epilog=console.example("edgetransfer weights list"))
def weights() -> None:
    """List pretrained weights, or fetch them."""


@weights.command("list", epilog=console.example("edgetransfer weights list"))
@console.json_option
def list_weight_files(as_json: bool) -> None:
    """List the published weights, and which of them are on this machine."""
    from edgetransfer.models.weights import list_weights

    found = list_weights()
    if as_json:
        console.emit_json({"weights": [status.to_json() for status in found]})
        return
    rows = [["backbone", "file", "MB", "licence", "checked by", "where"]]
    click.echo(console.table(rows + [_weight_row(status) for status in found]))


@weights.command(
    "fetch",
    epilog=console.example(
        "edgetransfer weights fetch efficientnet_lite1",
        "edgetransfer weights fetch mobilenet_v3_small --file weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5",
    ),
)
@click.argument("name")
@click.option("--file", "file_name", metavar="FILE",
              help="One of the files that 'edgetransfer weights list' shows. [default: the usual size's]")  # fmt: skip
@console.json_option
@console.quiet_option
def fetch_weights(name: str, file_name: str | None, as_json: bool, quiet: bool) -> None:
    """Put pretrained weights into the cache, to build with them without a network.

    NAME is a backbone. The cache folder is the one that edgetransfer doctor names; it can be copied elsewhere.
    """
    from edgetransfer.errors import UnknownNameError
    from edgetransfer.models.weights import fetch, list_weights

    files = {status.file.name: status.file for status in list_weights([name])}
    if file_name is not None and file_name not in files:
        raise UnknownNameError(f"weight file of {name}", file_name, files)
    console.interrupted_keeps("no half-fetched file is left")
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        watcher.stage(f"fetching the weights of {name} (bytes)")
        path = fetch(name, None if file_name is None else files[file_name], progress=watcher.step)
    if as_json:
        console.emit_json({"backbone": name, "path": str(path)})
    else:
        click.echo(str(path))


def _weight_row(status: WeightStatus) -> list[str]:
    size_bytes = status.file.size_bytes
    size = "?" if size_bytes is None else f"{size_bytes / 1e6:.1f}"
    where = "not here" if status.path is None else str(status.path)
    return [status.backbone, status.file.name, size, status.file.licence, status.checked_by, where]


def _backbone_row(spec: BackboneSpec) -> list[str]:
    alphas = ", ".join(f"{alpha:g}" for alpha in spec.alphas) or "-"
    cost = [f"{spec.parameters / 1e6:.2f}", f"{spec.macs / 1e6:.0f}"]
    return [spec.name, str(spec.input_px), alphas, *cost, spec.licence, spec.summary]
