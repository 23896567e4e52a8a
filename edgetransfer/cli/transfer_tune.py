"""The commands transfer finetune, fuse and compare: backbones that learn, and what that was worth."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build import working
from edgetransfer.cli.build_options import FilePath, build_options, settings

if TYPE_CHECKING:
    from edgetransfer.pipeline.finetune_report import FinetuneReport
    from edgetransfer.pipeline.fuse import FuseReport
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.run_folder import Place

_KEPT = "what was reached is kept: the same command goes on from the last epoch"

_output_option = click.option(
    "--output", "backbone_file", type=FilePath, metavar="NAME.keras",
    help="The backbone to write. Give this, --run, or both.",
)  # fmt: skip
_run_option = click.option(
    "--run", "run_folder", type=FilePath, metavar="FOLDER",
    help="A folder to keep the run in: backbone, figures, all options, versions and hashes. 'edgetransfer build --from "
    "FOLDER' goes on from it.",
)  # fmt: skip
_PLACE = ("backbone_file", "run_folder")
_DECIDES_NOTHING = ("workers", "force", "as_json", "quiet")
quantization_aware_option = click.option(
    "--quantization-aware",
    is_flag=True,
    help="Let it compute in training as static_int8 will on the device. Batch norms are folded into the weights for "
    "good.",
)
force_option = click.option("--force", is_flag=True, help="Replace what is there already.")


def place_options(function: Any) -> Any:
    """Add --output and --run; `function` gets what they say as `place`, from its own `force` and all its options."""

    @functools.wraps(function)
    def with_place(*, backbone_file: Path | None, run_folder: Path | None, **others: Any) -> Any:
        extras.require("train")
        from edgetransfer.pipeline.run_folder import Place

        if backbone_file is None and run_folder is None:
            raise click.UsageError("where to? Give --output NAME.keras, --run FOLDER, or both")
        values = settings(click.get_current_context())
        decides = {name: one for name, one in values.items() if name not in (*_PLACE, *_DECIDES_NOTHING)}
        place = Place(backbone_file, run_folder, decides, others["force"])
        return function(place=place, **others)

    return _output_option(_run_option(with_place))


def _shares(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[float, ...]:
    """Return the numbers in a text such as "0.35,1"."""
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers such as 0.35,1, got {value!r}", ctx, parameter) from error


_TUNING: tuple[Callable[[Any], Any], ...] = (
    click.option("--tune-epochs", type=click.IntRange(1), default=12, show_default=True, metavar="N",
                 help="Epochs in all; the best on the validation split is kept."),
    click.option("--unfreeze", callback=_shares, default="0.35,1", show_default=True, metavar="SHARES",
                 help="Of each stage the share of the layers that learn, counted from the top; the stages share the "
                 "epochs."),
    click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=3e-4, show_default=True,
                 metavar="RATE", help="The highest; it rises, then falls to 0 along half a cosine in each stage."),
    click.option("--lowest-rate", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True,
                 metavar="SHARE", help="How fast the first layer learns beside the last."),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, metavar="N",
                 help="Images a step."),
    click.option("--tune-optimizer", default="adam", show_default=True, metavar="NAME",
                 help="A Keras optimizer for the backbone."),
    click.option("--batch-norm", type=click.Choice(["frozen", "train"]), default="frozen", show_default=True,
                 help="Keep batch norms as they compute on the device, or let them learn from each batch."),
    click.option("--views", type=click.IntRange(0), metavar="N",
                 help="Augmented views of each image, 0 for none. [default: another one in each epoch]"),
    click.option("--precision", type=click.Choice(["auto", "float32", "mixed_float16", "mixed_bfloat16"]),
                 default="auto", show_default=True,
                 help="What the backbone computes in while it is tuned; auto is 16 bits on GPUs with tensor cores."),
)  # fmt: skip


def tuning_options(function: Any) -> Any:
    """Add the options of tuning; `function` gets them by name, for `tune_options`."""
    for decorate in reversed(_TUNING):
        function = decorate(function)
    return function


def tune_options(options: BuildOptions, given: dict[str, Any]) -> Any:
    """Return the `TuneOptions` that the command line's values are."""
    from edgetransfer.transfer.tuning import TuneOptions

    asked = TuneOptions(
        epochs=given["tune_epochs"],
        unfreeze=given["unfreeze"],
        learning_rate=given["learning_rate"],
        lowest_rate=given["lowest_rate"],
        batch_size=given["batch_size"],
        label_smoothing=options.label_smoothing,
        optimizer=given["tune_optimizer"],
        batch_norm=given["batch_norm"],
        seed=options.seed,
        workers=options.workers,
        precision=given["precision"],
    )
    return asked if given["views"] is None else replace(asked, views=given["views"])


@click.command(
    epilog=console.example(
        "edgetransfer transfer finetune photos/ --device raspberry_pi_4 --output tuned.keras",
        "edgetransfer transfer finetune --config transfer.toml --run runs/waste_1",
        "edgetransfer build --from runs/waste_1 --output waste.bundle",
    )
)
@build_options
@place_options
@tuning_options
@quantization_aware_option
@click.option("--replay", type=FilePath, metavar="OLDDATA",
              help="Labelled photos of the task that the backbone knew before: some are trained on again, with a head "
              "of their own, so that it is kept.")  # fmt: skip
