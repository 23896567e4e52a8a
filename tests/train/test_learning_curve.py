from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.train.few import fit_plain
from edgetransfer.train.learning_curve import fitted_curve, learning_curve, power_law

SIZES = (50, 80, 128, 205, 328, 525)


def rounds(accuracy, noise, seed=0):
    rng = np.random.default_rng(seed)
    return np.asarray(accuracy) + noise * rng.normal(size=(15, len(SIZES)))


@pytest.mark.parametrize(("floor", "factor", "exponent"), [(0.0, 1.0, 0.25), (0.1, 2.0, 0.5), (0.05, 0.0, 0.3)])
def test_a_power_law_is_found_again(floor, factor, exponent):
    errors = floor + factor * np.array(SIZES, float) ** -exponent
    found = power_law(SIZES, errors)
    again = found[0] + found[1] * np.array([50.0, 525.0, 1050.0]) ** -found[2]
    np.testing.assert_allclose(again, floor + factor * np.array([50.0, 525.0, 1050.0]) ** -exponent, atol=5e-4)


def test_errors_that_fall_steadily_ask_for_more_data():
    curve = fitted_curve(SIZES, rounds(0.95 - 1.2 * np.array(SIZES) ** -0.35, 0.004), np.random.default_rng(0))
    truth = 100 * 1.2 * (525**-0.35 - 1050**-0.35)
    assert curve.gain_points == pytest.approx(truth, abs=0.7)
    assert curve.gain_95[0] <= truth <= curve.gain_95[1]
    assert curve.advice.startswith("more data would help: doubling the data (525 to 1050 examples)")


def test_a_flat_curve_asks_for_none():
    curve = fitted_curve(SIZES, rounds(np.full(6, 0.9), 0.004), np.random.default_rng(0))
    assert curve.gain_points < 0.5
    assert curve.advice.startswith("more data of this kind would hardly help")


@pytest.mark.slow
def test_the_curve_of_the_digits_rises_and_foretells_what_was_held_back():
    data = pytest.importorskip("sklearn.datasets").load_digits()
    features, labels = data.data.astype(np.float32), data.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    some, more, new = np.split(order, (400, 900))
    seen = []
    curve = learning_curve(
        features[some], labels[some], 10, sizes=(40, 80, 160, 300), repeats=1, progress=lambda *now: seen.append(now)
    )
    accuracy = [point.accuracy for point in curve.points]
    assert accuracy == sorted(accuracy)
    assert all(point.low <= point.accuracy <= point.high for point in curve.points)
    assert seen[-1] == (20, 20)
    with_more = np.concatenate([some, more])
    head = fit_plain(features[with_more], labels[with_more], 10, 1e-5)
    right = (head.apply(features[new]).argmax(axis=1) == labels[new]).mean()
    assert curve.expected_accuracy(900) == pytest.approx(right, abs=0.03)


def test_the_same_seed_gives_the_same_curve():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (rng.normal(size=(60, 6)) + np.eye(6)[labels]).astype(np.float32)
    once, again = (learning_curve(features, labels, 3, repeats=1, seed=5) for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    ("labels", "sizes", "message"),
    [
        (np.repeat([0, 1], (4, 30)), None, "expected at least 5 examples of every label, got 4 of label number 0"),
        (np.arange(40) % 2, (10, 20), "expected at least 3 sizes from 2 to 30"),
        (np.arange(40) % 2, (10, 20, 39), "expected at least 3 sizes from 2 to 30"),
    ],
)
def test_what_gives_no_curve_is_refused(labels, sizes, message):
    with pytest.raises(DataError, match=message):
        learning_curve(np.zeros((len(labels), 3), np.float32), labels, 2, sizes=sizes)
