"""The commands transfer distill and clean: what is learned from another model, and what is not to be learned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.cli import console, extras
from edgetransfer.cli.build import working
from edgetransfer.cli.build_options import FilePath, build_options
from edgetransfer.cli.transfer_tune import (
    force_option,
    place_options,
    quantization_aware_option,
    tune_options,
    tuning_options,
)

if TYPE_CHECKING:
    from edgetransfer.pipeline.distill import DistillReport
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.run_folder import Place

_KEPT = "what was reached is kept: the same command goes on from the last epoch"


@click.command(
    epilog=console.example(
        "edgetransfer transfer distill photos/ --teacher efficientnet_lite2 --backbone mobilenet_v2 --alpha 0.5 "
        "--output student.keras",
        "edgetransfer transfer distill photos/ --teacher large.bundle --unlabelled more/ --output student.keras",
    )
)
@build_options
@place_options
@click.option("--teacher", required=True, metavar="NAME",
              help="Who teaches: a name of 'edgetransfer backbones', keras:PATH, or a bundle's folder.")  # fmt: skip
@click.option("--teacher-alpha", type=click.FloatRange(0, min_open=True), metavar="FACTOR",
              help="The teacher's width multiplier. [default: the backbone's]")  # fmt: skip
@click.option("--teacher-input-size", "teacher_px", type=click.IntRange(1), metavar="PX",
              help="Height and width of the teacher's input. [default: the backbone's]")  # fmt: skip
@click.option("--teacher-weights", type=FilePath, metavar="FILE",
              help="The teacher's pretrained weights from this file.")  # fmt: skip
@click.option("--teacher-head", metavar="NAME", help="Which head of a bundle with several.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), default=4.0, show_default=True, metavar="T",
              help="What both sides' logits are divided by.")  # fmt: skip
@click.option("--label-weight", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="SHARE",
              help="How much the labels count; the teacher's answers have the rest.")  # fmt: skip
@click.option("--feature-weight", type=click.FloatRange(0), default=0.0, show_default=True, metavar="WEIGHT",
              help="How much the distance to the teacher's features counts.")  # fmt: skip
@click.option("--unlabelled", type=FilePath, metavar="FOLDER",
              help="Photos without labels, which take part with the teacher's answers.")  # fmt: skip
@tuning_options
@quantization_aware_option
@force_option
@console.json_option
@console.quiet_option
def distill(options: BuildOptions, place: Place, force: bool, as_json: bool, quiet: bool, **given: Any) -> None:
    """Let a small backbone learn from a large model, and write it as a backbone of its own.

    The teacher may be of any family and input size. It gets a head on your data, and is asked about some augmented
    views of each photo (--views, 4 unless given); the answers are kept in the cache. The table compares teacher,
    student before, and student after, deployed. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.distill import VIEWS, TeacherChoice
    from edgetransfer.pipeline.distill import distill as run
    from edgetransfer.pipeline.run_folder import make_in, sources_of
    from edgetransfer.transfer.distill_lesson import DistillOptions

    teacher = _teacher(TeacherChoice, given)
    how = DistillOptions(given["temperature"], given["label_weight"], given["feature_weight"])
    tuning = tune_options(options, given | {"views": VIEWS if given["views"] is None else given["views"]})
    with working(quiet, kept=_KEPT) as watcher:

        def work(output: Path, force: bool) -> DistillReport:
            return run(
                options,
                teacher,
                tuning,
                how,
                output,
                unlabelled=given["unlabelled"],
                quantization_aware=given["quantization_aware"],
                force=force,
                watcher=watcher,
            )

        report = make_in(place, "distill", sources_of(options.backbone, teacher=teacher), work, watcher)
    console.emit(report, as_json=as_json)


@click.command(
    epilog=console.example("edgetransfer transfer clean photos/ --output issues.csv"),
)
@build_options
@click.option("--output", "issues_file", type=FilePath, metavar="ISSUES.csv", help="A table of all that was found.")
@force_option
@console.json_option
@console.quiet_option
def clean(options: BuildOptions, issues_file: Path | None, force: bool, as_json: bool, quiet: bool) -> None:
    """Find labels that are probably wrong, and images that are like no others.

    Each image is judged by heads that were trained on others (confident learning), on features of the backbone. The
    data is not changed; the table says what a head gains or loses without what was found. Takes the options of build.
    """
    extras.require("train")
    from edgetransfer.pipeline.clean import clean as run

    with working(quiet, kept="nothing was written") as watcher:
        report = run(options, issues_file, force=force, watcher=watcher)
    console.emit(report, as_json=as_json)


def _teacher(kind: Any, given: dict[str, Any]) -> Any:
    from edgetransfer.spec.backbone import BackboneChoice

    path = Path(given["teacher"])
    if not path.is_dir():
        name = given["teacher"]
        if given["teacher_head"] is not None:
            raise click.UsageError("--teacher-head is for a --teacher that is a bundle")
        choice = BackboneChoice(name, given["teacher_alpha"], given["teacher_px"], given["teacher_weights"])
        return kind(backbone=choice)
    if any(given[name] is not None for name in ("teacher_alpha", "teacher_px", "teacher_weights")):
        raise click.UsageError("--teacher-alpha, --teacher-input-size and --teacher-weights are for backbones only")
    return kind(bundle=path, head=given["teacher_head"])
