"""The commands that build: demo, build, plan, train, export. They need the `train` extra."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import (
    BOTH,
    GOLDEN,
    GOLDEN_HELP,
    FilePath,
    build_options,
    read_heads,
    reject_option,
    teachable_option,
)
from edgetransfer.cli.from_run import from_option, from_run
from edgetransfer.cli.head_options import HeadSays, head_says
from edgetransfer.cli.progress import Progress, progress

if TYPE_CHECKING:
    from edgetransfer.pipeline.export import ExportOptions
    from edgetransfer.pipeline.head_question import HeadWish
    from edgetransfer.pipeline.options import BuildOptions, GoldenKind
    from edgetransfer.pipeline.split_report import SplitReport
    from edgetransfer.spec.bundle import Bundle

_KEPT = "features that were computed are in the cache, and an older output is untouched"

_output = click.option("--output", type=FilePath, required=True, metavar="NAME.bundle", help="The bundle to write.")
_force = click.option("--force", is_flag=True, help="Replace what is there already.")
_allow = click.option(
    "--allow",
    multiple=True,
    metavar="GATE",
    help="Write the bundle though this gate fails, and record that in its manifest: foreign_ops, float_islands, "
    "labels, accuracy, size, runtime, accelerator or outputs; may be given several times.",
)
_dynamic = click.option(
    "--dynamic-batch", is_flag=True, help="Let the file take any number of images at once; ONNX only. [default: 1]"
)
_split = click.option(
    "--split",
    is_flag=True,
    help="Let the graph end in features and keep the head outside of it, a file of some kilobytes: more heads can be "
    "added on the device. Always so for sounds and sentences.",
)
_heads = click.option(
    "--head",
    "heads",
    multiple=True,
    callback=read_heads,
    metavar="NAME=DATA",
    help="One more head on the same backbone, trained on DATA; may be given several times. Makes a --split bundle.",
)
_scores = click.option(
    "--scores-in-graph",
    is_flag=True,
    help="Put the softmax into the graph, for clients that know no decoder; it then ends in float ops, and logits and "
    "temperature cannot be had.",
)


@click.command(epilog=console.example("edgetransfer demo", "edgetransfer demo my_demo/"))
@click.argument("folder", type=FilePath, default=Path("edgetransfer_demo"))
@_force
@console.json_option
@console.quiet_option
def demo(folder: Path, force: bool, as_json: bool, quiet: bool) -> None:
    """Build and check a small bundle from data that pip brings.

    Everything goes to FOLDER, by default edgetransfer_demo: the photos, the run and the bundle.
    """
    extras.require("train")
    extras.require("demo")
    from edgetransfer.pipeline.demo import demo as run_demo

    with working(quiet) as watcher:
        report = run_demo(folder, force=force, watcher=watcher)
    console.emit(report, as_json=as_json)


@click.command(
    epilog=console.example(
        "edgetransfer build photos/ --device raspberry_pi_4 --output waste.bundle",
        "edgetransfer build labels.csv --backbone mobilenet_v2 --alpha 0.5 --input-size 160 --output waste.bundle",
        "edgetransfer build --from runs/waste_1 --output waste.bundle",
        "edgetransfer build pears/ --order green,ripe,rotten --head mass=grams.csv --unit mass=g --output pear.bundle",
    )
)
@build_options
@from_option
@_output
@click.option("--run", type=FilePath, metavar="FOLDER", help="Where the run is kept. [default: NAME.run beside it]")
@_split
@_heads
@head_says
@reject_option
@teachable_option
@_scores
@_dynamic
@_allow
@_force
@console.json_option
@console.quiet_option
def build(
    options: BuildOptions,
    says: HeadSays,
    output: Path,
    run: Path | None,
    split: bool,
    heads: tuple[tuple[str, Path], ...],
    reject: float | None,
    teachable: bool,
    scores_in_graph: bool,
    dynamic_batch: bool,
    allow: tuple[str, ...],
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Build a verified bundle from labelled examples: all stages.

    DATA is a folder with one folder per class, the same below train/, val/ and test/, or a CSV file with the
    columns path,label and, if you like, split, or JSON lines. Sentences have a column text in place of path; what kind
    of data it is says the backbone. In place of label there may be labels, any number with | between, or value, a
    number: the bundle is then a --split one.
    """
    extras.require("train")
    from edgetransfer.data.table_rows import task_of
    from edgetransfer.models import backbones
    from edgetransfer.pipeline.both import build_both
    from edgetransfer.pipeline.build import build as run_build
    from edgetransfer.pipeline.export import ExportOptions

    options, notes = from_run(click.get_current_context(), options)
    if notes:
        with working(quiet) as watcher:
            for note in notes:
                watcher.note(note)
    how = ExportOptions(scores_in_graph=scores_in_graph, dynamic_batch=dynamic_batch, allow=allow, force=force)
    outside = split or heads or teachable or reject is not None or says.makes_split
    if outside or backbones.input_of(options.backbone) is not None or task_of(options.data) != "single_label":
        both = options.format == BOTH
        _refuse_joined_only(
            {
                "--format both": both,
                "--run": run,
                "--scores-in-graph": scores_in_graph,
                "--dynamic-batch": dynamic_batch,
            }
        )
        wishes = says.wishes([(_first_name(output), options.data), *heads])
        report = _build_split(says.options(options), output, wishes, reject, how, teachable=teachable, quiet=quiet)
        console.emit(report, as_json=as_json)
        return
    if says.learning_curve:
        raise click.UsageError("--learning-curve: is for heads outside of the graph; add --split")
    work = build_both if options.format == BOTH else run_build
    with working(quiet) as watcher:
        built = work(options, output, run=run, how=how, watcher=watcher)
    console.emit(built, as_json=as_json)


