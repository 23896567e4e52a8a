from __future__ import annotations

import numpy as np

from edgetransfer.models.heads import ordinal
from edgetransfer.runtime.decoders.ordinal import to_scores
from edgetransfer.spec.task import Task


def test_the_loss_is_minus_the_logarithm_of_the_true_labels_score():
    logits = np.random.default_rng(0).normal(size=(6, 2, 3)).astype(np.float32)
    ranks, weights = np.array([0, 1, 2, 3, 3, 0]), np.array([1, 2, 3, 4], np.float32)
    got = np.asarray(ordinal.summed_loss(weights)(ranks, logits))
    scores = to_scores(logits, Task("ordinal", ("a", "b", "c", "d")))
    by_hand = -np.log(scores[np.arange(6), :, ranks]).sum(axis=1) * weights[ranks]
    np.testing.assert_allclose(got, by_hand, rtol=1e-5)


def test_steps_above_the_true_label_are_not_asked():
    logits = np.zeros((1, 1, 3), np.float32)
    changed = logits.copy()
    changed[..., 1:] = 7.0
    loss = ordinal.summed_loss(np.ones(4, np.float32))
    assert float(np.asarray(loss(np.array([0]), logits))[0]) == float(np.asarray(loss(np.array([0]), changed))[0])
