"""The app's loop: samples in, one call for each keyword that is spoken.

python listen.py words.bundle recording.wav
arecord -q -t raw -f S16_LE -r 16000 | python listen.py words.bundle

It imports numpy and, through edgetransfer, one engine; a WAV file needs the extra `audio`, samples do not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import EdgetransferError
from edgetransfer.runtime import EventDetector, Predictor, SoundStream
from edgetransfer.runtime.sound_stream import SampleStream
from edgetransfer.runtime.stream import Event

SMOOTH = 6  # windows, together 1.2 s: with 4, words that rhyme with a keyword fired too
SURE = 0.9  # the beginning of a word can be another's; the whole word has more
REFRACTORY_S = 1.0  # of two syllables with a gap between them only the first counts
QUIET = ("background", "other")
RATE_HZ = 16_000
BLOCK_SAMPLES = 1_600  # 0.1 s, as a microphone gives it


def keywords(predictor: Predictor, samples: Iterable[NDArray[np.float32]]) -> Iterator[Event]:
    """Yield each keyword once, when it has been heard, from pieces of sound at the model's rate."""
    stream = SoundStream(predictor, smooth=SMOOTH)
    events = EventDetector(least_score=SURE, quiet=QUIET, refractory_s=REFRACTORY_S)
    for piece in samples:
        for answer in stream.push(piece):
            event = events.push(answer.end_s, answer.result.label, answer.result.score)
            if event is not None:
                yield event


def heard(event: Event) -> None:
    """Do what the word is for; here it is printed."""
    print(f"{event.time_s:.2f} s: {event.label} {event.score:.2f}", flush=True)


def microphone(predictor: Predictor, recording: Path | None) -> Iterator[NDArray[np.float32]]:
    """Yield pieces of a recording, or of raw 16-bit samples from standard input."""
    if recording is None:
        yield from SampleStream(sys.stdin.buffer, RATE_HZ, rate_hz=RATE_HZ)
        return
    sound = predictor.reader.read(recording)
    for start in range(0, len(sound), BLOCK_SAMPLES):
        yield sound[start : start + BLOCK_SAMPLES]


def main() -> int:
    """Listen until the sound ends."""
    parser = argparse.ArgumentParser(description="Say which keywords are spoken, and when.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("recording", type=Path, nargs="?", help="without it raw samples at 16 kHz from standard input")
    args = parser.parse_args()
    try:
        with Predictor.load(args.bundle) as predictor:
            for event in keywords(predictor, microphone(predictor, args.recording)):
                heard(event)
    except (EdgetransferError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
