from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from edgetransfer.runtime.decoders.single_label import decode, reject
from edgetransfer.spec.task import Task

RESULT = decode(np.array([0, 3, 1], np.float32), Task("single_label", ("a", "b", "c")))
DETECTOR = SimpleNamespace(threshold=2.1)


def test_an_input_below_the_threshold_keeps_its_label():
    kept = reject(RESULT, 1.5, DETECTOR)
    assert (kept.label, kept.score, kept.unlike, kept.reason) == ("b", RESULT.score, 1.5, "")


def test_an_input_above_the_threshold_has_no_label_and_says_why():
    found = reject(RESULT, 3.2, DETECTOR)
    assert found.label is None
    assert found.reason == "unlike anything it was trained on (score 3.2, threshold 2.1)"
    assert found.scores == RESULT.scores


def test_an_input_at_the_threshold_is_not_rejected():
    assert reject(RESULT, 2.1, DETECTOR).label == "b"


def test_json_tells_of_rejecting_only_where_it_is_in_use():
    assert set(RESULT.to_json()) == {"label", "score", "scores"}
    assert reject(RESULT, 1.5, DETECTOR).to_json() == RESULT.to_json() | {"unlike": 1.5, "reason": ""}
    assert reject(RESULT, 3.2, DETECTOR).to_json()["label"] is None


@pytest.mark.parametrize("score", [float("inf"), float("nan")])
def test_a_score_that_is_no_number_rejects_and_is_still_json(score):
    found = reject(RESULT, score, DETECTOR)
    assert found.label is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["unlike"] is None
