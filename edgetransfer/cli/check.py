"""The commands that check a bundle, on any machine with an engine: verify, evaluate, profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option
from edgetransfer.cli.progress import Progress, progress

if TYPE_CHECKING:
    from edgetransfer.data import Dataset
    from edgetransfer.spec.bundle import Bundle
    from edgetransfer.spec.report import EvalReport

_bundle = click.argument("bundle", type=FilePath)
_engine = click.option("--engine", metavar="NAME", help="An engine's name. [default: that of the bundle's format]")


@click.command(epilog=console.example("edgetransfer verify waste.bundle"))
@_bundle
@_engine
@provider_option
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Threads of one inference.")  # fmt: skip
@click.option("--kernels", type=click.Choice(["default", "reference"]), default="default", show_default=True,
              help="The engine's fastest kernels, or its plain ones.")  # fmt: skip
@console.json_option
@click.pass_context
def verify(
    ctx: click.Context,
    bundle: Path,
    engine: str | None,
    providers: tuple[str, ...],
    threads: int,
    kernels: Any,
    as_json: bool,
) -> None:
    """Check that a bundle is whole and computes what it should.

    Compares all hashes, then runs the golden samples that the bundle carries. Exits with 1 if anything is wrong.
    """
    from edgetransfer.verify import verify as run_verify

    report = run_verify(bundle, engine=engine, threads=threads, kernels=kernels, providers=providers or None)
    console.emit(report, as_json=as_json)
    ctx.exit(0 if report.passed else 1)


@click.command(
    epilog=console.example(
        "edgetransfer evaluate waste.bundle --data photos/ --split test",
        "edgetransfer evaluate waste.bundle --data photos/ --float waste.run --json",
    )
)
@_bundle
@click.option("--data", type=FilePath, required=True, metavar="PATH",
              help="A folder of photos or a CSV, as for build.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of splits that are made here; must be the build's.")  # fmt: skip
@click.option("--float", "float_run", type=FilePath, metavar="RUN",
              help="Also evaluate the float Keras model of this run folder; needs the train extra.")  # fmt: skip
@_engine
@provider_option
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads. [default: one a core]")
@console.json_option
@console.quiet_option
def evaluate(
    bundle: Path,
    data: Path,
    split: str,
    seed: int,
    float_run: Path | None,
    engine: str | None,
    providers: tuple[str, ...],
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure how right a bundle is on labelled photos.

    Gives accuracy with its 95 % interval, precision, recall and F1 per class, the confusion matrix and the
    expected calibration error.
    """
    extras.require("image")
    if float_run is not None:
        extras.require("train")
    from edgetransfer.data import load_dataset
    from edgetransfer.evaluate import evaluate_bundle
    from edgetransfer.spec.bundle import Bundle

    opened = Bundle.load(bundle)
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        watcher.stage("reading the data")
        dataset = load_dataset(data, seed=seed, for_training=False, progress=watcher.step, workers=workers)
        watcher.close()
        _warn_of_other_data(opened, dataset, seed, watcher)
        watcher.stage(f"evaluating the bundle ({split} split)")
        report = evaluate_bundle(
            opened,
            dataset,
            split,
            engine=engine,
            providers=providers or None,
            workers=workers,
            progress=watcher.step,
        )
        reference = None if float_run is None else _evaluate_float(float_run, dataset, split, watcher)
    _emit_evaluation(report, reference, as_json=as_json)


@click.command(epilog=console.example("edgetransfer profile waste.bundle"))
@_bundle
@_engine
@provider_option
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, metavar="N",
              help="Inferences in each series.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, metavar="S",
              help="A series ends after that long.")  # fmt: skip
@console.json_option
def profile(
    bundle: Path, engine: str | None, providers: tuple[str, ...], runs: int, seconds: float, as_json: bool
) -> None:
    """Measure how fast and how large a bundle is here.

    Gives the times to load, of the first inference, and p50, p90 and p99 of the next, on one thread and on all;
    peak memory; and the size of the model file.
    """
    from edgetransfer.profile import profile as run_profile

    report = run_profile(bundle, engine=engine, providers=providers or None, runs=runs, seconds=seconds)
    console.emit(report, as_json=as_json)


def _warn_of_other_data(bundle: Bundle, dataset: Dataset, seed: int, watcher: Progress) -> None:
    if dataset.made_splits and dataset.fingerprint != bundle.manifest.data.fingerprint:
        watcher.note(
            f"the splits made here with seed {seed} are not those that the bundle was built with: images that it was "
            "trained on may be among these"
        )


def _evaluate_float(run: Path, dataset: Dataset, split: str, watcher: Progress) -> EvalReport:
    from edgetransfer.pipeline.build import evaluate_float

    return evaluate_float(run, dataset, split, watcher=watcher)


def _emit_evaluation(report: EvalReport, reference: EvalReport | None, *, as_json: bool) -> None:
    if as_json:
        console.emit_json(report.to_json() | ({} if reference is None else {"float": reference.to_json()}))
    elif reference is None:
        console.emit(report, as_json=False)
    else:
        points = (report.accuracy - reference.accuracy) * 100
        click.echo(f"{report.as_text()}\n\n{reference.as_text()}\n\nbundle minus float: {points:+.2f} points")
