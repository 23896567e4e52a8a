"""`load_dataset`: from a folder or a table to samples that can be trained on and measured with."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, get_args

from edgetransfer.data.clean import Findings, Photo, check_given_splits, drop_copies, make_splits, read_photos
from edgetransfer.data.report import NOUNS, SPLITS, DataReport
from edgetransfer.data.sources import Entry, Listing, list_folder, refuse, require_source
from edgetransfer.data.splits import shares_of
from edgetransfer.data.table import list_table
from edgetransfer.data.table_rows import JSON_SUFFIXES, answer_of, columns_of
from edgetransfer.data.targets import ANSWERS, Target, labels_in
from edgetransfer.data.text_table import list_sentences
from edgetransfer.errors import DataError, UnknownNameError

NearDuplicates = Literal["report", "drop"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo: `split` is "train", "val" or "test", `sha256` of the file's bytes, sizes when upright.

    Of a sound the sizes are 0; of a sentence as well, `path` is the table's and `sha256` that of the text's UTF-8.
    `label` is the answer as text; `target` its labels or its value, None where it is one label. `channels` are those
    that the photo was found to be readable with.
    """

    path: Path
    label: str
    split: str
    sha256: str
    width_px: int
    height_px: int
    text: str = ""
    target: Target = None
    channels: int = 3

    @property
    def source(self) -> Path | str:
        """What a reader takes for it: the file, or of text the sentence itself."""
        return self.text or self.path


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos, sounds or sentences with labels and splits.

    Attributes:
        samples: ordered by split, label and content, so that neither file names nor places matter.
        labels: all classes by code point; the order of the model's outputs. None where samples have a value.
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
    def task(self) -> str:
        """The kind of task that the answers make: "single_label", "multi_label" or "regression"."""
        return self.report.task

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
        return _labels_in_split(self.split(split), self.labels, split)


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
    tasks: Collection[str] = (ANSWERS["label"],),
    few: bool = False,
    channels: int = 3,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Dataset:
    """Return the photos, sounds or sentences of a folder or table, cleaned and split.

    `path` is a folder with a folder for each class; or with `train/ val/ test/`, each so; or a CSV file
    `path,label[,split]`, of sentences `text,label[,split]`, or JSON lines with these keys. In place of `label` a file
    may have `labels`, any number of them with "|" between (in JSON a list), or `value`, a number. Splits that are
    missing are made: all of them, or val and test from train, or val from train; given train and val need no test. In
    splits made here, exact copies are used once, near copies stay on one side, and photos with two answers are left
    out. In given splits, all that is only reported.

    Args:
        path: the folder or table.
        kind: what is expected there: "image", "audio" or "text"; None for what is there: sentences by the columns of
            the table, sounds by the names of the files, else photos.
        seed: another one makes other splits.
        fractions: parts of train, val and test in splits made here.
        near_duplicates: "drop" takes photos out of a given train that are also in val or test (exact or near
            copies), or that carry several labels.
        for_training: False takes given splits as they are, without train or with classes missing.
        tasks: the kinds of tasks that the caller can make of the answers: "single_label", "multi_label", "regression".
        few: take classes too small for every split made here, train comes first; always so without `for_training`.
        channels: of photos: 1 and 3 take all of them, 4 those that have four; the others are left out.
        progress: called with (files read, files in all).
        workers: threads that read files; as many as cores if None.

    Raises:
        DataError: the data cannot be used; `problems` has every reason.
    """
    _check_near(near_duplicates)
    source, findings = Path(path), Findings()
    listing = _usable(source, _list(source, kind), tasks)
    noun = NOUNS[listing.kind]
    plan = _plan_splits(listing, fractions, for_training=for_training)
    labels = tuple(sorted({label for entry in listing.entries for label in labels_in(entry.label, entry.target)}))
    strict, few = for_training or not plan.given, few or not for_training
    check = _ClassCheck(source, labels, plan, listing.task, few, strict)
    check.refuse_structure(listing, noun)
    photos = read_photos(listing.entries, findings, workers, progress, listing.kind, channels)
    if plan.all_made:
        photos = drop_copies(photos, findings)
    check.refuse_missing([(p.entry, p.split) for p in photos], f"usable {noun}")
    photos = _split(source, photos, plan, findings, seed, noun, few=few)
    if not plan.all_made:
        photos = check_given_splits(photos, findings, drop=near_duplicates == "drop")
    if not plan.shares:
        check.refuse_missing([(p.entry, p.split) for p in photos], f"{noun} left")
    return _dataset(source, listing, labels, plan, photos, findings, channels)


def _check_near(near_duplicates: str) -> None:
    if near_duplicates not in get_args(NearDuplicates):
        raise DataError(f"near_duplicates: expected one of {get_args(NearDuplicates)}, got {near_duplicates!r}")


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
    if suffix not in (".csv", *JSON_SUFFIXES) or source.is_dir():
        others = "a .csv or .jsonl file of sentences" if kind == "text" else "a folder or a .csv file"
        raise DataError(f"{source}: expected {others}")
    columns = columns_of(source) if kind is None else ()
    # JSON lines without a path are of sentences: that is how they began.
    sentences = "text" in columns and answer_of(columns) in columns
    if kind == "text" or sentences or (kind is None and suffix != ".csv" and "path" not in columns):
        return list_sentences(source)
    return list_table(source, kind)


def _usable(source: Path, listing: Listing, tasks: Collection[str]) -> Listing:
    """Return `listing` if the caller can use its answers; else says who can."""
    if listing.task in tasks:
        return listing
    column = next(name for name, task in ANSWERS.items() if task == listing.task)
    wanted = " or ".join(name for name, task in ANSWERS.items() if task in tasks)
    raise DataError(
        f"{source}: has the column {column!r}, expected {wanted}; answers of the kind {listing.task} come from heads "
        "outside of the graph: edgetransfer build --split, edgetransfer heads train"
    )


