from __future__ import annotations

import json

import pytest

from edgetransfer.errors import InputError
from edgetransfer.spec.learning_curve import CurvePoint, LearningCurve


def curve(gain=2.0, low=1.0, high=3.0):
    points = (CurvePoint(100, 0.8, 0.78, 0.82), CurvePoint(200, 0.85, 0.84, 0.86))
    return LearningCurve(points, 0.0, 1.0, 0.5, gain, (low, high))


def test_a_curve_survives_json():
    assert LearningCurve.from_json(json.loads(json.dumps(curve().to_json()))) == curve()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"gain_95": [1.0]}, "two numbers"), ({"points": []}, "expected points"), ({"floor": "x"}, "floor")],
)
def test_what_is_no_curve_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        LearningCurve.from_json(curve().to_json() | changes)


@pytest.mark.parametrize(
    ("gain", "low", "high", "verdict"),
    [
        (2.0, 1.0, 3.0, "more data would help"),
        (2.0, -0.5, 3.0, "more data may help a little"),
        (0.7, 0.2, 1.4, "more data may help a little"),
        (0.7, 0.2, 0.9, "more data of this kind would hardly help"),
        (0.3, -0.5, 2.0, "more data of this kind would hardly help"),
    ],
)
def test_the_advice_follows_from_the_gain_and_its_interval(gain, low, high, verdict):
    text = curve(gain, low, high).as_text()
    assert f"{verdict}: doubling the data (200 to 400 examples) is expected to add {gain:.1f} points" in text
    assert "85.00%" in text


def test_the_power_law_can_be_asked_for_any_number():
    assert curve().expected_accuracy(400) == pytest.approx(0.95)
