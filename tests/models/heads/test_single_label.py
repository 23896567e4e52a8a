from __future__ import annotations

import keras
import numpy as np
import pytest

from edgetransfer.models.heads import single_label
from edgetransfer.spec.dense import Dense, apply_head


def test_the_keras_head_computes_what_the_plain_layers_compute():
    rng = np.random.default_rng(0)
    shapes = ((5, 6, "relu"), (6, 4, "linear"))
    head = tuple(
        Dense(rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32), activation)
        for a, b, activation in shapes
    )
    features = rng.normal(size=(7, 5)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(single_label.keras_head(head)(features)), apply_head(head, features), atol=1e-5
    )


def test_the_loss_is_the_weighted_smoothed_cross_entropy_summed_over_candidates():
    logits = np.random.default_rng(2).normal(size=(2, 3, 4)).astype(np.float32)
    labels, weights = np.array([1, 3]), np.array([1, 2, 3, 4], np.float32)
    got = np.asarray(single_label.summed_cross_entropy(0.2, weights)(labels, logits))
    log_scores = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = np.full((2, 4), 0.05)
    wanted[[0, 1], labels] += 0.8
    by_hand = -(wanted[:, None] * log_scores).sum(axis=-1).sum(axis=-1) * weights[labels]
    np.testing.assert_allclose(got, by_hand, rtol=1e-5)


@pytest.mark.parametrize("name", single_label.LOSSES)
def test_every_loss_that_fits_judges_candidates_as_keras_judges_each_alone(name):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(5, 2, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    got = np.asarray(single_label.summed_cross_entropy(0.0, np.ones(3, np.float32), name)(labels, logits))
    scores = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    alone = [np.asarray(keras.losses.get(name)(np.eye(3, dtype=np.float32)[labels], scores[:, k])) for k in (0, 1)]
    np.testing.assert_allclose(got, alone[0] + alone[1], rtol=1e-4)
