"""Further views of a training sound: the same thing heard otherwise.

A view is a function of the sound's content, the seed and the view's number, so it can be cached and repeated.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgetransfer.runtime.inputs import InputReader

GAIN_DB = 12.0  # louder or softer by at most this factor of 4
MOST_SHIFT = 0.5  # of the clip, turned round: what leaves at the end comes in at the front
NOISE_DB = (15.0, 45.0)  # white noise lies this far below the clip
MASK_CHANCE = 0.5  # of the views have stripes painted over (SpecAugment, Park et al. 2019)
MASK_SHARE = 0.2  # of a window's frames and of its bands that a stripe covers at most


def augmented_audio(
    raw: NDArray[np.float32], reader: InputReader, *, sha256: str, seed: int, view: int
) -> NDArray[Any]:
    """Return view number `view` (1, 2, ...) of a sound as the model takes it, (windows, frames, bands, 1) uint8.

    Args:
        raw: (n,) float32 from -1 to 1, as `reader` reads it.
        reader: Makes the windows.
        sha256: Of the file, so that a view does not depend on the file's name or place in a list.
        seed: The build's seed.
        view: Which view.

    Raises:
        InputError: `raw` is no such sound.
    """
    digest = hashlib.sha256(f"{sha256}:{seed}:{view}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    windows = reader.prepare(_with_noise(_shifted(_louder(raw, rng), rng), rng))
    return _masked(windows, rng) if rng.random() < MASK_CHANCE else windows


def _louder(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the sound with another gain, the greatest that does not clip it at most."""
    peak = float(np.abs(sound).max(initial=0.0))
    gain = 10.0 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20)
    return sound * np.float32(min(gain, max(1.0, 1.0 / peak)) if peak > 0 else 1.0)


def _shifted(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return np.roll(sound, int(rng.uniform(-MOST_SHIFT, MOST_SHIFT) * len(sound)))


def _with_noise(sound: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
    amplitude = level * 10.0 ** (-rng.uniform(*NOISE_DB) / 20)
    noise = rng.standard_normal(len(sound), dtype=np.float32) * np.float32(amplitude)
    return np.clip(sound + noise, np.float32(-1), np.float32(1))


def _masked(windows: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Return the windows with one stripe in time and one over bands in each, of the window's mean."""
    out = windows.copy()
    for window in out:
        mean = np.rint(window.mean()).astype(window.dtype)
        for axis in (0, 1):
            size = window.shape[axis]
            width = int(rng.uniform(0, MASK_SHARE) * size)
            start = int(rng.integers(0, size - width + 1))
            np.moveaxis(window, axis, 0)[start : start + width] = mean
    return out
