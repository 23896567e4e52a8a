"""Several heads as one."""

import numpy as np
import pytest

from edgetransfer.spec.dense import Dense, apply_head

pytest.importorskip("keras", reason="training needs the extra 'train'")

from edgetransfer.models.heads._candidates import Candidate
from edgetransfer.train.ensemble import averaged
from edgetransfer.train.fit import HeadOptions, fit
from edgetransfer.train.search import Trained, better_of


def linear(seed, outputs=3):
    rng = np.random.default_rng(seed)
    return (Dense(rng.normal(size=(8, outputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32)),)


def with_hidden(seed, hidden):
    rng = np.random.default_rng(seed)
    kernel, bias = rng.normal(size=(8, hidden)).astype(np.float32), rng.normal(size=hidden).astype(np.float32)
    last = Dense(rng.normal(size=(hidden, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    return (Dense(kernel, bias, "relu"), last)


@pytest.mark.parametrize(
    "heads",
    [[linear(0)], [linear(0), linear(1), linear(2)], [with_hidden(0, 5), with_hidden(1, 9)]],
    ids=["one", "linear", "hidden layers of two sizes"],
)
def test_the_logits_are_the_mean_of_theirs(heads):
    features = np.random.default_rng(9).normal(size=(40, 8)).astype(np.float32)
    wanted = np.mean([apply_head(head, features) for head in heads], axis=0)
    found = averaged(heads)
    assert len(found) == len(heads[0])
    np.testing.assert_allclose(apply_head(found, features), wanted, rtol=1e-4, atol=1e-5)


def test_heads_of_two_kinds_are_not_averaged():
    with pytest.raises(ValueError, match="heads of one kind"):
        averaged([linear(0), with_hidden(1, 4)])


class Goal:
    """Two labels, right answers known."""

    outputs, measure, larger_is_better = 2, "val_accuracy", True

    def __init__(self, labels):
        self._labels = labels

    def judge(self, logits):
        return float((logits.argmax(axis=1) == self._labels).mean()), float(-logits[:, 0].mean())


def candidates(goal, features, *kernels):
    heads = [(Dense(np.array(kernel, np.float32), np.zeros(2, np.float32)),) for kernel in kernels]
    found = [
        Trained(Candidate(0, 0.3, 1e-3), head, *goal.judge(apply_head(head, features)), "val_accuracy", True)
        for head in heads
    ]
    return max(found, key=lambda one: one.rank), found


def test_the_mean_is_taken_where_validation_gains_by_it():
    features, goal = np.eye(2, dtype=np.float32), Goal(np.array([0, 1]))
    # Each is right on one of the two, and sure of it; of the other it is unsure.
    best, found = candidates(goal, features, [[4, 0], [1, 0]], [[0, 1], [0, 4]])
    mean = better_of(best, found, goal, features)
    assert (best.value, mean.value, mean.heads) == (0.5, 1.0, 2)
    assert (mean.row()["heads"], "heads" in best.row()) == (2, False)
    np.testing.assert_allclose(mean.head[0].kernel, [[2, 0.5], [0.5, 2]])


def test_the_best_candidate_stays_where_the_mean_is_worse():
    features, goal = np.eye(2, dtype=np.float32), Goal(np.array([0, 1]))
    best, found = candidates(goal, features, [[1, 0], [0, 1]], [[0, 4], [4, 0]])
    assert better_of(best, found, goal, features) is best


def test_a_head_is_trained_as_an_ensemble():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(4, 16))
    labels = rng.integers(0, 4, 240)
    features = (centres[labels] + rng.normal(scale=2.0, size=(240, 16))).astype(np.float32)
    train, val = (features[:160], labels[:160]), (features[160:], labels[160:])
    plain = fit(train, val, 4, HeadOptions(epochs=8))
    found = fit(train, val, 4, HeadOptions(epochs=8, ensemble=True))
    assert found.chosen.get("heads", 1) in (1, 4)
    assert found.chosen["val_accuracy"] >= plain.chosen["val_accuracy"]
