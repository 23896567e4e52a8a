from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import InputError
from edgetransfer.estimate.separation import auroc, compare_aurocs, recall_at

SCORES = st.lists(st.integers(-4, 4), min_size=2, max_size=15).map(lambda values: np.array(values, float))


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs_in_the_right_order(known, strange):
    pairs = np.sign(strange[:, None] - known[None])
    assert auroc(known, strange) == pytest.approx(((pairs + 1) / 2).mean())


def test_the_interval_of_a_difference_is_that_of_the_bootstrap():
    draw = np.random.default_rng(0)
    base = draw.normal(0, 1, 400), draw.normal(1, 1, 120)
    first = base[0] + draw.normal(0, 0.3, 400), base[1] + draw.normal(0, 0.3, 120)
    second = base[0] + draw.normal(0, 1, 400), base[1] + draw.normal(0, 1, 120)
    found = compare_aurocs(first, second)
    drawn = []
    for _ in range(1500):
        rows = draw.integers(0, 400, 400), draw.integers(0, 120, 120)
        drawn.append(auroc(first[0][rows[0]], first[1][rows[1]]) - auroc(second[0][rows[0]], second[1][rows[1]]))
    assert found.difference == pytest.approx(found.first - found.second)
    assert (found.first, found.second) == pytest.approx((auroc(*first), auroc(*second)))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.1)


def test_a_score_does_not_differ_from_itself():
    scores = np.arange(9.0), np.arange(4.0, 12.0)
    found = compare_aurocs(scores, scores)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(1)
    held = []
    for _ in range(400):
        known, strange = draw.normal(0, 1, (2, 60)), draw.normal(1, 1, (2, 40))
        found = compare_aurocs((known[0], strange[0]), (known[1], strange[1]))
        held.append(found.low <= 0 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_recall_rejects_no_more_of_the_known_than_allowed():
    known, strange = np.arange(100.0), np.array([93.0, 94, 95, 200])
    assert recall_at(known, strange, 0.05) == 0.5
    assert recall_at(known, strange, 0.001) == 0.25


def test_scores_that_are_equal_to_the_threshold_are_not_rejected():
    assert recall_at(np.ones(100), np.ones(10), 0.05) == 0


@given(SCORES, st.sampled_from([0.05, 0.1, 0.5]))
def test_of_the_known_themselves_at_most_the_rate_is_rejected(known, rate):
    assert recall_at(known, known, rate) <= rate


@pytest.mark.parametrize(
    ("known", "strange"),
    [
        (np.zeros(0), np.ones(2)),
        (np.ones(2), np.zeros(0)),
        (np.ones((2, 1)), np.ones(2)),
        (np.array([np.nan]), np.ones(2)),
    ],
)
def test_what_are_no_scores_is_refused(known, strange):
    with pytest.raises(InputError, match="scores"):
        auroc(known, strange)


def test_scores_of_other_samples_cannot_be_compared():
    with pytest.raises(InputError, match="the same samples"):
        compare_aurocs((np.ones(3), np.ones(3)), (np.ones(3), np.ones(4)))


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(InputError, match="false reject rate"):
        recall_at(np.ones(3), np.ones(3), rate)