@click.option("--replay-share", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.3,
              show_default=True, metavar="SHARE", help="How many of all photos trained on are old ones.")  # fmt: skip
@click.option("--replay-compare", is_flag=True,
              help="Also tune without the old photos, to say what they brought; takes as long again.")  # fmt: skip
@force_option
@console.json_option
@console.quiet_option
def finetune(
    options: BuildOptions,
    place: Place,
    quantization_aware: bool,
    replay: Path | None,
    replay_share: float,
    replay_compare: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Let a backbone learn from your photos, and write it as a backbone of its own.

    It starts from the head that was trained on deployed features, lets the top layers go first, and keeps the epoch
    that did best on the validation split. The result is quantized anew and a head fitted on what it then computes; the
    table says what that brought. A run that was interrupted goes on where it was. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.finetune import Replay
    from edgetransfer.pipeline.finetune import finetune as run
    from edgetransfer.pipeline.run_folder import make_in, sources_of

    if replay is None and replay_compare:
        raise click.UsageError("--replay-compare is for --replay")
    old = None if replay is None else Replay(replay, replay_share, replay_compare)
    asked = tune_options(options, given)
    with working(quiet, kept=_KEPT) as watcher:

        def work(output: Path, force: bool) -> FinetuneReport:
            return run(
                options,
                asked,
                output,
                quantization_aware=quantization_aware,
                replay=old,
                force=force,
                watcher=watcher,
            )

        report = make_in(place, "finetune", sources_of(options.backbone), work, watcher)
    console.emit(report, as_json=as_json)


@click.command(
    epilog=console.example("edgetransfer transfer fuse photos/ --tuned tuned.keras --output fused.keras"),
)
@build_options
@place_options
@click.option("--tuned", type=FilePath, multiple=True, required=True, metavar="FILE.keras",
              help="What was tuned from --backbone; of several the mean is taken.")  # fmt: skip
@click.option("--alphas", callback=_shares, default="0.5,0.7,0.8,0.9,1", show_default=True,
              metavar="ALPHAS", help="How far from --backbone (0) to the tuned weights (1) is tried.")  # fmt: skip
@click.option("--batch-norm", "fused_batch_norm", type=click.Choice(["auto", "keep", "re_estimate"]), default="auto",
              show_default=True,
              help="Keep the statistics between the two, estimate them again, or let validation choose.")  # fmt: skip
@click.option("--old-data", type=FilePath, metavar="DATA",
              help="Photos of the task that --backbone knew: within a point of the best on the new task, what does "
              "best there is taken.")  # fmt: skip
@force_option
@console.json_option
@console.quiet_option
def fuse(
    options: BuildOptions,
    place: Place,
    tuned: tuple[Path, ...],
    alphas: tuple[float, ...],
    fused_batch_norm: Any,
    old_data: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Put a backbone and what was tuned from it together, as far as validation likes.

    Between the weights before and after tuning are models that know the new task and have forgotten less of what the
    backbone knew. Each is deployed and gets a head of its own. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.fuse import fuse as run
    from edgetransfer.pipeline.run_folder import make_in, sources_of

    with working(quiet, kept="nothing was written") as watcher:

        def work(output: Path, force: bool) -> FuseReport:
            how: dict[str, Any] = {"alphas": alphas, "batch_norm": fused_batch_norm, "old": old_data}
            return run(options, tuned, output, **how, force=force, watcher=watcher)

        report = make_in(place, "fuse", sources_of(options.backbone, tuned=tuned), work, watcher)
    console.emit(report, as_json=as_json)


@click.command(
    epilog=console.example("edgetransfer transfer compare frozen.bundle tuned.bundle --data photos/"),
)
@click.argument("bundles", type=FilePath, nargs=-1, required=True)
@click.option("--data", type=FilePath, required=True, metavar="DATA", help="Labelled examples, as for build.")
@click.option("--old-data", type=FilePath, metavar="DATA",
              help="Examples of the task that was known before: what was forgotten.")  # fmt: skip
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True,
              help="Which part of the data.")  # fmt: skip
@click.option("--head", metavar="NAME", help="Which head, of bundles that have several.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, metavar="N",
              help="Of the splits, as in the build.")  # fmt: skip
@console.json_option
@console.quiet_option
def compare(
    bundles: tuple[Path, ...],
    data: Path,
    old_data: Path | None,
    split: str,
    head: str | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run several bundles over the same data, and say whether they differ.

    Accuracy with 95 % intervals, McNemar's exact test for every two, where each is ahead, speed here and bytes.
    """
    from edgetransfer.data import load_dataset
    from edgetransfer.pipeline.compare import compare as run
    from edgetransfer.spec.bundle import Bundle
    from edgetransfer.spec.model_input import channels_of

    with working(quiet, kept="nothing was written") as watcher:
        spec = Bundle.load(bundles[0]).manifest.preprocess
        asked: dict[str, Any] = {"kind": spec.kind, "channels": channels_of(spec), "seed": seed}
        watcher.stage("reading the data")
        new = load_dataset(data, **asked, progress=watcher.step)
        old = None if old_data is None else load_dataset(old_data, **asked, progress=watcher.step)
        report = run(bundles, new, split=split, old=old, head=head, watcher=watcher)
    console.emit(report, as_json=as_json)
