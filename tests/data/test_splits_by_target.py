"""The properties that splits of several labels and of values promise."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.data.splits import shares_of
from edgetransfer.data.splits_by_target import assign_by_target
from edgetransfer.errors import DataError

ALL = ("train", "val", "test")
SHARES = shares_of((0.7, 0.15, 0.15), ALL)


def contents(count: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]


def split(targets, *, seed=0, groups=None):
    groups = range(len(targets)) if groups is None else groups
    return assign_by_target(targets, contents(len(targets)), groups, seed=seed, shares=SHARES)


LABELS = st.lists(st.sets(st.sampled_from("abcde")).map(lambda one: tuple(sorted(one))), min_size=3, max_size=80)


@given(LABELS, st.integers(0, 20))
def test_every_label_is_in_train(targets, seed):
    found = split(targets, seed=seed)
    assert set(found) <= set(ALL)
    for label in "abcde":
        own = [name for name, target in zip(found, targets, strict=True) if label in target]
        assert not own or "train" in own


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=80), st.integers(0, 20))
def test_every_split_has_values(targets, seed):
    assert set(split(targets, seed=seed)) == set(ALL)


def test_each_of_many_labels_has_about_its_share_of_each_split():
    rng = np.random.default_rng(0)
    targets = [tuple(label for label, often in zip("abc", (0.5, 0.2, 0.05), strict=True) if rng.random() < often)
               for _ in range(400)]  # fmt: skip
    found = split(targets)
    for label in "abc":
        own = [name for name, target in zip(found, targets, strict=True) if label in target]
        for name in ALL:
            assert abs(own.count(name) - SHARES[name] * len(own)) <= 2


def test_each_tenth_of_the_scale_has_its_share_of_each_split():
    values = np.random.default_rng(0).normal(size=400).tolist()
    found = np.array(split(values))[np.argsort(values)]
    for run in np.array_split(found, 10):
        assert all(abs((run == name).sum() - SHARES[name] * len(run)) <= 1 for name in ALL)


@pytest.mark.parametrize(
    "targets", [[float(i % 7) for i in range(40)], [("a",) if i % 3 else ("a", "b") for i in range(40)]]
)
def test_splits_depend_on_the_seed_and_not_on_the_order_of_files(targets):
    order = np.random.default_rng(1).permutation(40)
    straight = split(targets)
    sha256s = contents(40)
    shuffled = assign_by_target(
        [targets[i] for i in order], [sha256s[i] for i in order], range(40), seed=0, shares=SHARES
    )
    assert shuffled == [straight[i] for i in order]
    assert split(targets, seed=1) != straight


@pytest.mark.parametrize("targets", [[float(i) for i in range(30)], [("a",) if i % 3 else () for i in range(30)]])
def test_copies_stay_on_one_side(targets):
    groups = [i // 3 for i in range(30)]
    found = split(targets, groups=groups)
    assert all(len(set(found[3 * i : 3 * i + 3])) == 1 for i in range(10))


def test_fewer_different_samples_than_splits_are_refused():
    with pytest.raises(DataError, match="expected at least 3 samples that are no copies of one another"):
        split([1.0, 2.0, 3.0], groups=[0, 0, 1])
