"""At the desk: a frozen backbone, the same fine-tuned, and both fused; three bundles, compared on the same photos."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from edgetransfer.cli.progress import progress
from edgetransfer.errors import EdgetransferError
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.compare import compare
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.finetune import finetune
from edgetransfer.pipeline.fuse import fuse
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import read_data
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.transfer.tuning import TuneOptions


def main() -> int:
    """Tune, fuse, build and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder with a folder for each class, or a CSV")
    parser.add_argument("output", type=Path, help="a folder for the backbones and bundles")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--device", help="such as raspberry_pi_4")
    parser.add_argument("--epochs", type=int, default=12, help="of tuning [default: 12]")
    args = parser.parse_args()
    options = BuildOptions(args.data, BackboneChoice(args.backbone), device=args.device, golden="synthetic")
    try:
        with progress(quiet=False) as watcher:
            three(options, args.output, TuneOptions(epochs=args.epochs), watcher)
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def three(options: BuildOptions, output: Path, how: TuneOptions, watcher: Watcher) -> None:
    """Make the backbones `tuned` and `fused`, a bundle of each and of the frozen one, and compare the three."""
    output.mkdir(parents=True, exist_ok=True)
    print(finetune(options, how, output / "tuned.keras", force=True, watcher=watcher).as_text())
    print(fuse(options, [output / "tuned.keras"], output / "fused.keras", force=True, watcher=watcher).as_text())
    backbones = {"frozen": options.backbone}
    backbones |= {name: BackboneChoice(f"keras:{output / name}.keras") for name in ("tuned", "fused")}
    for name, backbone in backbones.items():
        build(
            replace(options, backbone=backbone),
            output / f"{name}.bundle",
            how=ExportOptions(force=True),
            watcher=watcher,
        )
    data = read_data(options, options.data, watcher)
    print(compare([output / f"{name}.bundle" for name in backbones], data, watcher=watcher).as_text())


if __name__ == "__main__":
    sys.exit(main())
