from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.models.heads import single_label
from edgetransfer.models.heads.single_label import Candidate
from edgetransfer.spec.dense import apply_head

CANDIDATES = [Candidate(0, 0.0, 1e-3), Candidate(0, 0.0, 1e-2), Candidate(6, 0.3, 1e-3)]


@pytest.fixture(scope="module")
def model():
    return single_label.build_candidates(5, 4, CANDIDATES, seed=1)


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def test_one_model_gives_the_logits_of_every_candidate(model, features):
    assert model(features).shape == (7, 3, 4)


@pytest.mark.parametrize(("place", "row"), [((0, 0), 0), ((0, 1), 1), ((1, 0), 2)])
def test_a_candidate_taken_out_computes_what_it_computed_among_the_others(place, row, model, features):
    head = single_label.candidate_head(single_label.named_weights(model), place)
    np.testing.assert_allclose(apply_head(head, features), np.asarray(model(features))[:, row], atol=1e-5)


def test_the_keras_head_computes_what_the_plain_layers_compute(model, features):
    head = single_label.candidate_head(single_label.named_weights(model), (1, 0))
    np.testing.assert_allclose(
        np.asarray(single_label.keras_head(head)(features)), apply_head(head, features), atol=1e-5
    )


def test_all_candidates_of_a_group_start_alike(model):
    kernel = single_label.named_weights(model)["logits_0/kernel"]
    assert np.array_equal(kernel[:, 0], kernel[:, 1])


def test_the_loss_is_the_weighted_smoothed_cross_entropy_summed_over_candidates():
    logits = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(np.float32)
    labels, weights = np.array([1, 3]), np.array([1, 2, 3, 4], np.float32)
    got = np.asarray(single_label.summed_cross_entropy(0.2, weights)(labels, logits))
    log_scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = np.full((2, 4), 0.05)
    wanted[[0, 1], labels] += 0.8
    by_hand = -(wanted[:, None] * log_scores).sum(axis=-1).sum(axis=-1) * weights[labels]
    np.testing.assert_allclose(got, by_hand, rtol=1e-5)


def test_the_penalty_weighs_each_candidate_by_its_own_factor():
    kernel = np.ones((2, 3, 5), np.float32)
    assert float(single_label.CandidateDecay([0.0, 1.0, 0.5])(kernel)) == pytest.approx(15.0)
