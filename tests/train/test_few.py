from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.train.few import ONE_SHOT_PENALTY, PENALTIES, divide, fit_few, fit_plain


@pytest.fixture(scope="module")
def digits():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    return data.data.astype(np.float32), data.target.astype(np.int64)


def draw(digits, shots, seed):
    """Features and labels of so many a class, and of all others."""
    features, labels = digits
    rng = np.random.default_rng(seed)
    some = np.concatenate([rng.permutation(np.flatnonzero(labels == one))[:shots] for one in range(10)])
    rest = np.setdiff1d(np.arange(len(labels)), some)
    return (features[some], labels[some]), (features[rest], labels[rest])


def right(head, data):
    return (head.apply(data[0]).argmax(axis=1) == data[1]).mean()


def nearest_mean(train, data):
    means = np.stack([train[0][train[1] == one].mean(axis=0) for one in range(10)])
    distance = ((data[0][:, None] - means) ** 2).sum(axis=2)
    return (distance.argmin(axis=1) == data[1]).mean()


@pytest.mark.parametrize(("shots", "least"), [(1, 0.55), (5, 0.79), (10, 0.84)])
def test_few_shots_give_sensible_heads_no_worse_than_nearest_class_mean(digits, shots, least):
    own, nearest = [], []
    for seed in range(4):
        train, rest = draw(digits, shots, seed)
        own.append(right(fit_few(*train, 10).head[0], rest))
        nearest.append(nearest_mean(train, rest))
    assert np.mean(own) > least
    assert np.mean(own) > np.mean(nearest) - 0.01


def test_one_shot_has_nothing_to_choose_by_and_says_so(digits):
    found = fit_few(*draw(digits, 1, 0)[0], 10)
    assert (found.accuracy, found.accuracy_95, found.folds) == (None, None, 0)
    assert found.penalty == ONE_SHOT_PENALTY
    assert "one example a class" in found.because


def test_the_accuracy_of_examples_left_out_foretells_that_of_new_ones(digits):
    said, met = [], []
    for seed in range(6):
        train, rest = draw(digits, 10, seed)
        found = fit_few(*train, 10, seed=seed)
        met.append(right(found.head[0], rest))
        said.append(found.accuracy)
        assert found.accuracy_95[0] < found.accuracy < found.accuracy_95[1]
    assert np.mean(said) == pytest.approx(np.mean(met), abs=0.04)


def test_the_penalty_with_the_least_loss_is_chosen_and_weaker_ones_are_tried_until_it_rises(digits):
    found = fit_few(*draw(digits, 5, 0)[0], 10)
    assert found.penalty == min(found.candidates, key=lambda row: row["loss"])["penalty"]
    assert [row["penalty"] for row in found.candidates] == list(PENALTIES[: len(found.candidates)])
    assert len(found.candidates) < len(PENALTIES)


def test_the_head_is_logistic_regression(digits):
    linear = pytest.importorskip("sklearn.linear_model")
    features, labels = draw(digits, 8, 0)[0]
    spread = np.sqrt(((features - features.mean(axis=0)) ** 2).sum(axis=1).mean())
    table = (features - features.mean(axis=0)) / spread
    theirs = linear.LogisticRegression(C=1 / (2 * 1e-3 * len(labels)), tol=1e-8, max_iter=2000).fit(table, labels)
    own = fit_plain(features, labels, 10, 1e-3).apply(features)
    wanted = theirs.decision_function(table)
    own, wanted = (one - one.mean(axis=1, keepdims=True) for one in (own, wanted))
    assert np.abs(own - wanted).max() < 0.02 * np.abs(wanted).max()


def test_fewer_and_more_examples_than_features_give_the_same_kind_of_head(digits):
    train, rest = draw(digits, 3, 0)  # 30 examples, 64 features
    wide = np.concatenate([train[0], np.zeros((30, 100), np.float32)], axis=1)
    narrow, padded = fit_plain(*train, 10, 1e-3), fit_plain(wide, train[1], 10, 1e-3)
    np.testing.assert_allclose(padded.kernel[:64], narrow.kernel, atol=2e-3 * np.abs(narrow.kernel).max())
    many = draw(digits, 12, 0)[0]  # 120 examples
    assert right(fit_plain(*many, 10, 1e-3), rest) > right(narrow, rest)


def test_a_class_of_one_example_is_learned_and_never_left_out(digits):
    features, labels = draw(digits, 6, 0)[0]
    keep = (labels != 3) | (np.cumsum(labels == 3) == 1)
    found = fit_few(features[keep], labels[keep], 10)
    assert found.folds == 5
    assert "54 examples left out" in found.because
    assert "1 of 10 classes have a single example" in found.because
    assert found.head[0].apply(features[labels == 3][:1]).argmax() == 3


def test_balancing_helps_a_class_of_few_examples(digits):
    (features, labels), rest = draw(digits, 20, 0)
    keep = (labels != 8) | (np.cumsum(labels == 8) <= 2)
    recalls = []
    for balance in (False, True):
        head = fit_few(features[keep], labels[keep], 10, balance=balance).head[0]
        recalls.append((head.apply(rest[0]).argmax(axis=1) == 8)[rest[1] == 8].mean())
    assert recalls[1] > recalls[0] + 0.05


def test_every_label_is_spread_over_all_folds():
    labels = np.repeat(np.arange(4), (7, 5, 12, 6))
    fold = divide(labels, 5, np.random.default_rng(0))
    counts = np.array([np.bincount(fold[labels == one], minlength=5) for one in range(4)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    assert np.ptp(counts.sum(axis=0)) <= 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 1]), "expected features"),
        (np.array([0, 1, 1, 0.5]), "whole numbers from 0 to 2"),
        (np.array([0, 1, 3, 2]), "whole numbers from 0 to 2"),
        (np.array([0, 2, 2, 0]), "label number 1 has no training example"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        fit_few(np.zeros((4, 3), np.float32), labels, 3)


def test_constant_features_are_no_division_by_zero():
    found = fit_few(np.ones((9, 5), np.float32), np.arange(9) % 3, 3)
    assert np.isfinite(found.head[0].kernel).all()
