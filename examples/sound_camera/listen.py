"""At the camera: raises an event for a sound it knows, and keeps the seconds before it.

arecord -q -t raw -f S16_LE -r 16000 | python listen.py sounds.bundle events/
python listen.py sounds.bundle events/ --recording night.wav
"""

from __future__ import annotations

import argparse
import sys
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import EdgetransferError
from edgetransfer.runtime import EventDetector, Predictor, SoundStream
from edgetransfer.runtime.sound_stream import SampleStream
from edgetransfer.runtime.stream import Event

SMOOTH = 5  # windows, a half second apart; with 3 and 0.6 more than twice as many were wrong on a stream of ESC-10
SURE = 0.8
REFRACTORY_S = 3.0  # a dog that barks on is one event
QUIET = ("background",)
PRE_ROLL_S = 4.0
RATE_HZ = 16_000
BLOCK_SAMPLES = 1_600  # 0.1 s, as a microphone gives it: so finely is the pre-roll cut


class PreRoll:
    """Keeps the last seconds of a sound."""

    def __init__(self, seconds: float) -> None:
        self._sound = np.zeros(0, np.float32)
        self._most = int(seconds * RATE_HZ)

    def push(self, samples: NDArray[np.float32]) -> None:
        self._sound = np.concatenate([self._sound, samples])[-self._most :]

    def write(self, path: Path) -> None:
        """Write what is kept as a 16-bit WAV."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(np.clip(np.rint(self._sound * 32768), -32768, 32767).astype("<i2").tobytes())


def events(predictor: Predictor, samples: Iterable[NDArray[np.float32]], pre_roll: PreRoll) -> Iterator[Event]:
    """Yield each sound that is known once; `pre_roll` then holds what led to it. Strangers have no label."""
    stream = SoundStream(predictor, smooth=SMOOTH)
    detector = EventDetector(least_score=SURE, quiet=QUIET, refractory_s=REFRACTORY_S)
    for piece in samples:
        for start in range(0, len(piece), BLOCK_SAMPLES):
            block = piece[start : start + BLOCK_SAMPLES]
            pre_roll.push(block)
            for answer in stream.push(block):
                event = detector.push(answer.end_s, answer.result.label, answer.result.score)
                if event is not None:
                    yield event


def main() -> int:
    """Listen until the sound ends."""
    parser = argparse.ArgumentParser(description="Raise an event for each known sound.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path, help="where the seconds before each event are written")
    parser.add_argument("--recording", type=Path, help="without it raw samples at 16 kHz from standard input")
    args = parser.parse_args()
    pre_roll = PreRoll(PRE_ROLL_S)
    try:
        args.folder.mkdir(parents=True, exist_ok=True)
        with Predictor.load(args.bundle) as predictor:
            if args.recording is None:
                samples: Iterable[NDArray[np.float32]] = SampleStream(sys.stdin.buffer, RATE_HZ, rate_hz=RATE_HZ)
            else:
                samples = [predictor.reader.read(args.recording)]
            for event in events(predictor, samples, pre_roll):
                path = args.folder / f"{event.time_s:09.2f}_{event.label}.wav"
                pre_roll.write(path)
                print(f"{event.time_s:.2f} s: {event.label} {event.score:.2f} {path}", flush=True)
    except (EdgetransferError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
