"""The steps between a listing and clean, split photos; what each of them finds goes into `Findings`.

Photos stand for sounds and sentences too, which go through the same steps but have no near copies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data.copies import find_leaks, group_copies
from edgetransfer.data.report import Copies, Finding, Leak
from edgetransfer.data.scan import Scanned, Unreadable, scan, scan_sentence
from edgetransfer.data.sources import Entry
from edgetransfer.data.splits import assign
from edgetransfer.data.splits_by_target import assign_by_target

_ONE_SIDE = "all in one split"
_KEPT = "kept as given"
_CONFLICT_OUT = "left out: nobody can tell which label is right"


@dataclass(frozen=True, slots=True)
class Photo:
    """A readable photo; `split` is None until it is known."""

    entry: Entry
    found: Scanned
    split: str | None

    @property
    def order(self) -> tuple[str, str]:
        """By content first, so that file names decide only between equal files."""
        return (self.found.sha256, self.entry.name)


@dataclass(slots=True)
class Findings:
    """What the steps have found so far."""

    left_out: list[Finding] = field(default_factory=list)
    copies: list[Copies] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)


def read_photos(
    entries: Sequence[Entry],
    findings: Findings,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    kind: str = "image",
    channels: int = 3,
) -> list[Photo]:
    """Return the photos, sounds or sentences that can be decoded; the others are left out.

    Photos count as such if they can be read with so many `channels`.
    """
    scanned: Sequence[Scanned | Unreadable] = (
        [scan_sentence(entry.text) for entry in entries]
        if kind == "text"
        else scan([entry.path for entry in entries], kind=kind, channels=channels, workers=workers, progress=progress)
    )
    photos = []
    for entry, found in zip(entries, scanned, strict=True):
        if isinstance(found, Unreadable):
            findings.left_out.append(Finding(entry.name, found.reason))
        else:
            photos.append(Photo(entry, found, entry.split))
    return sorted(photos, key=lambda photo: photo.order)


def drop_copies(photos: Sequence[Photo], findings: Findings) -> list[Photo]:
    """Return one photo for each content; none for contents that carry several labels."""
    kept = []
    for same in _by_content(photos):
        labels = tuple(sorted({photo.entry.label for photo in same}))
        if len(labels) == 1:
            kept.append(same[0])
        if len(same) > 1:
            action = f"{same[0].entry.name} is used" if len(labels) == 1 else _CONFLICT_OUT
            findings.copies.append(Copies("exact", _names(same), labels, action))
        for photo in same[1:] if len(labels) == 1 else same:
            what = "text" if photo.entry.text else "bytes"
            why = f"same {what} as {same[0].entry.name}" if len(labels) == 1 else _labelled(labels)
            findings.left_out.append(Finding(photo.entry.name, why))
    return kept


def make_splits(
    photos: Sequence[Photo],
    findings: Findings,
    *,
    seed: int,
    shares: Mapping[str, float],
    noun: str = "photo",
    few: bool = False,
) -> list[Photo]:
    """Return the photos with splits made for them; copies stay together.

    Raises:
        DataError: a class has too few different photos, without `few` none for each split; or all together have.
    """
    if not photos:
        return []
    sha256s = [photo.found.sha256 for photo in photos]
    groups = group_copies([photo.found.alike for photo in photos], _grey(photos)).tolist()
    labels, targets = [photo.entry.label for photo in photos], [photo.entry.target for photo in photos]
    if targets[0] is None:
        splits = assign(labels, sha256s, groups, seed=seed, shares=shares, noun=noun, few=few)
    else:
        splits = assign_by_target(targets, sha256s, groups, seed=seed, shares=shares, noun=noun)
    collected: dict[int, list[Photo]] = {}
    for photo, group in zip(photos, groups, strict=True):
        collected.setdefault(group, []).append(photo)
    for same in collected.values():
        if len({photo.found.alike for photo in same}) > 1:
            carried = tuple(sorted({photo.entry.label for photo in same}))
            findings.copies.append(Copies("near", _names(same), carried, _ONE_SIDE))
    return [replace(photo, split=split) for photo, split in zip(photos, splits, strict=True)]


def check_given_splits(photos: Sequence[Photo], findings: Findings, *, drop: bool) -> list[Photo]:
    """Return the photos, less those of train that leak or carry several labels if `drop`; reports them in any case."""
    if not photos:
        return []
    dropped: dict[str, str] = {}
    for same in _by_content(photos):
        if len(same) > 1:
            labels = tuple(sorted({photo.entry.label for photo in same}))
            from_train = [p for p in same if drop and len(labels) > 1 and p.split == "train"]
            dropped |= {p.entry.name: _labelled(labels) for p in from_train}
            action = "left out of training" if from_train else _KEPT
            findings.copies.append(Copies("exact", _names(same), labels, action))
    splits = [str(photo.split) for photo in photos]
    for inner, outer, kind in find_leaks([p.found.alike for p in photos], _grey(photos), splits):
        photo, other = photos[inner], photos[outer]
        same_label = photo.entry.label == other.entry.label
        out = drop and photo.split == "train"
        leak = (kind, photo.entry.name, splits[inner], other.entry.name, splits[outer])
        findings.leaks.append(Leak(*leak, same_label=same_label, dropped=out))
        if out:
            dropped.setdefault(photo.entry.name, f"{kind} copy of {other.entry.name} in {other.split}")
    findings.left_out += [Finding(name, reason) for name, reason in dropped.items()]
    return [photo for photo in photos if photo.entry.name not in dropped]


def _by_content(photos: Sequence[Photo]) -> list[list[Photo]]:
    collected: dict[str, list[Photo]] = {}
    for photo in photos:
        collected.setdefault(photo.found.alike, []).append(photo)
    return list(collected.values())


def _labelled(labels: Sequence[str]) -> str:
    return f"labelled {' and '.join(label or 'nothing' for label in labels)}"


def _names(photos: Sequence[Photo]) -> tuple[str, ...]:
    return tuple(photo.entry.name for photo in photos)


def _grey(photos: Sequence[Photo]) -> NDArray[np.uint8] | None:
    """Return the thumbnails (N, 16, 16), None of sounds and sentences."""
    found = [photo.found.grey for photo in photos if photo.found.grey is not None]
    return np.stack(found) if len(found) == len(photos) else None
