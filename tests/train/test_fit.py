from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.fit import HeadOptions, fit

CLASSES = 3


def table(n, seed=0, features=20, spread=1.0):
    """Features of three overlapping classes that no plane divides: class 2 lies around the other two."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    real = rng.normal(0, spread, (n, features))
    real[:, :3] += np.where(labels == 2, 2 * rng.choice([-1, 1], n), np.where(labels == 1, 0.7, -0.7))[:, None]
    return np.maximum(real + 5, 0).astype(np.float32), labels.astype(np.int64)


def accuracy(head, data):
    return (apply_head(head, data[0]).argmax(axis=1) == data[1]).mean()


def test_the_head_learns_what_can_be_learned():
    result = fit(table(600), table(200, 1), CLASSES, HeadOptions())
    assert accuracy(result.head, table(1000, 2)) > 0.7


def test_the_chosen_candidate_is_the_best_on_validation():
    result = fit(table(300), table(100, 1), CLASSES, HeadOptions())
    assert result.chosen["val_accuracy"] == max(row["val_accuracy"] for row in result.candidates)
    assert len(result.candidates) == 2 * 2 * 2
    assert accuracy(result.head, table(100, 1)) == pytest.approx(result.chosen["val_accuracy"], abs=0.011)


def test_the_same_seed_gives_the_same_head_and_another_seed_another():
    once, again = (fit(table(200), table(60, 1), CLASSES, HeadOptions(hidden=(8,), epochs=5)) for _ in range(2))
    assert all(np.array_equal(a.kernel, b.kernel) for a, b in zip(once.head, again.head, strict=True))
    other = fit(table(200), table(60, 1), CLASSES, HeadOptions(hidden=(8,), epochs=5, seed=1))
    assert not np.array_equal(once.head[0].kernel, other.head[0].kernel)


def test_candidates_do_not_influence_each_other():
    alone = fit(
        table(200), table(60, 1), CLASSES, HeadOptions(hidden=(8,), dropouts=(0.0,), weight_decays=(1e-3,), epochs=5)
    )
    together = fit(
        table(200),
        table(60, 1),
        CLASSES,
        HeadOptions(hidden=(8,), dropouts=(0.0,), weight_decays=(1e-3, 1.0), epochs=5),
    )
    assert together.candidates[0]["val_loss"] == pytest.approx(alone.candidates[0]["val_loss"], rel=1e-3)
    assert together.candidates[1]["val_loss"] != together.candidates[0]["val_loss"]


def test_examples_that_count_more_are_the_ones_that_are_learned():
    features, labels = table(200)
    others = (labels + 1) % CLASSES
    both = (np.concatenate([features, features]), np.concatenate([labels, others]))
    options = HeadOptions(hidden=(8,), dropouts=(0.0,), weight_decays=(1e-4,))
    weights = np.repeat(np.array([0.2, 1.8], np.float32), len(labels))
    head = fit(both, (features, others), CLASSES, options, weights=weights).head
    assert accuracy(head, (features, others)) > accuracy(head, (features, labels)) + 0.3


def test_stronger_decay_gives_smaller_weights():
    options = {"hidden": (0,), "dropouts": (0.0,), "epochs": 20}
    weak = fit(table(200), table(60, 1), CLASSES, HeadOptions(weight_decays=(1e-5,), **options))
    strong = fit(table(200), table(60, 1), CLASSES, HeadOptions(weight_decays=(0.5,), **options))
    assert np.abs(strong.head[0].kernel).sum() < 0.5 * np.abs(weak.head[0].kernel).sum()


def test_balancing_helps_a_rare_class():
    features, labels = table(900)
    keep = (labels != 1) | (np.arange(900) % 15 == 0)
    rare = features[keep], labels[keep]
    recalls = []
    for balance in (False, True):
        head = fit(rare, table(200, 1), CLASSES, HeadOptions(balance=balance, hidden=(0,))).head
        test = table(1500, 2)
        recalls.append((apply_head(head, test[0]).argmax(axis=1) == 1)[test[1] == 1].mean())
    assert recalls[1] > recalls[0] + 0.1


def test_training_stops_early_and_says_that_it_is_done():
    seen = []
    fit(
        table(60),
        table(30, 1),
        CLASSES,
        HeadOptions(hidden=(0,), epochs=400, patience=2),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(seen) < 400
    assert seen[-1] == (400, 400)


def test_a_label_without_training_examples_is_refused():
    features, labels = table(60)
    with pytest.raises(DataError, match="label number 1 has no training example"):
        fit((features[labels != 1], labels[labels != 1]), table(30, 1), CLASSES, HeadOptions())


def test_constant_features_are_no_division_by_zero():
    flat = np.ones((30, 5), np.float32), np.arange(30) % 3
    result = fit(flat, flat, CLASSES, HeadOptions(epochs=2))
    assert all(np.isfinite(layer.kernel).all() for layer in result.head)
