"""At the desk: one backbone for a camera, and a head for each table of photos; all may be taught there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgetransfer.errors import EdgetransferError
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.pipeline.split import build_split
from edgetransfer.pipeline.split_head import HeadWish
from edgetransfer.spec.backbone import BackboneChoice


def main() -> int:
    """Build one bundle that answers all questions in one pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("heads", nargs="+", metavar="NAME=DATA", help="a head, and the folder or CSV it learns from")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    args = parser.parse_args()
    wishes = [HeadWish(name, Path(data)) for name, _, data in (text.partition("=") for text in args.heads)]
    options = BuildOptions(wishes[0].data, BackboneChoice(args.backbone), golden="synthetic")
    try:
        report = build_split(options, wishes, args.bundle, teachable=True, how=ExportOptions(force=True))
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.as_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
