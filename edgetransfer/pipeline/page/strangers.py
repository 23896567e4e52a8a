"""What a head turns away: of the data that it is meant for, and of inputs of none of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.data.scan import Unreadable, scan
from edgetransfer.data.suffixes import SUFFIXES
from edgetransfer.errors import InputError
from edgetransfer.estimate.separation import compare_aurocs
from edgetransfer.evaluate import wilson_interval
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.page.measured import Histogram, Rejection, Strangers
from edgetransfer.pipeline.page.words import words_of
from edgetransfer.spec.outliers import OutlierDetector

LEAST_STRANGERS = 2
"""Of fewer there is no interval."""
BINS_BELOW = 24
"""Bins of the histogram from a score of 0 to the threshold, which is the edge of one; empty ones at its ends are left
out."""
MOST_BINS = 72
SENTENCES_SUFFIX = ".txt"


@dataclass(frozen=True, slots=True)
class StrangerFiles:
    """Inputs of none of the labels: what could be read, and how many files could not."""

    source: str
    samples: tuple[Sample, ...]
    unreadable: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Inputs as a head sees them: (n,) outlier scores, and the (n,) largest softmax score of each."""

    outlier: NDArray[np.float64]
    confidence: NDArray[np.float64]


def read_strangers(
    path: Path, kind: str, *, channels: int = 3, workers: int | None = None, watcher: Watcher
) -> StrangerFiles:
    """Return the inputs in `path`.

    Args:
        path: A folder of photos or sounds, looked through with all folders in it; of sentences a text file with one
            in each line, or a folder of such.
        kind: "image", "audio" or "text".
        channels: What photos are to have.
        workers: Threads; None: one a core.
        watcher: Is told how many have been read.

    Raises:
        InputError: there is no such folder, or fewer than two inputs in it that can be read.
    """
    if not path.exists():
        raise InputError(f"--strangers {str(path)!r}: no such file or folder")
    found = _sentences(path) if kind == "text" else _files(path, kind, channels, workers, watcher)
    if len(found.samples) < LEAST_STRANGERS:
        many, example = words_of(kind).many, words_of(kind).strangers
        raise InputError(
            f"--strangers {str(path)!r}: expected at least {LEAST_STRANGERS} {many} of none of the labels, such as "
            f"{example}, got {len(found.samples)} that can be read and {found.unreadable} that cannot"
        )
    return found


def rejection_of(
    detector: OutlierDetector,
    known: Scored,
    right: NDArray[np.bool_],
    strangers: tuple[StrangerFiles, Scored] | None,
) -> Rejection:
    """Return what `detector` turns away.

    Args:
        detector: The head's.
        known: Of the data that the head is meant for.
        right: (n,) whether the answer to each would be right.
        strangers: Inputs of none of the labels, and how the head sees them; None: none were given.
    """
    away = known.outlier > detector.threshold
    foreign = None if strangers is None else strangers[1].outlier
    return Rejection(
        threshold=detector.threshold,
        false_reject_rate=detector.false_reject_rate,
        samples=len(away),
        rejected=int(away.sum()),
        rejected_95=wilson_interval(int(away.sum()), len(away)),
        answered_right=int((right & ~away).sum()),
        histogram=_histogram(detector.threshold, known.outlier, foreign),
        strangers=None if strangers is None else _strangers(detector, known, *strangers),
    )


def _strangers(detector: OutlierDetector, known: Scored, files: StrangerFiles, seen: Scored) -> Strangers:
    away = int((seen.outlier > detector.threshold).sum())
    return Strangers(
        source=files.source,
        samples=len(files.samples),
        unreadable=files.unreadable,
        rejected=away,
        rejected_95=wilson_interval(away, len(files.samples)),
        separation=compare_aurocs((known.outlier, seen.outlier), (-known.confidence, -seen.confidence)),
    )


def _histogram(threshold: float, known: NDArray[np.float64], strangers: NDArray[np.float64] | None) -> Histogram:
    foreign = np.zeros(0) if strangers is None else strangers
    both = np.concatenate([known, foreign])
    finite = both[np.isfinite(both)]
    most = max(float(finite.max(initial=0.0)), threshold)
    width = threshold / BINS_BELOW if threshold > 0 else most / BINS_BELOW or 1.0
    bins = int(np.clip(np.ceil(most / width), BINS_BELOW, MOST_BINS))
    counts = np.stack([np.bincount(_bins(values, width, bins), minlength=bins) for values in (known, foreign)])
    first = min(int(np.flatnonzero(counts.any(axis=0))[0]), BINS_BELOW - 1)
    edges = (width * np.arange(first, bins + 1)).tolist()
    return Histogram(tuple(edges), tuple(counts[0, first:].tolist()), tuple(counts[1, first:].tolist()))


def _bins(values: NDArray[np.float64], width: float, bins: int) -> NDArray[np.intp]:
    # Closed above, as the threshold is: a score of just the threshold is not turned away. What is no number is last.
    number = np.ceil(np.where(np.isfinite(values), values, np.inf) / width - 1e-9) - 1
    found: NDArray[np.intp] = np.clip(number, 0, bins - 1).astype(np.intp)
    return found


def _files(path: Path, kind: str, channels: int, workers: int | None, watcher: Watcher) -> StrangerFiles:
    listed = sorted(path.rglob("*")) if path.is_dir() else [path]
    paths = [one for one in listed if one.is_file() and one.suffix.lower() in SUFFIXES[kind]]
    scanned = scan(paths, kind=kind, channels=channels, workers=workers, progress=watcher.step)
    samples = [
        Sample(one, "", "test", found.sha256, found.width_px, found.height_px, channels=channels)
        for one, found in zip(paths, scanned, strict=True)
        if not isinstance(found, Unreadable)
    ]
    return StrangerFiles(path.resolve().name, tuple(samples), len(paths) - len(samples))


def _sentences(path: Path) -> StrangerFiles:
    if path.is_file() and path.suffix.lower() != SENTENCES_SUFFIX:
        raise InputError(
            f"--strangers {str(path)!r}: expected a {SENTENCES_SUFFIX} file with a sentence in each line, or a folder "
            "of such"
        )
    files = sorted(path.rglob(f"*{SENTENCES_SUFFIX}")) if path.is_dir() else [path]
    samples: list[Sample] = []
    for one in files:
        samples += [Sample(one, "", "test", "", 0, 0, line) for line in _lines(one)]
    return StrangerFiles(path.resolve().name, tuple(samples), 0)


def _lines(path: Path) -> Sequence[str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--strangers {str(path)!r}: expected UTF-8, a sentence in each line: {error}") from error
    return [line for line in content.splitlines() if line.strip()]
