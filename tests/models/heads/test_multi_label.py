from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.models.heads import multi_label

LOGITS = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
TARGETS = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], np.float32)


def test_the_loss_is_every_labels_cross_entropy_summed_over_labels_and_candidates():
    got = np.asarray(multi_label.summed_loss(np.array([1, 1, 1, 3], np.float32))(TARGETS, LOGITS))
    wanted = TARGETS[:, None]
    each = np.log1p(np.exp(LOGITS)) - wanted * LOGITS
    weights = np.where(wanted == 1, np.array([1, 1, 1, 3]), 1)
    np.testing.assert_allclose(got, (each * weights).sum(axis=(1, 2)), rtol=1e-5)


def test_the_focal_loss_counts_sure_answers_less():
    plain, focal = (
        np.asarray(multi_label.summed_loss(np.ones(4, np.float32), name)(TARGETS, 5 * (2 * TARGETS[:, None] - 1)))
        for name in multi_label.LOSSES
    )
    assert (focal < 0.1 * plain).all()


def test_a_loss_for_one_label_is_refused():
    with pytest.raises(RecipeError, match="it fits single_label"):
        multi_label.summed_loss(np.ones(4, np.float32), "categorical_crossentropy")
