"""Samples from a pipe, as recorders write them: raw 16-bit ones, or a WAV whose end nobody knows yet.

libsndfile wants to look ahead and back in a file, which a pipe cannot, so the few bytes of a WAV header are read here.
The samples are the same as those of the file: equal channels, equal resampling.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.sound_files import RATES_HZ, mix, resample_stream

MOST_CHANNELS = 64
_PIECE_BYTES = 1 << 16
# A recorder that writes into a pipe does not know how long it will take: 0, or close to a limit of 32 bits (arecord
# writes 2^31, SoX 2^31 less its header, ffmpeg 2^32 - 1).
_ENDLESS_BYTES = 0x7FFF0000
_HEADER_BYTES = 12
_MOST_CHUNK_BYTES = 1 << 20  # of what is said before the samples
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DTYPES = {(_PCM, 16): "<i2", (_PCM, 32): "<i4", (_FLOAT, 32): "<f4"}


class _Format(NamedTuple):
    rate_hz: int
    channels: int
    dtype: str
    size_bytes: int | None  # None: until the pipe is closed


class SampleStream:
    """The samples of a pipe, (n,) float32 mono from -1 to 1 at another rate, piece by piece as they come.

    Attributes:
        left_over_bytes: After the end: bytes at it that were no whole sample of every channel.
    """

    def __init__(
        self, source: BinaryIO, sample_rate_hz: int, *, rate_hz: int | None = None, channels: int | None = None
    ) -> None:
        """Look at the start of `source`.

        Args:
            source: What is read from, to its end.
            sample_rate_hz: What samples are resampled to.
            rate_hz: Of raw signed 16-bit little-endian samples; None expects a WAV header, which says so itself.
            channels: Of raw samples, interleaved; None is one.

        Raises:
            InputError: neither; a WAV that says another rate or number of channels, or whose samples are neither 16-
                or 32-bit integers nor 32-bit floats; or the package for another rate is not installed.
        """
        self.left_over_bytes = 0
        self._source = source
        self._first = _read_exactly(source, _HEADER_BYTES)
        if self._first[:4] == b"RIFF" and self._first[8:] == b"WAVE":
            self._first, self._format = b"", _wav_format(source)
            _check_stated(self._format, rate_hz, channels)
        elif rate_hz is None:
            raise InputError(
                f"sound: expected a WAV header, got {self._first[:8]!r}; raw 16-bit samples need their rate "
                "(--rate 16000), other files a name"
            )
        else:
            self._format = _Format(rate_hz, channels or 1, "<i2", None)
        _check_format(self._format)
        self._resample = resample_stream(self._format.rate_hz, sample_rate_hz)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield what has come, until the source ends.

        Raises:
            InputError: samples that are not finite or far beyond 1; says when.
        """
        frame_bytes, waiting, frames = self._format.channels * np.dtype(self._format.dtype).itemsize, b"", 0
        for piece in self._pieces():
            waiting += piece
            whole = len(waiting) // frame_bytes * frame_bytes
            if whole:
                yield self._resample(self._mono(waiting[:whole], frames), False)
                frames += whole // frame_bytes
                waiting = waiting[whole:]
        self.left_over_bytes = len(waiting)
        yield self._resample(np.zeros(0, np.float32), True)

    def _pieces(self) -> Iterator[bytes]:
        left = self._format.size_bytes
        if self._first:
            yield self._first
        read: Any = getattr(self._source, "read1", self._source.read)  # at once what has come, not what is asked for
        while left is None or left > 0:
            piece = read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES))
            if not piece:
                return
            left = None if left is None else left - len(piece)
            yield piece

    def _mono(self, content: bytes, frames: int) -> NDArray[np.float32]:
        rows: NDArray[Any] = np.frombuffer(content, self._format.dtype).reshape(-1, self._format.channels)
        if self._format.dtype != "<f4":
            rows = rows.astype(np.float32) / np.float32(32768 if self._format.dtype == "<i2" else 2**31)
        try:
            return mix(rows)
        except InputError as error:
            raise InputError(f"sound after {frames / self._format.rate_hz:.2f} s: {error}") from error


def _wav_format(source: BinaryIO) -> _Format:
    """Read up to the first sample and return what the header says."""
    found: tuple[int, int, int, int] | None = None
    while True:
        head = _read_exactly(source, 8)
        if len(head) < 8:
            raise InputError("sound: the WAV ends before its samples begin")
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data":
            break
        if size > _MOST_CHUNK_BYTES:
            raise InputError(f"sound: damaged WAV header, a part {name!r} of {size:,} bytes before the samples")
        content = _read_exactly(source, size + size % 2)[:size]
        if name == b"fmt " and len(content) >= 16:
            kind, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if kind == _EXTENSIBLE and len(content) >= 26:
                kind = struct.unpack("<H", content[24:26])[0]
            found = kind, channels, rate_hz, bits
    if found is None:
        raise InputError("sound: the WAV does not say what its samples are (no part 'fmt ')")
    kind, channels, rate_hz, bits = found
    if (kind, bits) not in _DTYPES:
        raise InputError(
            f"sound: expected a WAV of 16- or 32-bit integers or 32-bit floats, got {bits} bits of kind {kind}; "
            "ffmpeg -f s16le makes raw 16-bit samples of it"
        )
    return _Format(rate_hz, channels, _DTYPES[kind, bits], None if size == 0 or size >= _ENDLESS_BYTES else size)


def _check_stated(found: _Format, rate_hz: int | None, channels: int | None) -> None:
    for what, stated, got in (("rate in Hz", rate_hz, found.rate_hz), ("channels", channels, found.channels)):
        if stated is not None and stated != got:
            raise InputError(f"sound: {what}: {stated} was said, its WAV header says {got}; leave it out")


def _check_format(found: _Format) -> None:
    if not RATES_HZ[0] <= found.rate_hz <= RATES_HZ[1]:
        raise InputError(
            f"sound: expected a sample rate of {RATES_HZ[0]:,} to {RATES_HZ[1]:,} Hz, got {found.rate_hz:,}"
        )
    if not 1 <= found.channels <= MOST_CHANNELS:
        raise InputError(f"sound: expected 1 to {MOST_CHANNELS} channels, got {found.channels}")


def _read_exactly(source: BinaryIO, size_bytes: int) -> bytes:
    """Return so many bytes, fewer only at the end; a pipe gives them in pieces."""
    content = b""
    while len(content) < size_bytes and (piece := source.read(size_bytes - len(content))):
        content += piece
    return content
