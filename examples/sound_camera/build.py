"""At the desk: folders of sounds in, a bundle out that knows them and turns others away."""

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
    """Build one head on YAMNet's first layers, and say how well it hears."""
    parser = argparse.ArgumentParser(description="Build a bundle from folders of sounds, one folder a kind.")
    parser.add_argument("sounds", type=Path, help="WAV, FLAC or Ogg; 'background' is what is there all day")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--weights", type=Path, help="of yamnet_256; without it they are downloaded")
    parser.add_argument("--device", default="raspberry_pi_zero_2w")
    parser.add_argument("--reject", type=float, default=0.1, metavar="SHARE", help="of known sounds, turned away too")
    parser.add_argument("--at-least", type=float, default=0.7, metavar="SHARE", help="accuracy on the test split")
    args = parser.parse_args()
    options = BuildOptions(
        args.sounds,
        BackboneChoice("yamnet_256", weights=args.weights),
        device=args.device,
        golden="synthetic",  # what was recorded at home stays there
        float_reference=False,
    )
    try:
        wish = HeadWish("sound", args.sounds)
        report = build_split(options, [wish], args.bundle, reject=args.reject, how=ExportOptions(force=True))
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.as_text())
    accuracy = report.heads[0].exported["test"].accuracy
    if accuracy < args.at_least:
        print(f"Error: accuracy {accuracy:.1%}, wanted {args.at_least:.1%}: more places help most", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
