"""A head that labels photos by itself: only what it is sure of, no class more than its share."""

from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.train.few import fit_plain
from edgetransfer.train.fit import Fit
from edgetransfer.transfer.pseudo_labels import choose_threshold, self_train, sure_labels


def fit_head(split):
    """A logistic regression, which takes milliseconds."""
    return Fit((fit_plain(split[0], split[1], 3, 1e-3),), {}, ())


@pytest.fixture(scope="module")
def domains():
    """Three classes in the plane; the target's are the source's, turned by 20 degrees."""
    rng = np.random.default_rng(0)

    def draw(count, angle, spread):
        labels = np.arange(count) % 3
        turn = np.deg2rad(120 * labels + angle)
        centres = 3 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        return (centres + rng.normal(0, spread, (count, 2))).astype(np.float32), labels

    return draw(90, 0, 1.2), draw(90, 0, 1.2), draw(300, 20, 1.2)


def test_the_threshold_is_the_least_that_keeps_labels_right_often_enough():
    scores = np.array([[0.99, 0.01], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    labels = np.array([0, 0, 0, 1, 0])  # right, right, right, wrong, right
    assert choose_threshold(scores, labels, 1.0) == 0.8
    assert choose_threshold(scores, labels, 0.8) == 0.6
    assert choose_threshold(scores, 1 - labels, 0.9) == float("inf")


def test_equally_sure_answers_are_kept_together_or_not_at_all():
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]])
    assert choose_threshold(scores, np.array([0, 1, 1]), 1.0) == float("inf")


def test_of_each_class_the_surest_are_kept_up_to_its_share():
    scores = np.array([[0.9, 0.1], [0.95, 0.05], [0.7, 0.3], [0.2, 0.8], [0.45, 0.55]])
    rows, labels = sure_labels(scores, 0.6, most_each=2)
    assert (rows.tolist(), labels.tolist()) == ([0, 1, 3], [0, 0, 1])


def test_nothing_is_labelled_where_nothing_is_sure_enough(domains):
    train, val, target = domains
    found = self_train(train, (val[0], (val[1] + 1) % 3), target[0], 3, fit_head)
    assert len(found.rows) == 0
    assert [(one.threshold, one.kept) for one in found.rounds] == [(float("inf"), 0)]
    np.testing.assert_array_equal(found.fit.head[0].kernel, fit_head(train).head[0].kernel)


def test_labels_are_right_as_often_as_asked_and_the_head_gains(domains):
    train, val, (features, true) = domains
    found = self_train(train, val, features, 3, fit_head, rate=0.95, rounds=3)
    assert len(found.rows) > 100
    assert (found.labels == true[found.rows]).mean() >= 0.95
    assert (found.confidence >= found.rounds[-1].threshold).all()
    assert np.bincount(found.labels).max() <= 100

    def accuracy(fit):
        layer = fit.head[0]
        return ((features @ layer.kernel + layer.bias).argmax(axis=1) == true).mean()

    assert accuracy(found.fit) > accuracy(fit_head(train))


def test_a_stricter_rate_keeps_fewer(domains):
    train, val, target = domains
    kept = [len(self_train(train, val, target[0], 3, fit_head, rate=rate, rounds=1).rows) for rate in (0.85, 1.0)]
    assert kept[0] > kept[1] > 0


def test_a_cap_holds_for_every_class(domains):
    train, val, target = domains
    found = self_train(train, val, target[0], 3, fit_head, most_each=7)
    assert np.bincount(found.labels, minlength=3).tolist() == [7, 7, 7]


def test_rounds_end_where_a_round_changes_nothing(domains):
    train, _, target = domains
    head = Fit((Dense(np.eye(2, 3, dtype=np.float32) * 5, np.zeros(3, np.float32)),), {}, ())
    found = self_train(
        train, (np.eye(2, dtype=np.float32), np.array([0, 1])), target[0], 3, lambda split: head, rounds=9
    )
    assert len(found.rounds) == 2


@pytest.mark.parametrize(("rate", "rounds"), [(0.0, 1), (1.1, 1), (0.9, 0)])
def test_what_cannot_be_asked_for_is_refused(rate, rounds, domains):
    train, val, target = domains
    with pytest.raises(RecipeError, match="pseudo-labels: expected"):
        self_train(train, val, target[0], 3, fit_head, rate=rate, rounds=rounds)