def _plan_splits(listing: Listing, fractions: Sequence[float], *, for_training: bool) -> _SplitPlan:
    given = frozenset(entry.split for entry in listing.entries if entry.split)
    all_shares = shares_of(fractions, SPLITS)
    if given and (not for_training or "train" not in given or "val" in given):
        return _SplitPlan(given, {})
    return _SplitPlan(given, shares_of(fractions, ("train", "val")) if "test" in given else all_shares)


@dataclass(frozen=True, slots=True)
class _ClassCheck:
    """What each class must have: samples in every given split, and enough for those to be made.

    Where samples have several labels, each must be in train, wherever else it is. Values have no classes. Unless it is
    `strict`, nothing is refused.
    """

    source: Path
    labels: Sequence[str]
    plan: _SplitPlan
    task: str
    few: bool
    strict: bool

    def refuse_structure(self, listing: Listing, noun: str) -> None:
        """Refuse too few classes, splits without one to train on, and classes that are missing in one."""
        least, found = {"single_label": 2, "multi_label": 1}.get(listing.task, 0), len(self.labels)
        if self.strict and found < least:
            got = f"{found}: {self.labels[0]!r}" if self.labels else "none"
            raise DataError(f"{self.source}: expected at least {least} classes, got {got}{listing.hint}")
        if self.strict and self.plan.given and "train" not in self.plan.given:
            raise DataError(f"{self.source}: expected a train split, got only {' and '.join(sorted(self.plan.given))}")
        self.refuse_missing([(entry, entry.split) for entry in listing.entries], noun)

    def refuse_missing(self, placed: Sequence[tuple[Entry, str | None]], what: str) -> None:
        """Refuse classes that are missing in a given split, or too small for those to be made.

        `placed` is each photo with its split before splits are made; `what` says which photos these are.
        """
        if not self.strict:
            return
        counts = Counter((label, split) for e, split in placed for label in labels_in(e.label, e.target))
        alone = self.task == "single_label"
        given = [split for split in SPLITS if split in self.plan.given and (alone or split == "train")]
        problems = [
            f"split {split!r}: no {what} of class {label!r}"
            for split in given
            for label in self.labels
            if not counts[label, split]
        ]
        needed = " and ".join(split for split in SPLITS if split in self.plan.shares)
        least = len(self.plan.shares) if alone and not self.few else min(1, len(self.plan.shares))
        for label in self.labels:
            pool = counts[label, None] + counts[label, "train"]
            if pool < least and (pool or not given):
                problems.append(f"class {label!r}: expected at least {least} {what}s, for {needed}, got {pool}")
        refuse(str(self.source), problems)


def _split(
    source: Path, photos: Sequence[Photo], plan: _SplitPlan, findings: Findings, seed: int, noun: str, *, few: bool
) -> list[Photo]:
    """Return the photos with a split for each of them; given places in val and test stay."""
    if not plan.shares:
        return list(photos)
    pool = [photo for photo in photos if photo.split in (None, "train")]
    try:
        made = make_splits(pool, findings, seed=seed, shares=plan.shares, noun=noun, few=few)
    except DataError as error:
        refuse(str(source), error.problems or [str(error)])
        raise
    return made + [photo for photo in photos if photo.split not in (None, "train")]


def _dataset(
    source: Path,
    listing: Listing,
    labels: tuple[str, ...],
    plan: _SplitPlan,
    photos: Sequence[Photo],
    findings: Findings,
    channels: int,
) -> Dataset:
    samples = sorted(
        (_sample(photo, channels) for photo in photos),
        key=lambda s: (SPLITS.index(s.split), s.label, s.sha256, str(s.path)),
    )
    report = DataReport(
        source=str(source),
        labels=labels,
        counts={split: _labels_in_split(samples, labels, split) for split in SPLITS},
        splits_made=plan.made,
        left_out=tuple(sorted(findings.left_out, key=lambda finding: finding.path)),
        ignored=listing.ignored,
        copies=tuple(sorted(findings.copies, key=lambda copies: copies.paths)),
        leaks=tuple(sorted(findings.leaks, key=lambda leak: (leak.split, leak.path, leak.other_split))),
        notes=plan.notes,
        kind=listing.kind,
        task=listing.task,
        samples={split: sum(s.split == split for s in samples) for split in SPLITS},
        values=_spreads(samples),
    )
    return Dataset(tuple(samples), labels, report)


def _sample(photo: Photo, channels: int) -> Sample:
    found = photo.found
    entry, size = photo.entry, (found.width_px, found.height_px)
    return Sample(entry.path, entry.label, str(photo.split), found.sha256, *size, entry.text, entry.target, channels)


def _labels_in_split(samples: Sequence[Sample], labels: Sequence[str], split: str) -> dict[str, int]:
    return _count(labels, (label for s in samples if s.split == split for label in labels_in(s.label, s.target)))


def _spreads(samples: Sequence[Sample]) -> dict[str, tuple[float, float, float]]:
    """Return the least, the median and the greatest value of each split; nothing where samples have labels."""
    found = {split: [s.target for s in samples if s.split == split and isinstance(s.target, float)] for split in SPLITS}
    return {split: (min(values), median(values), max(values)) for split, values in found.items() if values}


def _count(labels: Sequence[str], found: Iterable[str]) -> dict[str, int]:
    counts = Counter(found)
    return {label: counts[label] for label in labels}
