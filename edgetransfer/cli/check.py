"""The commands that check a bundle, on any machine with an engine: verify, evaluate, profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build_options import FilePath, provider_option
from edgetransfer.cli.progress import Progress, progress
from edgetransfer.errors import EngineError

if TYPE_CHECKING:
    from edgetransfer.data import Dataset
    from edgetransfer.spec.bundle import Bundle
    from edgetransfer.spec.report import EvalReport, ProfileReport
    from edgetransfer.spec.task_report import AnyTaskReport

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
              help="A folder or a CSV, as for build.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of splits that are made here; must be the build's.")  # fmt: skip
@click.option("--float", "float_run", type=FilePath, metavar="RUN",
              help="Also evaluate the float Keras model of this run folder; needs the train extra.")  # fmt: skip
@click.option("--head", metavar="NAME",
              help="Which head, of a bundle that has several outside of its graph.")  # fmt: skip
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
    head: str | None,
    engine: str | None,
    providers: tuple[str, ...],
    workers: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure how right a bundle is on labelled examples.

    Gives accuracy with its 95 % interval, precision, recall and F1 per class, the confusion matrix and the
    expected calibration error; of several labels F1 and average precision, of labels with an order also the mean
    distance, of a quantity errors in its unit.
    """
    if float_run is not None:
        extras.require("train")
    from edgetransfer.data import TASKS, load_dataset
    from edgetransfer.evaluate import evaluate_bundle
    from edgetransfer.spec.bundle import Bundle
    from edgetransfer.spec.model_input import channels_of

    opened = Bundle.load(bundle)
    kind = opened.manifest.preprocess.kind
    extras.require(kind)
    with console.standard_output_kept(), progress(quiet=quiet) as watcher:
        watcher.stage("reading the data")
        dataset = load_dataset(
            data,
            kind=kind,
            seed=seed,
            for_training=False,
            tasks=TASKS,
            channels=channels_of(opened.manifest.preprocess),
            progress=watcher.step,
            workers=workers,
        )
        watcher.close()
        _warn_of_other_data(opened, dataset, seed, watcher)
        watcher.stage(f"evaluating the bundle ({split} split)")
        report = evaluate_bundle(
            opened,
            dataset,
            split,
            engine=engine,
            providers=providers or None,
            head=head,
            workers=workers,
            progress=watcher.step,
        )
        reference = None if float_run is None else _evaluate_float(float_run, dataset, split, watcher)
    _emit_evaluation(report, reference, as_json=as_json)


@click.command(
    epilog=console.example(
        "edgetransfer profile waste.bundle",
        "edgetransfer profile waste.bundle --choose",
        "edgetransfer profile waste.bundle --ssh pi@raspberrypi.local --json",
    )
)
@_bundle
@_engine
@provider_option
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, metavar="N",
              help="Inferences in each series.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, metavar="S",
              help="A series ends after that long.")  # fmt: skip
@click.option("--choose", is_flag=True,
              help="Measure 1, 2, ... threads, and keep the best for this model and machine in your settings, where "
              "apps find it.")  # fmt: skip
@click.option("--ssh", "destination", metavar="[USER@]HOST[:PORT]",
              help="Verify and measure on that machine. It needs Python 3.10 or newer, no network, and is left as it "
              "was. May be an alias of ~/.ssh/config.")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="With --ssh: another port than 22.")
@click.option("--identity", type=FilePath, metavar="FILE", help="With --ssh: the private key to log in with.")
@click.option("--ssh-option", "ssh_options", multiple=True, metavar="NAME=VALUE",
              help="With --ssh: an option as ssh -o takes it; may be given several times.")  # fmt: skip
@click.option("--keep", is_flag=True, help="With --ssh: leave what was copied there, and say where.")
@console.json_option
@console.quiet_option
@click.pass_context
def profile(
    ctx: click.Context, /, bundle: Path, destination: str | None, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Measure how fast and how large a bundle is here.

    Gives the times to load, of the first inference, and p50, p90 and p99 of the next, on one thread and on all;
    peak memory; the size of the model file; and how many threads an app gets here. With --ssh all that on another
    machine, where the bundle is verified first: exits with 1 if it computes something else there.
    """
    if destination is not None:
        _profile_on_host(ctx, bundle, destination, as_json=as_json, quiet=quiet, **options)
    only_with_ssh = {"port": None, "identity": None, "ssh_options": (), "keep": False}
    if given := [name for name, unset in only_with_ssh.items() if options.pop(name) != unset]:
        raise click.UsageError(f"--{given[0].rstrip('s').replace('_', '-')}: only with --ssh.")
    console.emit(_profile_here(bundle, quiet=quiet, **options), as_json=as_json)


def _profile_here(
    bundle: Path, *, engine: str | None, providers: tuple[str, ...], choose: bool, quiet: bool, **options: Any
) -> ProfileReport:
    """Return the profile; with --choose on each engine that takes the bundle, the fastest one's."""
    from edgetransfer.profile import engines_for
    from edgetransfer.profile import profile as run_profile
    from edgetransfer.spec.bundle import Bundle

    first, *others = engines_for(Bundle.load(bundle)) if choose and engine is None else (engine,)
    reports = [run_profile(bundle, engine=first, providers=providers or None, choose=choose, **options)]
    for other in others:
        try:
            reports.append(run_profile(bundle, engine=other, choose=choose, **options))
        except EngineError as refusal:
            if not quiet:
                click.echo(f"note: {console.one_line(str(refusal))}", err=True)
    best = min(reports, key=lambda report: min(latency.p50_ms for latency in report.series))
    if best is not reports[0] and not quiet:
        click.echo(f"note: the fastest engine is {best.engine!r}; apps and commands must name it", err=True)
    return best


def _profile_on_host(
    ctx: click.Context, bundle: Path, destination: str, *, as_json: bool, quiet: bool, **options: Any
) -> NoReturn:
    from edgetransfer.pipeline.remote import RemoteOptions, profile_on_host

    console.interrupted_keeps("nothing is left on the host but what is named above")
    with progress(quiet=quiet) as watcher:
        report = profile_on_host(bundle, destination, RemoteOptions(**options), watcher=watcher)
    console.emit(report, as_json=as_json)
    ctx.exit(0 if report.verified.passed else 1)


def _warn_of_other_data(bundle: Bundle, dataset: Dataset, seed: int, watcher: Progress) -> None:
    known = bundle.manifest.data.fingerprint.split("+")  # of a bundle with several heads one each
    if dataset.made_splits and dataset.fingerprint not in known:
        watcher.note(
            f"the splits made here with seed {seed} are not those that the bundle was built with: images that it was "
            "trained on may be among these"
        )


def _evaluate_float(run: Path, dataset: Dataset, split: str, watcher: Progress) -> EvalReport:
    from edgetransfer.pipeline.build import evaluate_float

    return evaluate_float(run, dataset, split, watcher=watcher)


def _emit_evaluation(report: AnyTaskReport, reference: EvalReport | None, *, as_json: bool) -> None:
    from edgetransfer.spec.report import EvalReport

    if as_json:
        console.emit_json(report.to_json() | ({} if reference is None else {"float": reference.to_json()}))
    elif reference is None or not isinstance(report, EvalReport):  # a run has one label of several, as its bundle
        console.emit(report, as_json=False)
    else:
        points = (report.accuracy - reference.accuracy) * 100
        click.echo(f"{report.as_text()}\n\n{reference.as_text()}\n\nbundle minus float: {points:+.2f} points")
