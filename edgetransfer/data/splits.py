"""Makes train, val and test: stratified, seeded, and stable when photos are added.

Within each class the photos stand in the order of a hash of their content and the seed; the first go to test,
the next to val, the rest to train, so each split has its share to within one photo. Adding photos
moves only those next to a border: with a tenth more files about 1 % of a class of 400 and 2 % of a class of
137 change sides, and none between train and test, because val lies between them. Fixed borders in the hash's range
would move none, but leave shares off by 2 points (400 photos) to 7 (30), and small classes without a test photo.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from edgetransfer.data.report import SPLITS
from edgetransfer.errors import DataError


@dataclass(frozen=True, slots=True)
class _Group:
    """Copies of one photo: they stay together, in the place and class of the one with the smallest hash."""

    key: str
    members: tuple[int, ...]


def shares_of(fractions: Sequence[float], splits: Sequence[str]) -> dict[str, float]:
    """Return the share of each of `splits`, summing to 1; `fractions` are for train, val and test.

    Raises:
        DataError: not three fractions from 0 to 1 that sum to 1 with some train and some val.
    """
    values = [float(f) for f in fractions]
    valid = len(values) == 3 and all(0 <= f <= 1 for f in values) and math.isclose(sum(values), 1, abs_tol=1e-6)
    if not valid or not values[0] or not values[1]:
        raise DataError(
            f"fractions: expected three numbers for train, val and test that sum to 1, train and val above 0; "
            f"got {', '.join(f'{f:g}' for f in values)}"
        )
    named = dict(zip(SPLITS, values, strict=True))
    total = sum(named[split] for split in splits)
    return {split: named[split] / total for split in splits if named[split]}


def assign(
    labels: Sequence[str],
    sha256s: Sequence[str],
    groups: Sequence[int],
    *,
    seed: int,
    shares: Mapping[str, float],
    noun: str = "photo",
    few: bool = False,
) -> list[str]:
    """Return a split for each photo (or what else `noun` says): a group goes to one side, every class to all of them.

    With `few` a class of fewer groups than there are splits has its first in train, and its second in the next split.

    Raises:
        DataError: a class has fewer groups than there are splits, without `few`; all such classes in `problems`.
    """
    by_class = _ordered_groups(labels, sha256s, groups, seed)
    order = [split for split in reversed(SPLITS) if split in shares]
    problems = [
        f"class {label!r}: expected at least {len(order)} {noun}s that are no copies of one another "
        f"(for {' and '.join(reversed(order))}), got {len(by_class.get(label, []))}"
        for label in sorted(set(labels))
        if len(by_class.get(label, [])) < (1 if few else len(order))
    ]
    if problems:
        raise DataError(problems[0], problems)
    result = [""] * len(labels)
    for members in by_class.values():
        if len(members) < len(order):
            for split, group in zip(reversed(order), members, strict=False):
                for i in group.members:
                    result[i] = split
            continue
        borders = _borders([len(group.members) for group in members], [shares[split] for split in order])
        for split, first, end in zip(order, [0, *borders], [*borders, len(members)], strict=True):
            for group in members[first:end]:
                for i in group.members:
                    result[i] = split
    return result


def _ordered_groups(
    labels: Sequence[str], sha256s: Sequence[str], groups: Sequence[int], seed: int
) -> dict[str, list[_Group]]:
    collected: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        collected.setdefault(int(group), []).append(i)
    by_class: dict[str, list[_Group]] = {}
    for members in collected.values():
        sha256, label = min((sha256s[i], labels[i]) for i in members)
        key = hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()
        by_class.setdefault(label, []).append(_Group(key, tuple(members)))
    return {label: sorted(found, key=lambda group: group.key) for label, found in by_class.items()}


def _borders(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return where each split but the last ends, in groups: nearest to its share, at least one group for each."""
    filled = list(accumulate(sizes, initial=0))
    borders: list[int] = []
    share = 0.0
    for i, part in enumerate(shares[:-1]):
        share += part
        target = share * filled[-1]
        nearest = min(range(len(filled)), key=lambda at: abs(filled[at] - target))
        lowest = (borders[-1] if borders else 0) + 1
        highest = len(sizes) - (len(shares) - 1 - i)
        borders.append(min(max(nearest, lowest), highest))
    return borders
