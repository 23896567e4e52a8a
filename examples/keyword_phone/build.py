"""At the desk: folders of short recordings in, a bundle that spots keywords out."""

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
    """Build, and refuse what hears too badly."""
    parser = argparse.ArgumentParser(description="Build a bundle from folders of recordings, one folder a word.")
    parser.add_argument("recordings", type=Path, help="WAV, FLAC or Ogg; also 'other' words and 'background'")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="pixel_6")
    parser.add_argument("--at-least", type=float, default=0.8, metavar="SHARE", help="accuracy on the test split")
    args = parser.parse_args()
    options = BuildOptions(
        args.recordings,
        BackboneChoice("speech_embedding"),
        device=args.device,
        golden="synthetic",  # nobody's voice goes to the phones
        float_reference=False,
    )
    try:
        wish = HeadWish("word", args.recordings)
        report = build_split(options, [wish], args.bundle, how=ExportOptions(force=True))
    except EdgetransferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.as_text())
    accuracy = report.heads[0].exported["test"].accuracy
    if accuracy < args.at_least:
        print(f"Error: accuracy {accuracy:.1%}, wanted {args.at_least:.1%}: more speakers help most", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
