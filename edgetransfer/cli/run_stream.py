"""Streams of the command run: a microphone's samples, a long sound's windows, a camera's frames; one line an answer."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

from edgetransfer.cli import console
from edgetransfer.errors import EngineError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.runtime.stream import StreamAnswer

    Frame = NDArray[np.uint8]

STANDARD_INPUT = "-"
_BLOCK_SAMPLES = 1 << 16  # of a file, between answers: 4 s at 16 kHz
_MOST_SIDE_PX = 16_384

Write = Callable[[str, dict[str, Any]], None]
"""Is called with what stands before an answer, and the answer as JSON values."""


@dataclass(frozen=True, slots=True)
class StreamWish:
    """What of a stream is asked for; see the options."""

    stream: bool
    rate: float | None
    channels: int | None
    frames: str | None
    size: tuple[int, int] | None
    smooth: int
    changes: bool

    @property
    def wanted(self) -> bool:
        """Whether it is a stream at all."""
        return self.stream or self.rate is not None or self.frames is not None


def stream_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of streams, which the function gets as `wish`."""

    @click.option("--stream", is_flag=True, help="Answer every window of a sound, with its time; - is a WAV in a pipe.")
    @click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="HZ",
                  help="With -: raw signed 16-bit little-endian samples, so many a second. Of --frames the frames a "
                  "second, for their times. [default: the times at which frames came]")  # fmt: skip
    @click.option("--channels", type=click.IntRange(1, 64), metavar="N", help="Of raw samples. [default: 1]")
    @click.option("--frames", metavar="FILE",
                  help="Raw frames, a byte for each channel of the bundle: three of RGB, one of grey; - is standard "
                  "input.")  # fmt: skip
    @click.option("--size", callback=_read_size, metavar="WxH", help="Of --frames, in pixels.")
    @click.option("--smooth", type=click.IntRange(1), default=1, show_default=True, metavar="N",
                  help="Answer about the last N windows or frames together.")  # fmt: skip
    @click.option("--changes", is_flag=True, help="Print an answer of a stream only when its label is another.")
    @functools.wraps(function)
    def with_wish(
        stream: bool,
        rate: float | None,
        channels: int | None,
        frames: str | None,
        size: tuple[int, int] | None,
        smooth: int,
        changes: bool,
        **others: Any,
    ) -> Any:
        return function(wish=StreamWish(stream, rate, channels, frames, size, smooth, changes), **others)

    return with_wish


