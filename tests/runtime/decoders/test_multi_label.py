from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.task import Task

TASK = Task("multi_label", ("a", "b", "c"), thresholds=(0.5, 0.2, 0.9))
decoder = get_decoder("multi_label")


def test_each_score_is_the_sigmoid_of_its_logit():
    scores = decoder.to_scores(np.array([0, 1, -2], np.float32), TASK)
    assert list(scores) == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2))], rel=1e-12)


def test_the_labels_are_those_that_reach_their_own_threshold_in_label_order():
    assert decoder.decode_scores(np.array([0.5, 0.19, 0.95]), TASK).labels == ("a", "c")
    assert decoder.decode_scores(np.array([0.49, 0.1, 0.8]), TASK).labels == ()


def test_a_temperature_draws_scores_to_the_middle():
    warm = Task("multi_label", TASK.labels, 4.0, TASK.thresholds)
    logits = np.array([4, -4, 8], np.float32)
    np.testing.assert_allclose(decoder.to_scores(logits, warm), decoder.to_scores(logits / 4, TASK))


def test_the_result_is_json():
    result = decoder.decode_scores(np.array([0.5, 0.125, 0.25]), TASK)
    assert result.to_json() == {"labels": ["a"], "scores": {"a": 0.5, "b": 0.125, "c": 0.25}}


@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=3, max_size=3))
def test_any_logits_give_scores_from_0_to_1(logits):
    scores = decoder.to_scores(np.array(logits, np.float32), TASK)
    assert ((scores >= 0) & (scores <= 1)).all()
