"""At the desk: EfficientNet-Lite2, published for PyTorch, teaches a MobileNetV2 of half the width, for a Pi Zero."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgetransfer.cli.progress import progress
from edgetransfer.errors import EdgetransferError
from edgetransfer.models import backbones
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.compare import compare
from edgetransfer.pipeline.distill import VIEWS, TeacherChoice, distill
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import read_data
from edgetransfer.pipeline.transfer_weights import TransferOptions, transfer_weights
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.transfer.distill_lesson import DistillOptions
from edgetransfer.transfer.tuning import TuneOptions

STUDENT = "mobilenet_v2"
TEACHER = "efficientnet_lite2"


def main() -> int:
    """Make the student, let it be taught, build it with and without what it was taught, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder with a folder for each class, or a CSV")
    parser.add_argument("output", type=Path, help="a folder for the backbones and bundles")
    student = parser.add_mutually_exclusive_group()
    student.add_argument("--source", metavar="FILE", help="a wider MobileNetV2 to cut down; else published weights")
    student.add_argument("--student", metavar="FILE", help="a student of your own, a .keras file")
    parser.add_argument("--device", default="raspberry_pi_zero_2w")
    parser.add_argument("--alpha", type=float, default=0.5, help="the student's width [default: 0.5]")
    parser.add_argument("--input-size", type=int, default=160, help="its input in pixels [default: 160]")
    parser.add_argument("--teacher-size", type=int, help="the teacher's [default: 260]")
    parser.add_argument("--epochs", type=int, default=12, help="of teaching [default: 12]")
    args = parser.parse_args()
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        with progress(quiet=False) as watcher:
            teach(args, start(args, watcher), watcher)
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def start(args: argparse.Namespace, watcher: Watcher) -> BackboneChoice:
    """Return the student before it is taught: published, the most important channels of a wider one, or your own."""
    if args.student is not None:
        return BackboneChoice(f"keras:{args.student}")
    if args.source is None:
        return BackboneChoice(STUDENT, alpha=args.alpha, input_px=args.input_size)
    output = args.output / "student.keras"
    target = f"{STUDENT}:{args.alpha:g}:{args.input_size}"
    pixels = backbones.resolve(BackboneChoice(STUDENT)).spec.normalisation
    cut = TransferOptions(f"keras:{args.source}", target, normalisation=pixels, data=args.data)
    transfer_weights(cut, output, force=True, watcher=watcher)
    return BackboneChoice(f"keras:{output}")


def teach(args: argparse.Namespace, student: BackboneChoice, watcher: Watcher) -> None:
    """Write the taught backbone, a bundle of it and one of the untaught, and say how they compare."""
    taught = args.output / "taught.keras"
    options = BuildOptions(args.data, student, device=args.device, golden="synthetic")
    teacher = TeacherChoice(BackboneChoice(TEACHER, input_px=args.teacher_size))
    # Weights that were cut down want their batch norms to learn; published ones bear it.
    norms: dict[str, Any] = {"unfreeze": (1.0,), "lowest_rate": 1.0, "batch_norm": "train"}
    how = TuneOptions(args.epochs, learning_rate=1e-3, views=VIEWS, **norms)
    print(distill(options, teacher, how, DistillOptions(), taught, force=True, watcher=watcher).as_text())
    for name, backbone in (("untaught", student), ("taught", BackboneChoice(f"keras:{taught}"))):
        bundle = args.output / f"{name}.bundle"
        build(replace(options, backbone=backbone), bundle, how=ExportOptions(force=True), watcher=watcher)
    bundles = [args.output / f"{name}.bundle" for name in ("untaught", "taught")]
    print(compare(bundles, read_data(options, args.data, watcher), watcher=watcher).as_text())


if __name__ == "__main__":
    sys.exit(main())
