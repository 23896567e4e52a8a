"""At the desk: photos in, bundle out. The same as `edgetransfer build`, from Python."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgetransfer.errors import EdgetransferError
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice


class Stages:
    """Is told what is going on, and prints the stages only."""

    def stage(self, title: str) -> None:
        print(title, file=sys.stderr, flush=True)

    def step(self, done: int, total: int) -> None:
        """Ignored here; a window would move its bar."""

    def note(self, text: str) -> None:
        print(f"note: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Build, and refuse what is not good enough for the bin."""
    parser = argparse.ArgumentParser(description="Build a bundle from a folder of photos, one folder a class.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--device", default="raspberry_pi_4")
    parser.add_argument("--at-least", type=float, default=0.8, metavar="SHARE", help="accuracy on the test split")
    args = parser.parse_args()
    options = BuildOptions(
        data=args.photos,
        backbone=BackboneChoice(args.backbone),
        device=args.device,
        augment=2,  # a bin sees bottles from every side
        golden="synthetic",  # nobody's photos go to the cameras
    )
    try:
        report = build(options, args.bundle, how=ExportOptions(force=True), watcher=Stages())
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.as_text())
    accuracy = report.exported["test"].accuracy
    if accuracy < args.at_least:
        print(f"Error: accuracy {accuracy:.1%}, wanted {args.at_least:.1%}: more photos help most", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
