"""MobileNetV2 1.0 into half its width: from random weights, from transferred ones, and taught by a larger network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetransfer import registry
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.pipeline.backbone_output import tuned_options
from edgetransfer.pipeline.distill import VIEWS, TeacherChoice, distill
from edgetransfer.pipeline.finetune import finetune
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.pipeline.transfer_measure import randomise
from edgetransfer.pipeline.transfer_weights import TransferOptions, transfer_weights
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.transfer.distill_lesson import DistillOptions
from edgetransfer.transfer.keras_graph import KerasGraph
from edgetransfer.transfer.tuning import TuneOptions
from transfers.rows import Clock, Rows, Says

_NAME = "mobilenet_v2"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="keras:FILE of a MobileNetV2 1.0")
    parser.add_argument("--teacher", default="efficientnet_lite2", help="a backbone, or a bundle's folder")
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--input-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=12, help="of the taught one; the others get its minutes")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--label-weight", type=float, default=DistillOptions().label_weight)
    parser.add_argument("--temperature", type=float, default=DistillOptions().temperature)
    parser.add_argument("--feature-weight", type=float, default=DistillOptions().feature_weight)


def run(asked: argparse.Namespace, folder: Path) -> Rows:
    # Nothing is frozen, and batch norms learn: neither random nor cut weights have statistics that fit.
    how = TuneOptions(
        epochs=asked.epochs, unfreeze=(1.0,), learning_rate=asked.learning_rate, lowest_rate=1.0, batch_norm="train"
    )
    slim, blank = folder / "slim.keras", folder / "blank.keras"
    _cut(asked, slim)
    _untrained(asked, blank)
    options = BuildOptions(asked.data, BackboneChoice(f"keras:{slim}"), golden="none", fit="squash")
    rows = Rows(f"{_NAME} {asked.alpha:g}, {asked.input_size} px, {asked.data.name}; equal minutes of tuning")
    taught, clock, says = folder / "taught.keras", Clock(), Says()
    distill(
        options, _teacher(asked.teacher), replace(how, views=VIEWS), _lesson(asked), taught, force=True, watcher=says
    )
    rows.add("transferred and taught", tuned_options(options, taught), folder, clock, f"{asked.epochs} epochs")
    plain = replace(how, epochs=_epochs(says, asked.epochs))
    for name, path in (("transferred", slim), ("random weights", blank)):
        clock, tuned = Clock(), folder / f"{path.stem}_tuned.keras"
        finetune(tuned_options(options, path), plain, tuned, force=True, watcher=Says())
        rows.add(name, tuned_options(options, tuned), folder, clock, f"{plain.epochs} epochs")
    rows.add("transferred, not tuned", options, folder, Clock())
    rows.compare(options)
    return rows


def _cut(asked: argparse.Namespace, output: Path) -> None:
    """Write the source's weights, its most important channels alone, to `output`."""
    target = f"{_NAME}:{asked.alpha:g}:{asked.input_size}"
    normalisation = registry.load(backbones.__name__, _NAME, kind="backbone").SPEC.normalisation
    cut = TransferOptions(asked.source, target, normalisation=normalisation, data=asked.data)
    report = transfer_weights(cut, output, force=True, watcher=Says())
    Says().note(report.as_text().splitlines()[-1])


def _untrained(asked: argparse.Namespace, output: Path) -> None:
    """Write the same network with random weights to `output`."""
    plugin: Any = registry.load(backbones.__name__, _NAME, kind="backbone")
    model = plugin.build(asked.alpha, asked.input_size, asked.input_size)
    randomise(KerasGraph.of(model), seed=0)
    spec = plugin.SPEC
    write_backbone(output, model, BackboneFacts(_NAME, spec.normalisation, spec.licence, spec.licence_url, "nothing"))


def _teacher(name: str) -> TeacherChoice:
    folder = Path(name)
    return TeacherChoice(bundle=folder) if folder.is_dir() else TeacherChoice(BackboneChoice(name))


def _lesson(asked: argparse.Namespace) -> DistillOptions:
    return DistillOptions(asked.temperature, asked.label_weight, asked.feature_weight)


def _epochs(says: Says, epochs: int) -> int:
    """Return how many epochs take as long without a teacher as `epochs` took with all that the teacher needs."""
    seconds = says.cpu_seconds()
    tuning = sum(took for title, took in seconds.items() if title.startswith("tuning"))
    teacher = sum(took for title, took in seconds.items() if "teacher" in title)
    return epochs + round(teacher / (tuning / epochs))