def check_wish(wish: StreamWish, files: Sequence[str]) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: options that are for something else, files beside --frames, or nothing to answer.
    """
    if wish.frames is None and not files:
        raise click.UsageError("Missing argument 'FILES...': images, sounds or sentences, or - for standard input.")
    if wish.frames is not None and files:
        raise click.UsageError(f"--frames: takes the place of FILES, got {files[0]!r} as well.")
    if (wish.frames is None) != (wish.size is None):
        raise click.UsageError("--frames and --size: each needs the other, such as --frames - --size 640x480.")
    if wish.frames is None and wish.rate is not None and list(files) != [STANDARD_INPUT]:
        raise click.UsageError("--rate: is for raw samples on standard input (-); files say their rate themselves.")
    if wish.channels is not None and (wish.rate is None or wish.frames is not None):
        raise click.UsageError("--channels: is for raw samples on standard input, with --rate.")
    if (wish.smooth > 1 or wish.changes) and not wish.wanted:
        raise click.UsageError("--smooth and --changes: are for streams, with --stream, --rate or --frames.")
    if wish.stream and wish.frames is not None:
        raise click.UsageError("--stream: is for sounds; --frames is a stream by itself.")


def answer_stream(
    ctx: click.Context, predictor: Predictor, files: Sequence[str], wish: StreamWish, write: Write
) -> NoReturn:
    """Write the answers as they come, and leave with the exit code: 1 if a file could not be read, 130 after Ctrl-C.

    Raises:
        EdgetransferError: standard input or --frames is not what was said.
    """
    try:
        if wish.frames is not None:
            with _opened(wish.frames) as source:
                _write_answers(_of_frames(predictor, source, wish), wish.frames, wish, write, alone=True)
            ctx.exit(0)
        failed = [not _answer_sound(predictor, name, wish, write, alone=len(files) == 1) for name in files]
    except KeyboardInterrupt:  # how a stream is ended; nothing went wrong
        ctx.exit(console.EXIT_INTERRUPTED)
    ctx.exit(1 if any(failed) else 0)


def _answer_sound(predictor: Predictor, name: str, wish: StreamWish, write: Write, *, alone: bool) -> bool:
    """Write the answers of one sound; one that cannot be read is told, and the others go on."""
    try:
        _write_answers(_of_sound(predictor, name, wish), name, wish, write, alone=alone)
    except EngineError:
        raise  # nothing else would go better
    except BrokenPipeError:
        raise  # it is the answers' reader that has gone
    except (InputError, OSError) as error:
        text = console.os_error_text(error) if isinstance(error, OSError) else console.one_line(str(error))
        known = name in text or name == STANDARD_INPUT
        click.echo(f"Error: {text if known else f'{name}: {text}'}", err=True)
        return False
    return True


def _write_answers(answers: Iterator[StreamAnswer], name: str, wish: StreamWish, write: Write, *, alone: bool) -> None:
    from edgetransfer.runtime.stream import said

    before: Any = _write_answers  # no answer is this
    for answer in answers:
        now = said(answer.result)
        if wish.changes and now == before:
            continue
        before = now
        at = f"{answer.start_s:.2f} s"
        times = {"start_s": round(answer.start_s, 6), "end_s": round(answer.end_s, 6)}
        write(at if alone else f"{name} {at}", {"file": name, **times, **answer.result.to_json()})


def _of_sound(predictor: Predictor, name: str, wish: StreamWish) -> Iterator[StreamAnswer]:
    from edgetransfer.runtime.stream import SoundStream

    stream = SoundStream(predictor, smooth=wish.smooth)
    if name != STANDARD_INPUT:
        samples = predictor.reader.read(Path(name))
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            yield from stream.push(samples[start : start + _BLOCK_SAMPLES])
    else:
        from edgetransfer.runtime.sound_stream import SampleStream

        source = SampleStream(sys.stdin.buffer, stream.sample_rate_hz, rate_hz=_hertz(wish), channels=wish.channels)
        heard = 0
        for piece in source:
            heard += len(piece)
            yield from stream.push(piece)
        _tell_left_over(source.left_over_bytes, "sample of every channel")
        if not heard:
            raise InputError("standard input: expected samples, got none")
    yield from stream.finish()


def _hertz(wish: StreamWish) -> int | None:
    if wish.rate is not None and not wish.rate.is_integer():
        raise InputError(f"--rate: expected a whole number of samples a second, got {wish.rate:g}")
    return None if wish.rate is None else int(wish.rate)


def _of_frames(predictor: Predictor, source: BinaryIO, wish: StreamWish) -> Iterator[StreamAnswer]:
    from edgetransfer.runtime.stream import FrameStream
    from edgetransfer.spec.model_input import channels_of

    stream, began = FrameStream(predictor, smooth=wish.smooth), None
    for number, frame in enumerate(_frames(source, wish, channels_of(predictor.bundle.manifest.preprocess))):
        began = time.monotonic() if began is None else began
        yield stream.push(frame, time.monotonic() - began if wish.rate is None else number / wish.rate)


def _frames(source: BinaryIO, wish: StreamWish, channels: int) -> Iterator[Frame]:
    import numpy as np

    width, height = wish.size or (0, 0)
    content, number, size_bytes = b"", 0, width * height * channels
    while len(content := source.read(size_bytes)) == size_bytes:
        yield np.frombuffer(content, np.uint8).reshape(height, width, channels)
        number += 1
    if not number:
        raise InputError(
            f"frames: expected {size_bytes:,} bytes for one of {width} x {height} pixels, got {len(content):,}"
        )
    _tell_left_over(len(content), f"frame of {width} x {height} pixels")


def _tell_left_over(count: int, what: str) -> None:
    if count:
        plural = "s" if count > 1 else ""
        click.echo(f"note: left out {count:,} byte{plural} at the end, which are no whole {what}", err=True)


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if name == STANDARD_INPUT else Path(name).open("rb")


def _read_size(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return (width, height) of WxH.

    Raises:
        BadParameter: it is something else.
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(1 <= side <= _MOST_SIDE_PX for side in size):
        raise click.BadParameter(
            f"{value!r}: expected width and height in pixels, such as 640x480, each at most {_MOST_SIDE_PX}",
            ctx,
            parameter,
        )
    return size
