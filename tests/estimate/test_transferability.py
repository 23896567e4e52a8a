from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.estimate.transferability import (
    PENALTIES,
    folds_of,
    held_out_scores,
    log_me,
    right_when_held_out,
)


def clouds(apart: float, *, each: int = 20, classes: int = 3, width: int = 12, seed: int = 0):
    """Examples around one centre a class, `apart` standard deviations from the origin."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    centres = np.eye(classes, width) * apart
    return (centres[labels] + rng.normal(size=(len(labels), width))).astype(np.float32), labels


def evidence(features, target, prior: float, noise: float) -> float:
    """The log density of `target` under a Gaussian with the covariance I / noise + F F' / prior."""
    covariance = np.eye(len(target)) / noise + features @ features.T / prior
    _, log_determinant = np.linalg.slogdet(covariance)
    distance = target @ np.linalg.solve(covariance, target)
    return -(len(target) * np.log(2 * np.pi) + log_determinant + distance) / 2


@pytest.mark.parametrize("width", [5, 80])  # fewer features than examples, and more
def test_log_me_is_the_greatest_evidence_that_a_search_over_prior_and_noise_finds(width):
    features, labels = clouds(2.0, each=15, classes=3, width=width)
    wide = features.astype(np.float64)
    levels = np.logspace(-2, 3, 41)
    searched = []
    for number in range(3):
        target = (labels == number).astype(np.float64)
        searched.append(max(evidence(wide, target, prior, noise) for prior in levels for noise in levels))
    expected = np.mean(searched) / len(labels)
    found = log_me(features, labels)
    assert expected - 1e-9 <= found <= expected + 0.01  # the search takes steps of a third


def test_features_that_tell_classes_apart_score_higher():
    scores = [log_me(*clouds(apart)) for apart in (0.0, 1.0, 2.0, 4.0)]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 0.3


def test_log_me_knows_no_order_and_no_rotation():
    features, labels = clouds(2.0)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))
    order = np.random.default_rng(2).permutation(len(labels))
    assert log_me((features @ turn)[order], labels[order]) == pytest.approx(log_me(features, labels), abs=1e-4)


def test_features_without_any_content_have_a_finite_score():
    labels = np.array([0, 1] * 10)
    assert np.isfinite(log_me(np.zeros((20, 4), np.float32), labels))
    assert np.isfinite(log_me(np.eye(2, dtype=np.float32)[labels], labels))  # labels that are explained exactly


def test_folds_spread_every_class_evenly():
    labels = np.array([0] * 11 + [1] * 5 + [2] * 3)
    folds = folds_of(labels, 5)
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1, label


def test_holding_a_fold_out_in_closed_form_is_holding_it_out():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 6))
    targets = np.eye(3)[rng.integers(0, 3, 30)]
    folds, ridge = rng.integers(0, 4, 30), 2.0
    closed = held_out_scores(features @ features.T, targets, ridge, folds)
    for fold in range(4):
        others, own = folds != fold, folds == fold
        weights = np.linalg.solve(
            features[others].T @ features[others] + ridge * np.eye(6), features[others].T @ targets[others]
        )
        np.testing.assert_allclose(closed[own], features[own] @ weights, atol=1e-10)


def test_a_held_out_example_is_right_where_classes_are_apart_and_by_chance_where_they_are_not():
    features, labels = clouds(8.0)
    assert right_when_held_out(features, labels, folds_of(labels, 5)).all()
    features, labels = clouds(0.0, each=100)
    share = right_when_held_out(features, labels, folds_of(labels, 5)).mean()
    assert abs(share - 1 / 3) < 4 * np.sqrt(2 / 9 / 300)


def test_the_penalty_is_not_chosen_by_the_answers_that_are_counted():
    features, labels = clouds(0.0, each=30, width=60, seed=5)
    folds = folds_of(labels, 5)
    table = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    gram, targets = table @ table.T, np.eye(3)[labels]
    scale = np.trace(gram) / len(gram)
    centred = targets - targets.mean(axis=0)
    tried = [held_out_scores(gram, centred, penalty * scale, folds) for penalty in PENALTIES]
    shares = [float((scores.argmax(axis=1) == labels).mean()) for scores in tried]
    least = int(np.argmin([((scores - centred) ** 2).sum() for scores in tried]))
    assert right_when_held_out(features, labels, folds).mean() == shares[least]


def test_a_class_of_one_example_is_no_trouble():
    features, labels = clouds(8.0)
    labels = labels.copy()
    labels[0] = 9
    right = right_when_held_out(features, labels, folds_of(labels, 5))
    assert not right[0]
    assert right[1:].mean() > 0.9
