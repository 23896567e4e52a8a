"""Photos without labels: what a teacher's answers can be learned from."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from edgetransfer.data.dataset import Sample
from edgetransfer.data.scan import Scanned, scan
from edgetransfer.data.suffixes import PHOTO_SUFFIXES
from edgetransfer.errors import DataError


@dataclass(frozen=True, slots=True)
class Unlabelled:
    """Photos without labels.

    Attributes:
        samples: By content, each once; their label is "" and their split "train".
        known: How many were left out because they stand in the labelled data.
        unreadable: How many could not be read.
    """

    samples: tuple[Sample, ...]
    known: int
    unreadable: int


def read_unlabelled(
    folder: Path,
    *,
    known: Collection[str] = (),
    channels: int = 3,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Unlabelled:
    """Return the photos anywhere below `folder`, of whatever class.

    Args:
        folder: Is searched to its bottom; hidden files and folders are passed over.
        known: sha256 of files that stand in labelled data already; they are left out, so that no photo of a
            validation or test split is learned from.
        channels: What they are to have, as of `load_dataset`.
        workers: Threads that read; None: one a core.
        progress: Called with (files read, files in all).

    Raises:
        DataError: there is no such folder, or no photo in it that can be used.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of photos without labels, got none of that name")
    paths = sorted(path for path in folder.rglob("*") if _is_photo(path, folder))
    found = scan(paths, channels=channels, workers=workers, progress=progress)
    by_content: dict[str, Sample] = {}
    left_out = unreadable = 0
    for path, one in zip(paths, found, strict=True):
        if not isinstance(one, Scanned):
            unreadable += 1
        elif one.sha256 in known:
            left_out += 1
        else:
            sample = Sample(path, "", "train", one.sha256, one.width_px, one.height_px)
            by_content.setdefault(one.sha256, sample)
    if not by_content:
        raise DataError(
            f"{folder}: expected photos that are not in the labelled data, got none: {len(paths)} files, {left_out} "
            f"of them known, {unreadable} unreadable"
        )
    return Unlabelled(tuple(by_content[key] for key in sorted(by_content)), left_out, unreadable)


def _is_photo(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()
