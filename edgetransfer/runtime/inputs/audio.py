"""Sounds: files are decoded and resampled, samples become log-mel windows; whole clips and streams alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.log_mel import LogMel
from edgetransfer.spec.audio import AudioInput

_BLOCK_SAMPLES = 1 << 18  # looked at together: 16 seconds at 16 kHz, about 1 MB of frames


def open_reader(spec: AudioInput, files: Callable[[str], bytes]) -> AudioReader:
    """Return the reader for sounds; it needs no file of the bundle.

    Raises:
        InputError: a front end that this version does not compute, or not as `spec` says.
    """
    return AudioReader(spec)


class AudioReader:
    """See `InputReader`.

    A sound is cut as YAMNet's `pad_waveform` cuts it: silence is added until it fills a window, and beyond the first
    window until it fills a whole number of hops. So a short clip is one window, and no sample is left out.
    """

    def __init__(self, spec: AudioInput) -> None:
        self._spec = spec
        self._log_mel = _log_mel(spec)

    @property
    def spec(self) -> AudioInput:
        """What it makes windows for."""
        return self._spec

    def read(self, source: Any) -> NDArray[np.float32]:
        """Return (n,) float32 mono from -1 to 1 at the model's rate, of a path, a file's bytes or samples.

        Raises:
            InputError: no sound that can be read; samples that are neither float32 nor int16, or not finite.
        """
        from edgetransfer.runtime.sound_files import read_sound  # here, as for images

        return read_sound(source, self._spec.sample_rate_hz)

    def prepare(self, raw: NDArray[Any]) -> NDArray[np.uint8]:
        """Return (windows, frames, bands, 1) uint8 log-mel of a whole sound, at least one window.

        Raises:
            InputError: no (n,) float32 of finite samples, or none of them.
        """
        if getattr(raw, "size", 1) == 0:
            raise InputError("sound: expected at least one sample, got none")
        stream = AudioStream(self._spec, self._log_mel)
        return np.concatenate([stream.push(raw), stream.finish()])


class AudioStream:
    """Makes windows of a sound that comes in pieces, the same as of the whole sound.

    It keeps less than a window of log-mel and less than a frame of samples between calls. Not for several threads.

    Example:
        stream = AudioStream(bundle.manifest.preprocess)
        for chunk in microphone:
            for window in stream.push(chunk):
                features = predictor.run(window)
    """

    def __init__(self, spec: AudioInput, log_mel: LogMel | None = None) -> None:
        """Begin a stream for inputs like `spec`; `log_mel` is its front end, if there is one already.

        Raises:
            InputError: a front end that this version does not compute, or not as `spec` says.
        """
        self._spec = spec
        self._log_mel = log_mel or _log_mel(spec)
        self._begin()

    @property
    def window_samples(self) -> int:
        """From the first to the last sample of a window."""
        front_end = self._log_mel.front_end
        return (self._spec.frames - 1) * front_end.hop_samples + front_end.frame_samples

    @property
    def hop_samples(self) -> int:
        """From the start of a window to that of the next."""
        return self._spec.hop_frames * self._log_mel.front_end.hop_samples

    def push(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the windows that `samples` complete: (windows, frames, bands, 1) uint8 log-mel, often none.

        Args:
            samples: (n,) float32 from -1 to 1 at the model's rate, what comes next; any number of them.

        Raises:
            InputError: another dtype or shape, or not finite.
        """
        _check(samples)
        self._samples += len(samples)
        blocks = range(0, len(samples), _BLOCK_SAMPLES)
        found = [self._windows(samples[start : start + _BLOCK_SAMPLES]) for start in blocks]
        return np.concatenate([np.zeros((0, *self._spec.shape), np.uint8), *found])

    def finish(self) -> NDArray[np.uint8]:
        """Return the last window, filled up with silence: (0 or 1, frames, bands, 1); what is pushed next is new."""
        whole, hop = self.window_samples, self.hop_samples
        needed = whole + -(-max(0, self._samples - whole) // hop) * hop
        silence = needed - self._samples if self._samples else 0
        found = self._windows(np.zeros(silence, np.float32))
        self._begin()
        return found

    def _begin(self) -> None:
        self._samples = 0  # in all
        self._rest = np.zeros(0, np.float32)  # from the start of the next frame on
        self._frames = np.zeros((0, self._spec.bands))  # from the start of the next window on
        self._skip = 0  # frames between two windows that are in neither, if the hop is longer than a window

    def _windows(self, samples: NDArray[np.float32]) -> NDArray[np.uint8]:
        waiting = np.concatenate([self._rest, samples])
        frames = self._log_mel.frames(waiting)
        self._rest = waiting[len(frames) * self._log_mel.front_end.hop_samples :].copy()
        frames = np.concatenate([self._frames, frames])
        hop, length, start = self._spec.hop_frames, self._spec.frames, self._skip
        found = []
        while start + length <= len(frames):
            found.append(self._stored(frames[start : start + length]))
            start += hop
        self._skip = max(0, start - len(frames))
        self._frames = frames[start:].copy()
        return np.stack(found) if found else np.zeros((0, *self._spec.shape), np.uint8)

    def _stored(self, window: NDArray[np.float64]) -> NDArray[np.uint8]:
        below = self._log_mel.front_end.floor_below_peak
        if below is not None:
            window = np.maximum(window, window.max() - below)
        stored = np.rint(window / self._spec.scale) + self._spec.zero_point
        rounded: NDArray[np.uint8] = np.clip(stored, 0, 255).astype(np.uint8)
        return rounded[..., None]


def _log_mel(spec: AudioInput) -> LogMel:
    found = LogMel(spec.front_end)
    rate, bands = found.front_end.sample_rate_hz, found.front_end.bands
    if (spec.sample_rate_hz, spec.bands) != (rate, bands):
        raise InputError(
            f"audio front end {spec.front_end!r}: computes {bands} bands at {rate} Hz, got {spec.bands} at "
            f"{spec.sample_rate_hz} Hz"
        )
    return found


def _check(samples: Any) -> None:
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 1:
        got = f"{samples.dtype} {samples.shape}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise InputError(
            f"sound: expected (n,) float32 mono from -1 to 1, got {got}; 16-bit samples: x.astype(numpy.float32) / "
            "32768"
        )
    if not np.isfinite(samples).all():
        raise InputError("sound: expected finite samples, got NaN or infinity among them")
