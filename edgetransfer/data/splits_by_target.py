"""Makes train, val and test where samples have several labels or a value: seeded, every split like the whole.

Several labels: iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label
Data"). The rarest label is dealt out first, each sample to the split that lacks that label the most; so every label is
in train, and one of few samples hardly anywhere else. Values: samples stand in the order of their value and are cut
into at most ten runs, which are dealt out as labels are. Copies stay together. Unlike the splits of classes these may
change much when samples are added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from edgetransfer.data.report import SPLITS
from edgetransfer.data.splits import assign
from edgetransfer.data.targets import Target
from edgetransfer.errors import DataError

RUNS = 10
"""Runs of values at most: fine enough that no split lacks a part of the scale."""
FEWEST_IN_RUN = 10  # groups; fewer would leave a split without some part of the scale
_NONE = ""  # stands for no label at all; no label is empty


@dataclass(frozen=True, slots=True)
class _Group:
    """Copies of one sample; the one with the smallest hash says what they are."""

    key: str
    members: tuple[int, ...]
    target: Target


def assign_by_target(
    targets: Sequence[Target],
    sha256s: Sequence[str],
    groups: Sequence[int],
    *,
    seed: int,
    shares: Mapping[str, float],
    noun: str = "sample",
) -> list[str]:
    """Return a split for each sample, whose targets are all labels, or all values; a group goes to one side.

    Raises:
        DataError: fewer groups than splits.
    """
    ordered = _ordered_groups(targets, sha256s, groups, seed)
    if len(ordered) < len(shares):
        names = " and ".join(split for split in SPLITS if split in shares)
        raise DataError(
            f"expected at least {len(shares)} {noun}s that are no copies of one another, for {names}, "
            f"got {len(ordered)}"
        )
    found = _by_labels(ordered, shares) if isinstance(targets[0], tuple) else _by_value(ordered, seed, shares)
    result = [""] * len(targets)
    for group, split in zip(ordered, found, strict=True):
        for i in group.members:
            result[i] = split
    return result


def _ordered_groups(
    targets: Sequence[Target], sha256s: Sequence[str], groups: Sequence[int], seed: int
) -> list[_Group]:
    collected: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        collected.setdefault(int(group), []).append(i)
    found = []
    for members in collected.values():
        first = min(members, key=lambda i: sha256s[i])
        key = hashlib.sha256(f"{seed}:{sha256s[first]}".encode()).hexdigest()
        found.append(_Group(key, tuple(members), targets[first]))
    return sorted(found, key=lambda group: group.key)


def _by_value(groups: Sequence[_Group], seed: int, shares: Mapping[str, float]) -> list[str]:
    runs = min(RUNS, len(groups) // FEWEST_IN_RUN)
    if runs < 2:  # as one class, of which each split has some
        keys = [group.key for group in groups]
        return assign([""] * len(groups), keys, range(len(groups)), seed=seed, shares=shares)
    order = sorted(range(len(groups)), key=lambda i: (cast(float, groups[i].target), groups[i].key))
    run = {i: str(place * runs // len(groups)) for place, i in enumerate(order)}
    return _by_labels([replace(group, target=(run[i],)) for i, group in enumerate(groups)], shares)


def _by_labels(groups: Sequence[_Group], shares: Mapping[str, float]) -> list[str]:
    labels = [group.target if isinstance(group.target, tuple) and group.target else (_NONE,) for group in groups]
    left = {label: [i for i, own in enumerate(labels) if label in own] for own in labels for label in own}
    order = [split for split in SPLITS if split in shares]
    lacking = {split: {label: shares[split] * len(rows) for label, rows in left.items()} for split in order}
    room = {split: shares[split] * len(groups) for split in order}
    found = [""] * len(groups)
    while left:
        rarest = min(left, key=lambda label: (len(left[label]), label))
        for i in left.pop(rarest):
            # Of equals the split that lacks the most samples, then train before val before test.
            split = max(order, key=lambda name: (lacking[name][rarest], room[name], -order.index(name)))
            found[i] = split
            room[split] -= 1
            for label in labels[i]:
                lacking[split][label] -= 1
        left = {label: rest for label, rows in left.items() if (rest := [i for i in rows if not found[i]])}
    return found
