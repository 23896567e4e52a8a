"""The runtime inside an app: numpy and one engine. No Pillow, no Keras, no command line.

Takes raw frames, three bytes a pixel (RGB), from a file or standard input, for example a camera's:

    ffmpeg -loglevel error -i /dev/video0 -f rawvideo -pix_fmt rgb24 -s 640x480 - \
        | python app.py waste.bundle --size 640x480

The main thread reads frames, a worker answers. A live source is faster than any worker at times, so a frame that
nobody has looked at gives way to a newer one; with --every none does.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import EdgetransferError
from edgetransfer.runtime import Predictor
from edgetransfer.verify import verify

Frame = NDArray[np.uint8]
Answer = Callable[[int, Any, float], None]
"""Is called with the frame's number, its result, and how long the answer took in ms."""


class Worker:
    """Answers frames in a thread of its own; `offer` may be called from any thread."""

    def __init__(self, predictor: Predictor, answer: Answer) -> None:
        self._predictor, self._answer = predictor, answer
        self._changed = threading.Condition()
        self._waiting: tuple[int, Frame] | None = None
        self._closed = False
        self._error: Exception | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="edgetransfer", daemon=True)
        self._thread.start()

    def offer(self, number: int, frame: Frame, *, wait: bool = False) -> None:
        """Hand over a frame; it replaces one that is still waiting, unless `wait` says to wait for its turn."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._waiting is None or self._error is not None)
            self._raise_error()
            self.dropped += self._waiting is not None
            self._waiting = (number, frame)
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for the last answer and end the thread; raises what went wrong in it."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_error()

    def _work(self) -> None:
        try:
            while (item := self._take()) is not None:
                number, frame = item
                began = time.perf_counter()
                result = self._predictor.predict(frame)
                self._answer(number, result, 1e3 * (time.perf_counter() - began))
        except Exception as error:  # goes to whoever calls next; a thread that dies unheard stops the app
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _take(self) -> tuple[int, Frame] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closed)
            item, self._waiting = self._waiting, None
            self._changed.notify_all()
            return item

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def raw_frames(source: BinaryIO, width_px: int, height_px: int) -> Iterator[Frame]:
    """Yield frames (height_px, width_px, 3) uint8 RGB until the source ends; an incomplete last one is left out."""
    size_bytes = width_px * height_px * 3
    while len(content := source.read(size_bytes)) == size_bytes:
        yield np.frombuffer(content, np.uint8).reshape(height_px, width_px, 3)


def main() -> int:
    """Check the bundle, then answer frames until they end."""
    args = _arguments()
    times_ms: list[float] = []

    def answer(number: int, result: Any, latency_ms: float) -> None:
        times_ms.append(latency_ms)
        print(f"frame {number}: {result.label} {result.score:.3f}  {latency_ms:.2f} ms", flush=True)

    try:
        report = verify(args.bundle)  # once, at the start: is this the bundle that was built, and does it compute here?
        if not report.passed:
            print(report.as_text(), file=sys.stderr)
            return 1
        with Predictor.load(args.bundle, threads=args.threads) as predictor, _opened(args.source) as source:
            worker = Worker(predictor, answer)
            for number, frame in enumerate(raw_frames(source, *args.size)):
                worker.offer(number, frame, wait=args.every)
            worker.close()
    except (EdgetransferError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if times_ms:
        p50, p90 = np.percentile(times_ms, (50, 90))
        print(f"{len(times_ms)} answers, {worker.dropped} frames dropped, p50 {p50:.2f} ms, p90 {p90:.2f} ms")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Answer raw RGB frames with a bundle.")
    parser.add_argument("bundle")
    parser.add_argument("--size", type=_size, required=True, metavar="WIDTHxHEIGHT", help="of the frames, in pixels")
    parser.add_argument("--source", default="-", metavar="FILE", help="raw frames; - is standard input, the default")
    parser.add_argument("--every", action="store_true", help="answer every frame, however long it takes")
    parser.add_argument("--threads", type=int, default=1, help="of one inference; more can be slower")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 640x480, got {text!r}")
    return int(width), int(height)


def _opened(source: str) -> contextlib.AbstractContextManager[BinaryIO]:
    return contextlib.nullcontext(sys.stdin.buffer) if source == "-" else open(source, "rb")  # noqa: PTH123


if __name__ == "__main__":
    sys.exit(main())
