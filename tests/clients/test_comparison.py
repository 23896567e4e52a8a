from __future__ import annotations

import numpy as np
import pytest
from client_checks.comparison import Answers, check_labels, compare
from client_checks.failures import CheckFailed

LABELS = ("a", "b", "c")
STEP = 0.0625


def answers(*rows, labels=LABELS):
    return Answers(labels, np.array(rows, np.float64))


def softmax(steps):
    real = np.exp(np.array(steps) * STEP)
    return real / real.sum()


def test_equal_answers_are_no_step_apart():
    found = compare(answers([3, 1, 2]), answers([3, 1, 2]), step=STEP, scores=False)
    assert (found.apart, found.unit, found.same_top, found.images) == (0, "steps", 1, 1)
    assert found.passed


def test_logits_of_integer_graphs_are_compared_in_steps():
    found = compare(answers([40 * STEP, 0, 0]), answers([40 * STEP, 2 * STEP, 0]), step=STEP, scores=False)
    assert found.apart == pytest.approx(2)
    assert found.same_top == 1
    assert not found.passed


def test_scores_of_integer_graphs_tell_how_many_steps_their_logits_are_apart():
    found = compare(answers(softmax([40, -10, 7])), answers(softmax([40, -10, 8])), step=STEP, scores=True)
    assert found.apart == pytest.approx(1)
    found = compare(answers(softmax([40, -10, 7])), answers(softmax([41, -11, 7])), step=STEP, scores=True)
    assert found.apart == pytest.approx(2)


def test_the_step_of_an_unlikely_label_counts_though_its_score_hardly_moves():
    ours, theirs = softmax([400, -10, 7]), softmax([400, -13, 7])
    assert np.abs(ours - theirs).max() < 1e-9
    found = compare(answers(ours), answers(theirs), step=STEP, scores=True)
    assert found.apart == pytest.approx(3)
    assert not found.passed


def test_scores_that_are_flushed_to_zero_are_not_infinitely_far():
    assert compare(answers([1, 1e-38, 0]), answers([1, 0, 0]), step=STEP, scores=True).apart == 0


def test_float_graphs_are_compared_as_parts_of_the_largest_output():
    found = compare(answers([10, 1, 2]), answers([10, 1.005, 2]), step=None, scores=False)
    assert found.unit == "of the largest output"
    assert found.apart == pytest.approx(5e-4)
    assert not found.passed
    assert compare(answers([10, 1, 2]), answers([10, 1.0005, 2]), step=None, scores=False).passed


def test_another_first_label_passes_only_where_it_is_as_good():
    tie = compare(answers([3 * STEP, 3 * STEP, 0]), answers([3 * STEP, 3.5 * STEP, 0]), step=STEP, scores=False)
    assert (tie.same_top, tie.passed) == (1, True)
    other = compare(answers([9 * STEP, 3 * STEP, 0]), answers([9 * STEP, 10 * STEP, 0]), step=STEP, scores=False)
    assert (other.same_top, other.passed) == (0, False)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (("a", "c", "b"), "label 1: expected 'b', got 'c'"),
        (("a", "b"), "expected 3 labels, got 2"),
        (("a", "b", "café"), "label 2: expected 'c', got 'café'"),
    ],
)
def test_other_labels_or_another_order_are_refused(theirs, message):
    with pytest.raises(CheckFailed, match=message):
        check_labels(LABELS, theirs)


def test_numbers_that_are_not_finite_and_missing_images_are_refused():
    with pytest.raises(CheckFailed, match="NaN"):
        compare(answers([1, 2, 3]), answers([1, np.nan, 3]), step=None, scores=False)
    with pytest.raises(CheckFailed, match=r"expected outputs \(2, 3\), got \(1, 3\)"):
        compare(answers([1, 2, 3], [1, 2, 3]), answers([1, 2, 3]), step=None, scores=False)
