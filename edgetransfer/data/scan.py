"""Reads every file once, on all cores: hash, size, thumbnail, and whether it decodes to its end."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.files import read_file, read_thumbnail

THUMBNAIL_PX = 16  # enough to tell photos of one series apart, small enough to compare all pairs


@dataclass(frozen=True, slots=True)
class Scanned:
    """A readable photo: sha256 of its bytes, size when upright, `grey` (16, 16) uint8."""

    sha256: str
    width_px: int
    height_px: int
    grey: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file cannot be used."""

    reason: str


def scan(
    paths: Sequence[Path], *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> list[Scanned | Unreadable]:
    """Return what is in each file, in the order of `paths`; never raises for a bad file.

    Threads suffice: hashing and Pillow's decoders let go of the interpreter lock.
    """
    results: list[Scanned | Unreadable] = []
    with ThreadPoolExecutor(workers or core_count()) as pool, warnings.catch_warnings():
        # TIFF and PNG readers warn about odd metadata; what matters here is whether the pixels decode.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            for result in pool.map(_scan_one, paths):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(paths))
        except BaseException:  # Ctrl-C, or the caller's progress: do not finish the queue first
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _scan_one(path: Path) -> Scanned | Unreadable:
    try:
        content = read_file(path)
        thumbnail = read_thumbnail(content, THUMBNAIL_PX)
    except InputError as error:
        return Unreadable(str(error))
    sha256 = hashlib.sha256(content).hexdigest()
    return Scanned(sha256, thumbnail.width_px, thumbnail.height_px, thumbnail.grey)
