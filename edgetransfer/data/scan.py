"""Reads every sample once, on all cores: hash, size, thumbnail, and whether it decodes to its end."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.files import read_file, read_thumbnail

_SOUND_HZ = 16_000  # to what the published front ends resample; here it only matters that it can be done
THUMBNAIL_PX = 16  # enough to tell photos of one series apart, small enough to compare all pairs


@dataclass(frozen=True, slots=True)
class Scanned:
    """A readable sample: sha256 of its bytes, of a photo the size when upright and `grey` (16, 16) uint8.

    `alike` is the same for samples that count as exact copies of one another: the sha256, but for sentences.
    """

    sha256: str
    alike: str
    width_px: int = 0
    height_px: int = 0
    grey: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file cannot be used."""

    reason: str


def scan(
    paths: Sequence[Path],
    *,
    kind: str = "image",
    channels: int = 3,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Scanned | Unreadable]:
    """Return what is in each file, in the order of `paths`; never raises for a bad file.

    `kind` is "image" or "audio", `channels` what an image is to have (`read_image`). Threads suffice: hashing and the
    decoders let go of the interpreter lock.
    """
    scan_one = _scan_sound if kind == "audio" else partial(_scan_one, channels=channels)
    results: list[Scanned | Unreadable] = []
    with ThreadPoolExecutor(workers or core_count()) as pool, warnings.catch_warnings():
        # TIFF and PNG readers warn about odd metadata; what matters here is whether the pixels decode.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for result in pool.map(scan_one, paths):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(paths))
        except BaseException:  # Ctrl-C, or the caller's progress: do not finish the queue first
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def scan_sentence(text: str) -> Scanned:
    """Return the sha256 of the text's UTF-8; alike are sentences that are equal once Unicode and blanks are settled."""
    settled = " ".join(unicodedata.normalize("NFC", text).split())
    return Scanned(_sha256(text.encode("utf-8")), _sha256(settled.encode("utf-8")))


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _scan_one(path: Path, *, channels: int) -> Scanned | Unreadable:
    try:
        content = read_file(path)
        thumbnail = read_thumbnail(content, THUMBNAIL_PX, channels=channels)
    except InputError as error:
        return Unreadable(str(error))
    sha256 = _sha256(content)
    return Scanned(sha256, sha256, thumbnail.width_px, thumbnail.height_px, thumbnail.grey)


def _scan_sound(path: Path) -> Scanned | Unreadable:
    from edgetransfer.runtime.sound_files import read_sound  # here, for photos and sentences need no soundfile

    try:
        content = read_file(path)
        read_sound(content, _SOUND_HZ)
    except InputError as error:
        return Unreadable(str(error))
    sha256 = _sha256(content)
    return Scanned(sha256, sha256)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
