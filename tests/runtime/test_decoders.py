from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import UnknownNameError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.task import Task

TASK = Task("single_label", ("a", "b", "c"))


def test_scores_are_the_softmax_of_the_logits():
    result = get_decoder("single_label").decode(np.array([1, 2, 4], np.float32), TASK)
    powers = np.exp([1.0, 2.0, 4.0])
    assert result.label == "c"
    assert list(result.scores.values()) == pytest.approx(list(powers / powers.sum()), rel=1e-12)


def test_a_temperature_flattens_the_scores_and_leaves_the_label():
    logits = np.array([0, 3, 1], np.float32)
    warm = Task("single_label", ("a", "b", "c"), temperature=3.0)
    cold, flat = (get_decoder("single_label").decode(logits, task) for task in (TASK, warm))
    assert cold.label == flat.label == "b"
    assert flat.score < cold.score
    assert flat.scores == pytest.approx(get_decoder("single_label").decode(logits / 3, TASK).scores, rel=1e-6)


def test_of_equal_logits_the_first_label_wins():
    assert get_decoder("single_label").decode(np.zeros(3, np.float32), TASK).label == "a"


@given(st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=3, max_size=3))
def test_scores_are_finite_and_sum_to_one_for_any_logits(logits):
    result = get_decoder("single_label").decode(np.array(logits, np.float32), TASK)
    assert sum(result.scores.values()) == pytest.approx(1, abs=1e-12)
    assert result.label == "abc"[int(np.argmax(logits))]


def test_rows_are_scored_one_by_one():
    logits = np.array([[1, 2, 3], [3, 1, 1]], np.float32)
    both = get_decoder("single_label").to_scores(logits, TASK)
    np.testing.assert_array_equal(both[1], get_decoder("single_label").to_scores(logits[1], TASK))


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'single_label'"):
        get_decoder("single_labels")
