from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.decoders.ordinal import ranks
from edgetransfer.spec.task import Task

TASK = Task("ordinal", ("low", "middle", "high"))
decoder = get_decoder("ordinal")


def test_scores_are_the_products_of_the_steps():
    logits = np.log([3.0, 1 / 4]).astype(np.float32)  # a step up with chances of 3/4, then 1/5
    assert list(decoder.to_scores(logits, TASK)) == pytest.approx([1 / 4, 3 / 4 * 4 / 5, 3 / 4 / 5], rel=1e-6)


def test_the_answer_is_the_median_and_not_the_likeliest():
    result = decoder.decode_scores(np.array([0.4, 0.25, 0.35]), TASK)
    assert (result.label, result.score) == ("middle", 0.25)
    assert result.expected == pytest.approx(0.25 + 2 * 0.35)
    assert list(ranks(np.array([[0.6, 0.2, 0.2], [0.1, 0.1, 0.8]]))) == [0, 2]


def test_of_a_tie_the_lower_label_wins():
    assert decoder.decode_scores(np.array([0.5, 0.5, 0.0]), TASK).label == "low"


def test_the_result_is_json():
    result = decoder.decode_scores(np.array([0.25, 0.5, 0.25]), TASK)
    scores = {"low": 0.25, "middle": 0.5, "high": 0.25}
    assert result.to_json() == {"label": "middle", "score": 0.5, "scores": scores, "expected": 1.0}


@given(st.lists(st.floats(-1e5, 1e5, width=32, allow_subnormal=False), min_size=2, max_size=2))
def test_any_logits_give_scores_that_sum_to_one(logits):
    scores = decoder.to_scores(np.array(logits, np.float32), TASK)
    assert (scores >= 0).all()
    assert scores.sum() == pytest.approx(1, abs=1e-12)


def test_rows_are_scored_one_by_one():
    logits = np.array([[1, 2], [-3, 1]], np.float32)
    both = decoder.to_scores(logits, TASK)
    np.testing.assert_array_equal(both[1], decoder.to_scores(logits[1], TASK))
