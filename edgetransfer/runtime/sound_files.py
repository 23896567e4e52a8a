"""Reads sounds from files, bytes and arrays into mono samples; the only user of soundfile and soxr.

What libsndfile reads is read: WAV, FLAC, Ogg and more. Everything that can be wrong with a file ends in an InputError
with one clear line.
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.files import read_file

MOST_SAMPLES = 1 << 28  # of all channels, 1 GB as float32; 1.5 hours at 48 kHz in mono
RATES_HZ = (4_000, 384_000)  # telephones have 8 kHz, studios 192; what lies outside is a damaged header
_LOUDEST = 2.0  # decoders and resamplers overshoot 1 a little; beyond this, samples are in another unit


def read_sound(source: Any, sample_rate_hz: int) -> NDArray[np.float32]:
    """Return a sound as (n,) float32 mono from -1 to 1 at `sample_rate_hz`.

    Channels are averaged, another rate is resampled (soxr, its high quality), and what overshoots -1 or 1 is clipped.

    Args:
        source: a file's path, its bytes, or samples at that rate already: (n,) or (n, channels), float32 from -1 to 1
            or int16.
        sample_rate_hz: wanted.

    Raises:
        InputError: no such file; empty, truncated or no sound; samples of another dtype or shape, or not finite; or a
            package is not installed. The message begins with the path.
    """
    name = str(source) if isinstance(source, str | os.PathLike) else "sound"
    try:
        if isinstance(source, np.ndarray):
            return to_mono(source)
        if isinstance(source, str | os.PathLike):
            source = read_file(Path(source))
        if not isinstance(source, bytes):
            raise InputError(f"expected a path, a file's bytes or an array of samples, got {type(source).__name__}")
        samples, rate_hz = _decoded(source)
        mono = to_mono(samples)
        return mono if rate_hz == sample_rate_hz else _resampled(mono, rate_hz, sample_rate_hz)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def to_mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Return `samples`, (n,) or (n, channels) float32 from -1 to 1 or int16, as (n,) float32 from -1 to 1.

    Raises:
        InputError: another dtype or shape, none, too large, or not finite.
    """
    if samples.dtype not in (np.dtype(np.float32), np.dtype(np.int16)):
        raise InputError(
            f"expected samples as float32 from -1 to 1 or int16, got {samples.dtype}; make them so with "
            ".astype(numpy.float32), after a division if they have another range"
        )
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise InputError(f"expected samples (n,) or (n, channels), at least one, got an array {samples.shape}")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise InputError(f"expected samples (n, channels), got {samples.shape}: turn them with .T")
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / np.float32(32768)
    return mix(samples[:, None] if samples.ndim == 1 else samples)


def mix(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return samples (n, channels) float32 as (n,) from -1 to 1: the channels' mean, a little overshoot clipped.

    Raises:
        InputError: not finite, or far beyond 1.
    """
    mono = rows[:, 0] if rows.shape[1] == 1 else rows.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise InputError("expected finite samples, got NaN or infinity among them")
    if (peak := float(np.abs(mono).max(initial=0.0))) > _LOUDEST:
        raise InputError(f"expected samples from -1 to 1, got {peak:g}; divide 16-bit samples by 32768")
    clipped: NDArray[np.float32] = np.clip(mono, np.float32(-1), np.float32(1))
    return clipped


def resample_stream(from_hz: int, to_hz: int) -> Callable[[NDArray[np.float32], bool], NDArray[np.float32]]:
    """Return what resamples (n,) pieces of a stream, exactly as `read_sound` does the whole.

    It takes a piece and whether it is the last, and gives (m,) samples from -1 to 1. With another rate they come some
    milliseconds later than they went in.

    Raises:
        InputError: the rates differ and soxr is not installed.
    """
    if from_hz == to_hz:
        return lambda piece, last: piece
    stream = _package("soxr").ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def resampled(piece: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
        clipped: NDArray[np.float32] = np.clip(stream.resample_chunk(piece, last=last), np.float32(-1), np.float32(1))
        return clipped

    return resampled


def _decoded(content: bytes) -> tuple[NDArray[np.float32], int]:
    """Return the samples (n, channels) in a file's bytes, and their rate in hertz."""
    if not content:
        raise InputError("expected a sound, got an empty file")
    soundfile = _package("soundfile")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate_hz, count = int(file.samplerate), file.frames * file.channels
            if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
                raise InputError(f"expected a sample rate of {RATES_HZ[0]:,} to {RATES_HZ[1]:,} Hz, got {rate_hz:,}")
            if count > MOST_SAMPLES:
                raise InputError(f"expected at most {MOST_SAMPLES:,} samples, got {count:,}; cut the file into parts")
            samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
    except (RuntimeError, TypeError, OSError) as trouble:  # soundfile's own errors are RuntimeErrors
        raise InputError(f"expected a whole WAV, FLAC or Ogg file ({_one_line(trouble)})") from trouble
    if len(samples) == 0:
        raise InputError("expected a sound, got a file without samples")
    if len(samples) < count // samples.shape[1]:
        raise InputError(f"damaged: {count // samples.shape[1]:,} samples expected, {len(samples):,} could be read")
    return samples, rate_hz


def _resampled(mono: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    resampled: NDArray[np.float32] = _package("soxr").resample(mono, from_hz, to_hz)
    if len(resampled) == 0:
        raise InputError(f"expected a sound, got one that has no sample at {to_hz:,} Hz")
    return np.clip(resampled, np.float32(-1), np.float32(1))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise InputError(
            f"reading it needs the package {name!r}: pip install 'edgetransfer[audio]'; arrays of samples at the "
            "model's rate need none"
        ) from missing
    except OSError as missing:  # soundfile's wheel for 32-bit Arm comes without the library
        raise InputError(
            f"the package {name!r} does not find its library ({_one_line(missing)}); install libsndfile, on Debian "
            "'apt install libsndfile1'"
        ) from missing


def _one_line(trouble: BaseException) -> str:
    lines = str(trouble).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(trouble).__name__
