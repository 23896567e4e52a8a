"""The command report: one page about a bundle, to be opened, printed or sent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option, read_heads
from edgetransfer.cli.progress import progress
from edgetransfer.errors import OutputError

if TYPE_CHECKING:
    from edgetransfer.pipeline.page import Figures

PAGE_SUFFIXES = (".html", ".htm")


@click.command(
    epilog=console.example(
        "edgetransfer report waste.bundle --data photos/ --output waste.html",
        "edgetransfer report waste.bundle --data photos/ --float-run waste.run --device raspberry_pi_4",
        "edgetransfer report waste.bundle --profile pi.json --no-profile --json",
        "edgetransfer report camera.bundle --data waste/ --head lid=lids.csv --strangers others/",
    )
)
@click.argument("bundle", type=FilePath)
@click.option("--output", type=FilePath, metavar="FILE",
              help="The page; replaces a file of that name. [default: the bundle's name with .html]")  # fmt: skip
@click.option("--data", type=FilePath, metavar="PATH",
              help="Labelled examples, as for build, to measure the bundle on; where heads are outside of the graph, "
              "the first one.")  # fmt: skip
@click.option("--head", "head_data", multiple=True, callback=read_heads, metavar="NAME=DATA",
              help="Measure the head NAME outside of the graph on DATA; may be given several times.")  # fmt: skip
@click.option("--strangers", type=FilePath, metavar="PATH",
              help="Inputs of none of the labels, to see what is turned away: a folder of photos or sounds, a text "
              "file with a sentence in each line.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of splits that are made here; must be the build's.")  # fmt: skip
@click.option("--float-run", type=FilePath, metavar="RUN",
              help="Put the float Keras model of this run folder beside the bundle; needs --data.")  # fmt: skip
@click.option("--device", "devices", multiple=True, metavar="NAME",
              help="Tell of this device, a name of 'edgetransfer devices list' or a .toml file; may be given several "
              "times. [default: the one that the bundle was built for]")  # fmt: skip
@click.option("--profile", "profiles", type=FilePath, multiple=True, metavar="FILE",
              help="What 'edgetransfer profile --json' printed on a device; several times for more.")  # fmt: skip
@click.option("--no-profile", is_flag=True, help="Do not measure on this machine.")
@click.option("--worst", type=click.IntRange(0, 200), default=12, show_default=True, metavar="N",
              help="Show so many mistakes of each head; their photos or sentences are then inside.")  # fmt: skip
@click.option("--learning-curve/--no-learning-curve", default=True, show_default=True,
              help="Work out what more data would bring, for heads outside of the graph.")  # fmt: skip
@provider_option
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
@console.json_option
@console.quiet_option
def report(
    bundle: Path, output: Path | None, no_profile: bool, providers: tuple[str, ...], as_json: bool, quiet: bool,
    **chosen: Any,
) -> None:  # fmt: skip
    """Write one page about a bundle: what it is, how right, how fast.

    The page is one file that needs no network: metrics beside the float model's, confusion matrix, calibration, worst
    mistakes, size and latency, how to run it, a model card; of each head outside of the graph also what it turns away
    and what more data would bring. What needs data is there with --data or --head only; else the page says what is
    missing.
    """
    place = output or _beside(bundle)
    _refuse(place, bundle)
    if chosen["data"] is not None or chosen["head_data"]:
        extras.require(_kind_of(bundle))
    if chosen["float_run"] is not None:
        extras.require("train")
    from edgetransfer.pipeline.page import PageOptions, gather, render
    from edgetransfer.spec.atomic import write_atomically

    options = PageOptions(bundle=bundle, measure=not no_profile, providers=providers or None, **chosen)
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        figures = gather(options, watcher=watcher)
        watcher.stage("writing the page")
        content = render(figures)
        write_atomically(place, content)
    _emit(figures, place, len(content), as_json=as_json)


def _kind_of(bundle: Path) -> str:
    """Return the kind of input that `bundle` looks at, which is the name of the extra that reads it."""
    from edgetransfer.spec.bundle import Bundle

    return Bundle.load(bundle).manifest.preprocess.kind


def _beside(bundle: Path) -> Path:
    named = bundle if bundle.name not in ("", "..") else bundle.resolve()
    return named.with_name(f"{named.name.removesuffix('.bundle')}{PAGE_SUFFIXES[0]}")


def _refuse(place: Path, bundle: Path) -> None:
    """Refuse a place that no page can be written to, before any work is done.

    Raises:
        OutputError: it is a folder, no page by its name, inside the bundle, or cannot be written.
    """
    what = f"output {str(place)!r}"
    if place.is_dir():
        raise OutputError(f"{what}: is a folder; give the name of a file in it, such as {place / 'report.html'}")
    if place.suffix.lower() not in PAGE_SUFFIXES:
        raise OutputError(f"{what}: expected a name that ends in {' or '.join(PAGE_SUFFIXES)}")
    if not place.parent.is_dir():
        raise OutputError(f"{what}: no such folder: {place.parent}")
    if place.resolve().is_relative_to(bundle.resolve()):
        raise OutputError(f"{what}: is inside the bundle, where only the files of its manifest may be; choose another")
    for path in (place.parent, place):
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"{what}: {path} cannot be written; choose another place")


def _emit(figures: Figures, place: Path, size_bytes: int, *, as_json: bool) -> None:
    from edgetransfer.pipeline.page.gaps import gaps

    missing = gaps(figures)
    if as_json:
        found = figures.to_json() | {"page": str(place), "page_bytes": size_bytes}
        console.emit_json(found | {"missing": [gap.to_json() for gap in missing]})
        return
    click.echo(f"page  {place}  ({size_bytes / 1e3:.0f} kB)")
    for gap in missing:
        click.echo(f"not in it: {gap.what}\n" + "\n".join(f"  {line}" for line in gap.command.splitlines()))