def _build_split(
    options: BuildOptions,
    output: Path,
    wishes: list[HeadWish],
    reject: float | None,
    how: ExportOptions,
    *,
    teachable: bool,
    quiet: bool,
) -> SplitReport:
    from edgetransfer.pipeline.split import build_split

    with working(quiet) as watcher:
        return build_split(options, wishes, output, reject=reject, teachable=teachable, how=how, watcher=watcher)


def _first_name(output: Path) -> str:
    """Return what the head of DATA is called: as the bundle, in lower-case letters, digits and _."""
    first = re.sub(r"\W+", "_", output.name.removesuffix(".bundle").lower()).strip("_") or "head"
    return first if first.isidentifier() else f"head_{first}"


def _refuse_joined_only(asked: dict[str, object]) -> None:
    """Refuse options that only a bundle with its head inside the graph has."""
    for name, value in asked.items():
        if value:
            raise click.UsageError(f"{name}: is for bundles with their head inside the graph, and this one is split")


@click.command(
    epilog=console.example("edgetransfer plan photos/ --device raspberry_pi_zero_2w --backbone mobilenet_v2")
)
@build_options
@console.json_option
@console.quiet_option
def plan(options: BuildOptions, as_json: bool, quiet: bool) -> None:
    """Show what would be built, what not, and why.

    Looks at the photos and at the device, trains nothing and writes nothing. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.build import plan_build

    with working(quiet, kept="nothing was written") as watcher:
        report = plan_build(options, watcher=watcher)
    console.emit(report, as_json=as_json)


@click.command(epilog=console.example("edgetransfer train photos/ --run waste.run"))
@build_options
@click.option("--run", type=FilePath, required=True, metavar="FOLDER", help="The run folder to write.")
@_force
@console.json_option
@console.quiet_option
def train(options: BuildOptions, run: Path, force: bool, as_json: bool, quiet: bool) -> None:
    """Train a head and keep it in a run folder.

    The run is what export makes bundles from. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.build import train as run_train

    with working(quiet) as watcher:
        report = run_train(options, run, force=force, watcher=watcher)
    console.emit(report, as_json=as_json)


@click.command(epilog=console.example("edgetransfer export waste.run --output waste.bundle --golden synthetic"))
@click.argument("run", type=FilePath)
@_output
@click.option("--golden", type=GOLDEN, help=f"{GOLDEN_HELP} [default: as the run was trained]")
@click.option("--format", "file_format", metavar="NAME",
              help="Another format, under the same head: litert or onnx. For recipes without calibrated ranges; for "
              "others build with --format. [default: the run's]")  # fmt: skip
@_scores
@_dynamic
@_allow
@_force
@console.json_option
@console.quiet_option
def export(
    run: Path,
    output: Path,
    golden: GoldenKind | None,
    file_format: str | None,
    scores_in_graph: bool,
    dynamic_batch: bool,
    allow: tuple[str, ...],
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a trained run as a bundle.

    RUN is the folder that train or build wrote.
    """
    extras.require("train")
    from edgetransfer.pipeline.build import export as run_export
    from edgetransfer.pipeline.export import ExportOptions

    how = ExportOptions(golden, scores_in_graph, dynamic_batch, allow, force)
    with working(quiet, kept="the run and an older bundle are untouched") as watcher:
        bundle = run_export(run, output, how, format=file_format, watcher=watcher)
    console.emit(_Exported(bundle), as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Exported:
    """A bundle, as the report of export."""

    bundle: Bundle

    def to_json(self) -> dict[str, Any]:
        """Return where the bundle is, its hash and its files."""
        files = {name: file.size_bytes for name, file in self.bundle.manifest.files.items()}
        return {"bundle": str(self.bundle.path), "sha256": self.bundle.sha256, "bytes": files}

    def as_text(self) -> str:
        """Return the same for people, and what to type next."""
        model_bytes = self.bundle.manifest.files[self.bundle.manifest.model.file].size_bytes
        return (
            f"{self.bundle.path}: {self.bundle.manifest.recipe.name}, model file {model_bytes / 1e6:.2f} MB\n"
            f"next:  edgetransfer verify {self.bundle.path}"
        )


@contextmanager
def working(quiet: bool, *, kept: str = _KEPT) -> Iterator[Progress]:
    """Give a watcher; meanwhile libraries cannot print on standard output, and Ctrl-C is answered with `kept`."""
    console.interrupted_keeps(kept)
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        yield watcher
