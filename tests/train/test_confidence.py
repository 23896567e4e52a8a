from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import DataError
from edgetransfer.estimate.separation import auroc
from edgetransfer.train.confidence import (
    CENTRE_BYTES,
    TEMPERATURES,
    Way,
    choose_way,
    conformal_threshold,
    fit_outliers,
    fit_temperature,
)


def drawn_labels(logits, seed=0):
    """Labels that follow the softmax of `logits`."""
    return (logits + np.random.default_rng(seed).gumbel(size=logits.shape)).argmax(axis=1)


def loss(logits, labels, temperature):
    scaled = logits / temperature
    return -(scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(axis=1))).mean()


# Temperature


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_of_scaled_logits_is_found(temperature):
    honest = np.random.default_rng(0).normal(0, 2, (20_000, 5))
    assert fit_temperature(honest * temperature, drawn_labels(honest)) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_makes_the_labels_likelier():
    logits = np.random.default_rng(0).normal(0, 3, (3000, 4))
    labels = drawn_labels(logits / 2)
    found = fit_temperature(logits, labels)
    grid = np.geomspace(0.5, 8, 400)
    assert found == pytest.approx(grid[np.argmin([loss(logits, labels, one) for one in grid])], rel=0.01)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_any_logits_have_a_temperature_within_its_bounds(samples, classes, size, seed):
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, size, (samples, classes)).astype(np.float32)
    assert TEMPERATURES[0] <= fit_temperature(logits, draw.integers(0, classes, samples)) <= TEMPERATURES[1]


def test_few_samples_that_are_all_right_do_not_make_scores_certain():
    labels = np.arange(30) % 3
    logits = np.eye(3)[labels] * 4
    scores = np.exp(logits / fit_temperature(logits, labels))
    largest = (scores.max(axis=1) / scores.sum(axis=1)).max()
    assert 0.9 < largest < 0.99


def test_logits_without_differences_keep_their_temperature():
    assert fit_temperature(np.ones((4, 3)), np.zeros(4, int)) == 1


def test_logits_that_are_always_wrong_are_made_as_flat_as_can_be():
    assert fit_temperature(np.eye(2)[[0, 1]] * 5, np.array([1, 0])) == TEMPERATURES[1]


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 3)), np.zeros(0, int)),
        (np.zeros(3), np.zeros(3, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.array([[np.nan, 0]]), np.zeros(1, int)),
    ],
)
def test_what_has_no_temperature_is_refused(logits, labels):
    with pytest.raises(DataError, match="temperature"):
        fit_temperature(logits, labels)


# Outliers


def table(samples, classes=4, width=24, seed=0, strange=False):
    """Features of classes that lie in directions of their own, each with two looks; or of another class."""
    draw = np.random.default_rng(seed)
    places = np.random.default_rng(99).normal(0, 1, (classes + 1, 2, width))
    labels = np.full(samples, classes) if strange else np.arange(samples) % classes
    rows = places[labels, draw.integers(0, 2, samples)] + draw.normal(0, 0.4, (samples, width))
    return (np.exp(draw.normal(0, 0.5, (samples, 1))) * rows).astype(np.float32), labels


def test_a_class_that_was_never_seen_is_told_from_those_that_were():
    detector = fit_outliers(*table(200), table(100, seed=1)[0])
    known, strange = table(300, seed=2)[0], table(100, seed=3, strange=True)[0]
    assert auroc(detector.score(known), detector.score(strange)) > 0.99
    assert detector.rejects(strange).mean() > 0.95
    assert detector.rejects(known).mean() < 0.1


def test_several_looks_of_a_class_get_centres_of_their_own():
    assert choose_way(*table(200)).centres > 1


def test_what_is_chosen_and_fitted_is_the_same_every_time():
    once, again = (fit_outliers(*table(120), table(40, seed=1)[0]) for _ in range(2))
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in once.arrays().items())


