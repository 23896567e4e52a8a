"""On the device: looks at frames and says which flap to open, once it is sure.

Frames come from a folder, in the order of their names, as a camera program writes them; `frames` is the one function
to change for another source: whatever it yields goes to `Predictor.predict`, paths and (H, W, 3) uint8 RGB arrays
alike.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from edgetransfer.errors import EdgetransferError, InputError
from edgetransfer.runtime import Predictor

SUFFIXES = {".jpg", ".jpeg", ".png"}
LOOKS = 3  # so many frames in a row must agree: one look at something that falls is not enough
SURE = 0.6  # and each of them must have at least this score
POLL_S = 0.2


class Flap:
    """Opens when the last frames agree, and not again before something else was there."""

    def __init__(self) -> None:
        self._seen: deque[str | None] = deque(maxlen=LOOKS)
        self._open_for: str | None = None

    def look(self, label: str, score: float) -> str | None:
        """Take in one answer; return the label to open for, None to leave the flap as it is."""
        self._seen.append(label if score >= SURE else None)
        agreed = self._seen[0] if len(self._seen) == LOOKS and len(set(self._seen)) == 1 else None
        if agreed is None or agreed == self._open_for:
            return None
        self._open_for = agreed
        return agreed


def frames(folder: Path, *, follow: bool) -> Iterator[Path]:
    """Yield the photos in `folder` by name; with `follow` wait for further ones."""
    seen: set[Path] = set()
    while True:
        new = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path not in seen)
        yield from new
        seen.update(new)
        if not follow:
            return
        time.sleep(POLL_S)


def main() -> int:
    """Look until the frames end."""
    parser = argparse.ArgumentParser(description="Say which flap to open for the frames in a folder.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--follow", action="store_true", help="wait for further frames; end with Ctrl-C")
    args = parser.parse_args()
    flap = Flap()
    try:
        with Predictor.load(args.bundle) as predictor:
            for path in frames(args.folder, follow=args.follow):
                try:
                    result = predictor.predict(path)
                except InputError as error:  # a frame that is only half written: the next one comes soon
                    print(f"skipped: {error}", file=sys.stderr)
                    continue
                print(f"{path.name}: {result.label} {result.score:.3f}")
                if (label := flap.look(result.label, result.score)) is not None:
                    print(f"open the flap for {label}")
    except (EdgetransferError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
