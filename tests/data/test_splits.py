"""The properties that splits made here promise."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.data.splits import assign, shares_of
from edgetransfer.errors import DataError

ALL = ("train", "val", "test")
SHARES = shares_of((0.7, 0.15, 0.15), ALL)


def contents(count: int, salt: str = "") -> list[str]:
    return [hashlib.sha256(f"{salt}{i}".encode()).hexdigest() for i in range(count)]


def split(labels: list[str], sha256s: list[str], *, seed: int = 0) -> list[str]:
    return assign(labels, sha256s, range(len(labels)), seed=seed, shares=SHARES)


@given(st.lists(st.integers(3, 60), min_size=1, max_size=5), st.integers(0, 1000))
def test_each_class_has_its_share_of_each_split_to_within_one_photo_and_at_least_one(
    sizes: list[int], seed: int
) -> None:
    labels = [f"class {i}" for i, size in enumerate(sizes) for _ in range(size)]
    counts = Counter(zip(labels, split(labels, contents(len(labels)), seed=seed), strict=True))
    for i, size in enumerate(sizes):
        for name in ALL:
            got = counts[f"class {i}", name]
            assert got >= 1
            if size >= 7:  # below, one photo is more than the share
                assert abs(got - SHARES[name] * size) <= 1


@given(st.permutations(list(range(40))), st.integers(0, 5))
def test_splits_do_not_depend_on_the_order_of_files(order: list[int], seed: int) -> None:
    sha256s = contents(40)
    labels = ["ab"[i % 2] for i in range(40)]
    straight = split(labels, sha256s, seed=seed)
    shuffled = split([labels[i] for i in order], [sha256s[i] for i in order], seed=seed)
    assert shuffled == [straight[i] for i in order]


def test_the_seed_changes_splits_and_the_same_seed_does_not() -> None:
    labels, sha256s = ["a"] * 100, contents(100)
    assert split(labels, sha256s, seed=1) == split(labels, sha256s, seed=1)
    assert split(labels, sha256s, seed=1) != split(labels, sha256s, seed=2)


@pytest.mark.parametrize(("count", "percent"), [(137, 5), (400, 2.5), (2500, 1)])
def test_a_tenth_more_files_move_few_of_the_others_and_none_between_train_and_test(count: int, percent: float) -> None:
    moved = []
    for seed in range(20):
        before = split(["a"] * count, contents(count), seed=seed)
        more = contents(count) + contents(count // 10, "new")
        after = split(["a"] * len(more), more, seed=seed)[:count]
        changes = {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]}
        assert not changes & {("train", "test"), ("test", "train")}
        moved.append(100 * sum(a != b for a, b in zip(before, after, strict=True)) / count)
    assert max(moved) <= percent
    assert sum(moved) / len(moved) <= percent / 2


def test_adding_a_class_moves_nothing_in_the_others() -> None:
    sha256s = contents(60)
    before = split(["a"] * 40, sha256s[:40])
    after = split(["a"] * 40 + ["b"] * 20, sha256s)
    assert after[:40] == before


@given(st.lists(st.integers(0, 15), min_size=30, max_size=60), st.integers(0, 100))
def test_groups_are_never_torn_apart(groups: list[int], seed: int) -> None:
    groups = [*groups, 16, 17, 18]
    splits = assign(["a"] * len(groups), contents(len(groups)), groups, seed=seed, shares=SHARES)
    by_group: dict[int, set[str]] = {}
    for group, name in zip(groups, splits, strict=True):
        by_group.setdefault(group, set()).add(name)
    assert all(len(names) == 1 for names in by_group.values())
    assert set(splits) == set(ALL)


def test_a_group_of_two_classes_follows_its_smallest_content_and_each_class_is_still_everywhere() -> None:
    labels = ["a"] * 10 + ["b"] * 10
    groups = list(range(20))
    groups[10] = groups[0]
    counts = Counter(zip(labels, assign(labels, contents(20), groups, seed=0, shares=SHARES), strict=True))
    assert all(counts[label, name] for label in "ab" for name in ALL)


def test_every_class_with_too_few_different_photos_is_named() -> None:
    labels = ["a"] * 5 + ["b"] * 2 + ["c"] * 3
    groups = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6]
    with pytest.raises(DataError) as caught:
        assign(labels, contents(10), groups, seed=0, shares=SHARES)
    assert caught.value.problems == (
        "class 'a': expected at least 3 photos that are no copies of one another (for train and val and test), got 2",
        "class 'b': expected at least 3 photos that are no copies of one another (for train and val and test), got 2",
    )


def test_shares_of_some_splits_keep_their_proportion() -> None:
    assert shares_of((0.6, 0.2, 0.2), ("train", "val")) == pytest.approx({"train": 0.75, "val": 0.25})
    assert shares_of((0.8, 0.2, 0), ALL) == pytest.approx({"train": 0.8, "val": 0.2})


@pytest.mark.parametrize(
    "fractions",
    [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (0.5, 0, 0.5), (float("nan"), 0.5, 0.5)],
)
def test_fractions_that_make_no_sense_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="expected three numbers for train, val and test that sum to 1"):
        shares_of(fractions, ALL)