def test_the_validation_split_sets_the_threshold_and_nothing_else():
    one, other = (fit_outliers(*table(120), table(40, seed=seed)[0]).arrays() for seed in (1, 2))
    assert [name for name in one if not np.array_equal(one[name], other[name])] == ["settings"]
    assert one["settings"][1:].tolist() == other["settings"][1:].tolist()


def test_centres_of_many_features_keep_to_their_bytes():
    features, labels = table(120, classes=6, width=1280)
    detector = fit_outliers(features, labels, features)
    assert detector.stored.nbytes <= CENTRE_BYTES


def test_class_means_are_those_of_the_training_data_in_the_detectors_space():
    features, labels = table(200)
    detector = fit_outliers(features, labels, table(40, seed=1)[0])
    placed = detector.space.place(features)
    means = np.stack([placed[labels == label].mean(axis=0) for label in range(4)])
    np.testing.assert_allclose(detector.class_means, means, atol=1 / 127)
    within = np.sqrt(np.mean([placed[labels == label].var(axis=0) for label in range(4)], axis=0))
    np.testing.assert_allclose(detector.spread, within, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_classes_are_enough(classes):
    detector = fit_outliers(*table(60, classes=classes), table(40, classes=classes, seed=1)[0])
    strange = table(40, classes=classes, seed=2, strange=True)[0]
    assert detector.rejects(strange).mean() > 0.5


def test_classes_with_too_few_samples_to_hold_any_out_are_fitted_in_the_simplest_way():
    features, labels = table(8)
    assert choose_way(features, labels) == Way()
    assert np.isfinite(fit_outliers(features, labels, table(40, seed=1)[0]).threshold)


def test_features_that_are_all_alike_are_no_division_by_zero():
    flat = np.ones((40, 5), np.float32)
    detector = fit_outliers(flat, np.arange(40) % 2, flat)
    assert not detector.rejects(flat).any()
    assert np.isfinite(detector.score(flat)).all()


# Threshold


@settings(deadline=None, max_examples=30)
@given(st.integers(19, 120), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 2**32 - 1))
def test_of_data_like_the_validation_split_at_most_the_chosen_share_is_rejected(samples, rate, seed):
    draw = np.random.default_rng(seed)
    shares = [
        (draw.exponential(size=200) > conformal_threshold(draw.exponential(size=samples), rate)).mean()
        for _ in range(300)
    ]
    assert np.mean(shares) <= rate + 4 * np.std(shares) / np.sqrt(300)
    assert np.mean(shares) >= rate - 1 / (samples + 1) - 4 * np.std(shares) / np.sqrt(300)


def test_the_threshold_is_the_conformal_order_statistic():
    assert conformal_threshold(np.arange(1.0, 20), 0.05) == 19  # ceil(20 * 0.95) = 19
    assert conformal_threshold(np.arange(1.0, 100), 0.05) == 95
    assert conformal_threshold(np.arange(1.0, 101), 0.05) == 96


@pytest.mark.parametrize(("samples", "rate", "needed"), [(18, 0.05, 19), (98, 0.01, 99), (0, 0.5, 1)])
def test_too_few_validation_samples_are_refused_with_how_many_it_takes(samples, rate, needed):
    with pytest.raises(DataError, match=f"at least {needed} samples"):
        conformal_threshold(np.zeros(samples), rate)
    assert conformal_threshold(np.zeros(needed), rate) == 0


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(DataError, match="false reject rate"):
        fit_outliers(*table(40), table(40, seed=1)[0], false_reject_rate=rate)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, v: (x[:, :3], y, v), "validation features"),
        (lambda x, y, v: (x, y[:3], v), "n labels"),
        (lambda x, y, v: (x * np.float32(np.nan), y, v), "finite"),
        (lambda x, y, v: (x, y, v * np.float32(np.inf)), "finite"),
        (lambda x, y, v: (x, y * 0, v), "at least 2 classes"),
        (lambda x, y, v: (x, y + 1, v), "labels 0 to C - 1"),
    ],
)
def test_what_no_detector_can_be_fitted_to_is_refused(change, words):
    with pytest.raises(DataError, match=words):
        fit_outliers(*change(*table(40), table(40, seed=1)[0]))
