"""`load_dataset`: from a folder or a table to samples that can be trained on and measured with."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgetransfer.data.clean import Findings, Photo, check_given_splits, drop_copies, make_splits, read_photos
from edgetransfer.data.report import NOUNS, SPLITS, DataReport
from edgetransfer.data.sources import Listing, list_folder, refuse, require_source
from edgetransfer.data.splits import shares_of
from edgetransfer.data.table import columns_of, list_table
from edgetransfer.data.text_table import COLUMNS, JSON_SUFFIXES, list_sentences
from edgetransfer.errors import DataError, UnknownNameError

NearDuplicates = Literal["report", "drop"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo: `split` is "train", "val" or "test", `sha256` of the file's bytes, sizes when upright.

    Of a sound the sizes are 0; of a sentence as well, `path` is the table's and `sha256` that of the text's UTF-8.
    """

    path: Path
    label: str
    split: str
    sha256: str
    width_px: int
    height_px: int
    text: str = ""

    @property
    def source(self) -> Path | str:
        """What a reader takes for it: the file, or of text the sentence itself."""
        return self.text or self.path


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos, sounds or sentences with labels and splits.

    Attributes:
        samples: ordered by split, label and content, so that neither file names nor places matter.
        labels: all classes by code point; the order of the model's outputs.
        report: what was found and what was left out.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    report: DataReport

    @property
    def kind(self) -> str:
        """The kind of input: "image", "audio" or "text"."""
        return self.report.kind

    @property
    def made_splits(self) -> bool:
        """Whether edgetransfer made the splits, or some of them; `report.splits_made` says which."""
        return bool(self.report.splits_made)

    @property
    def fingerprint(self) -> str:
        """The sha256 of all contents, labels and splits: equal for equal data, wherever it lies."""
        lines = sorted(json.dumps([s.sha256, s.label, s.split]) for s in self.samples)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def split(self, name: str) -> tuple[Sample, ...]:
        """Return the samples of one split, none if the data has no such split.

        Raises:
            UnknownNameError: `name` is not train, val or test.
        """
        if name not in SPLITS:
            raise UnknownNameError("split", name, SPLITS)
        return tuple(s for s in self.samples if s.split == name)

    def class_counts(self, split: str) -> dict[str, int]:
        """Return how many samples of each label a split has, zeros included, in the order of `labels`."""
        return _count(self.labels, (s.label for s in self.split(split)))


