from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.models.heads import _candidates
from edgetransfer.models.heads._candidates import Candidate
from edgetransfer.spec.dense import apply_head

CANDIDATES = [Candidate(0, 0.0, 1e-3), Candidate(0, 0.0, 1e-2), Candidate(6, 0.3, 1e-3)]


@pytest.fixture(scope="module")
def model():
    return _candidates.build_candidates(5, 4, CANDIDATES, seed=1)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def test_one_model_gives_the_logits_of_every_candidate(model, features):
    assert model(features).shape == (7, 3, 4)


@pytest.mark.parametrize(("place", "row"), [((0, 0), 0), ((0, 1), 1), ((1, 0), 2)])
def test_a_candidate_taken_out_computes_what_it_computed_among_the_others(place, row, model, features):
    head = _candidates.candidate_head(_candidates.named_weights(model), place)
    np.testing.assert_allclose(apply_head(head, features), np.asarray(model(features))[:, row], atol=1e-5)


def test_all_candidates_of_a_group_start_alike(model):
    kernel = _candidates.named_weights(model)["logits_0/kernel"]
    assert np.array_equal(kernel[:, 0], kernel[:, 1])


def test_the_penalty_weighs_each_candidate_by_its_own_factor():
    kernel = np.ones((2, 3, 5), np.float32)
    assert float(_candidates.CandidateDecay([0.0, 1.0, 0.5])(kernel)) == pytest.approx(15.0)