@dataclass(frozen=True, slots=True)
class _SplitPlan:
    """Which splits were given, and the shares of those made here (none if all were given)."""

    given: frozenset[str]
    shares: dict[str, float]

    @property
    def made(self) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if split in self.shares and split not in self.given)

    @property
    def all_made(self) -> bool:
        """Whether no photo was given a place in val or test."""
        return bool(self.shares) and self.given <= {"train"}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the report."""
        notes = []
        if self.given and self.made:
            notes.append(f"{' and '.join(self.made)} not given: taken from train.")
        if "test" not in self.given and "test" not in self.shares:
            notes.append("No test split: accuracy can be measured on val only, which choices were made on.")
        return tuple(notes)


def load_dataset(
    path: str | Path,
    *,
    kind: str | None = None,
    seed: int = 0,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    near_duplicates: NearDuplicates = "report",
    for_training: bool = True,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Dataset:
    """Return the photos, sounds or sentences of a folder or table, cleaned and split.

    `path` is a folder with a folder for each class; or with `train/ val/ test/`, each so; or a CSV file
    `path,label[,split]`. Of sentences it is a CSV file `text,label[,split]`, or JSON lines with these keys. Splits
    that are missing are made: all of them, or val and test from train, or val from train; given train and val need no
    test. In splits made here, exact copies are used once, near copies stay on one side, and photos with several labels
    are left out. In given splits, all that is only reported.

    Args:
        path: the folder or table.
        kind: what is expected there: "image", "audio" or "text"; None for what is there: sentences by the columns of
            the table, sounds by the names of the files, else photos.
        seed: another one makes other splits.
        fractions: parts of train, val and test in splits made here.
        near_duplicates: "drop" takes photos out of a given train that are also in val or test (exact or near
            copies), or that carry several labels.
        for_training: False takes given splits as they are, without train or with classes missing.
        progress: called with (files read, files in all).
        workers: threads that read files; as many as cores if None.

    Raises:
        DataError: the data cannot be used; `problems` has every reason.
    """
    if near_duplicates not in get_args(NearDuplicates):
        raise DataError(f"near_duplicates: expected one of {get_args(NearDuplicates)}, got {near_duplicates!r}")
    source = Path(path)
    listing = _list(source, kind)
    noun = NOUNS[listing.kind]
    plan = _plan_splits(listing, fractions, for_training=for_training)
    labels = tuple(sorted({entry.label for entry in listing.entries}))
    strict = for_training or not plan.given
    if strict:
        _check_structure(source, listing, labels, plan)
        _check_classes(source, [(e.label, e.split) for e in listing.entries], labels, plan, noun)
    findings = Findings()
    photos = read_photos(listing.entries, findings, workers, progress, listing.kind)
    if plan.all_made:
        photos = drop_copies(photos, findings)
    if strict:
        _check_classes(source, [(p.entry.label, p.split) for p in photos], labels, plan, f"usable {noun}")
    photos = _split(source, photos, plan, findings, seed, noun)
    if not plan.all_made:
        photos = check_given_splits(photos, findings, drop=near_duplicates == "drop")
    if strict and not plan.shares:
        _check_classes(source, [(p.entry.label, p.split) for p in photos], labels, plan, f"{noun} left")
    return _dataset(source, listing, labels, plan, photos, findings)


def _list(source: Path, kind: str | None) -> Listing:
    if kind is not None and kind not in NOUNS:
        raise UnknownNameError("kind of input", kind, NOUNS)
    require_source(source)
    try:
        if source.is_dir() and kind != "text":
            return list_folder(source, kind)
    except OSError as error:
        raise DataError(f"{error.filename or source}: cannot be read: {error.strerror}") from error
    suffix = source.suffix.lower()
    if suffix in JSON_SUFFIXES and kind in (None, "text"):
        return list_sentences(source)
    if suffix != ".csv" or source.is_dir():
        others = "a .csv or .jsonl file of sentences" if kind == "text" else "a folder or a .csv file"
        raise DataError(f"{source}: expected {others}")
    if kind == "text" or (kind is None and set(COLUMNS) <= set(columns_of(source))):
        return list_sentences(source)
    return list_table(source, kind)


def _plan_splits(listing: Listing, fractions: Sequence[float], *, for_training: bool) -> _SplitPlan:
    given = frozenset(entry.split for entry in listing.entries if entry.split)
    all_shares = shares_of(fractions, SPLITS)
    if given and (not for_training or "train" not in given or "val" in given):
        return _SplitPlan(given, {})
    return _SplitPlan(given, shares_of(fractions, ("train", "val")) if "test" in given else all_shares)


def _check_structure(source: Path, listing: Listing, labels: Sequence[str], plan: _SplitPlan) -> None:
    if len(labels) < 2:
        raise DataError(f"{source}: expected at least 2 classes, got {len(labels)}: {labels[0]!r}{listing.hint}")
    if plan.given and "train" not in plan.given:
        raise DataError(f"{source}: expected a train split, got only {' and '.join(sorted(plan.given))}")


def _check_classes(
    source: Path, placed: Sequence[tuple[str, str | None]], labels: Sequence[str], plan: _SplitPlan, what: str
) -> None:
    """Refuse classes that are missing in a given split, or too small for those to be made.

    `placed` is the (label, split) of each photo before splits are made; `what` says which photos these are.
    """
    counts = Counter(placed)
    given = [split for split in SPLITS if split in plan.given]
    problems = [
        f"split {split!r}: no {what} of class {label!r}"
        for split in given
        for label in labels
        if not counts[label, split]
    ]
    needed = " and ".join(split for split in SPLITS if split in plan.shares)
    for label in labels:
        pool = counts[label, None] + counts[label, "train"]
        if pool < len(plan.shares) and (pool or not given):
            problems.append(f"class {label!r}: expected at least {len(plan.shares)} {what}s, for {needed}, got {pool}")
    refuse(str(source), problems)


def _split(
    source: Path, photos: Sequence[Photo], plan: _SplitPlan, findings: Findings, seed: int, noun: str
) -> list[Photo]:
    """Return the photos with a split for each of them; given places in val and test stay."""
    if not plan.shares:
        return list(photos)
    pool = [photo for photo in photos if photo.split in (None, "train")]
    try:
        made = make_splits(pool, findings, seed=seed, shares=plan.shares, noun=noun)
    except DataError as error:
        refuse(str(source), error.problems)
        raise
    return made + [photo for photo in photos if photo.split not in (None, "train")]


def _dataset(
    source: Path,
    listing: Listing,
    labels: tuple[str, ...],
    plan: _SplitPlan,
    photos: Sequence[Photo],
    findings: Findings,
) -> Dataset:
    samples = sorted(
        (_sample(photo) for photo in photos),
        key=lambda s: (SPLITS.index(s.split), s.label, s.sha256, str(s.path)),
    )
    report = DataReport(
        source=str(source),
        labels=labels,
        counts={split: _count(labels, (s.label for s in samples if s.split == split)) for split in SPLITS},
        splits_made=plan.made,
        left_out=tuple(sorted(findings.left_out, key=lambda finding: finding.path)),
        ignored=listing.ignored,
        copies=tuple(sorted(findings.copies, key=lambda copies: copies.paths)),
        leaks=tuple(sorted(findings.leaks, key=lambda leak: (leak.split, leak.path, leak.other_split))),
        notes=plan.notes,
        kind=listing.kind,
    )
    return Dataset(tuple(samples), labels, report)


def _sample(photo: Photo) -> Sample:
    found = photo.found
    entry, size = photo.entry, (found.width_px, found.height_px)
    return Sample(entry.path, entry.label, str(photo.split), found.sha256, *size, entry.text)


def _count(labels: Sequence[str], found: Iterable[str]) -> dict[str, int]:
    counts = Counter(found)
    return {label: counts[label] for label in labels}
