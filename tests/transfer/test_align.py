"""Source features moved to a target domain, and source examples weighted by how much they look like it."""

from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.transfer.align import MOST_WEIGHT, coral, importance_weights


@pytest.fixture(scope="module")
def domains(pictures):
    """Patches of photographs as they are, and others darker, noisier and blurred: 8 x 8 pixels, (n, 192) each."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(pictures))
    small = pictures.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4)) / 255
    source, target = small[order[:36]], small[order[36:]]
    blurred = (target + np.roll(target, 1, axis=1) + np.roll(target, 1, axis=2)) / 3
    target = 0.5 * blurred + rng.normal(0, 0.05, blurred.shape)
    labels = np.repeat(np.arange(3), 20)
    return source.reshape(36, -1), target.reshape(24, -1), labels[order[:36]], labels[order[36:]]


def class_means(features, labels):
    return np.stack([features[labels == number].mean(axis=0) for number in range(3)])


def test_means_covariances_and_class_means_come_nearer(domains):
    source, target, source_labels, target_labels = domains
    moved = coral(source, target, regularisation=0.01).apply(source)

    def apart(features):
        means = np.linalg.norm(features.mean(axis=0) - target.mean(axis=0))
        covariances = np.linalg.norm(np.cov(features, rowvar=False) - np.cov(target, rowvar=False))
        classes = np.linalg.norm(class_means(features, source_labels) - class_means(target, target_labels))
        return np.array([means, covariances, classes])

    before, after = apart(source), apart(moved)
    assert after[0] < 1e-5 * before[0]
    assert after[1] < 0.5 * before[1]
    assert after[2] < 0.6 * before[2]


def test_without_regularisation_to_speak_of_the_covariance_is_the_targets():
    rng = np.random.default_rng(1)
    source, target = rng.normal(0, 1, (500, 4)), rng.normal(3, 1, (400, 4)) @ rng.normal(0, 1, (4, 4))
    moved = coral(source, target, regularisation=1e-9).apply(source)
    np.testing.assert_allclose(np.cov(moved, rowvar=False), np.cov(target, rowvar=False), rtol=1e-4, atol=1e-4)


def test_a_domain_is_moved_nowhere_by_itself(domains):
    source = domains[0]
    np.testing.assert_allclose(coral(source, source).apply(source), source, atol=1e-5)


def test_source_examples_that_look_like_the_target_count_more():
    rng = np.random.default_rng(2)
    like = rng.random(90) < 0.3
    source = (rng.normal(0, 1, (90, 6)) + 1.5 * like[:, None]).astype(np.float32)
    target = (rng.normal(0, 1, (60, 6)) + 1.5).astype(np.float32)
    found = importance_weights(source, target)
    assert found.weights[like].mean() > 3 * found.weights[~like].mean()
    assert found.weights.mean() == pytest.approx(1, abs=1e-5)
    assert found.weights.min() >= 0
    assert found.effective == pytest.approx(found.weights.sum() ** 2 / (found.weights**2).sum(), rel=1e-4)
    assert found.effective < 0.7 * len(source)
    assert 0.7 < found.told_apart < 0.9


def test_darker_photographs_count_more_where_the_target_is_dark(pictures):
    rng = np.random.default_rng(4)
    small = (pictures.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)) / 255).reshape(len(pictures), -1)
    dark = np.arange(60) % 3 == 0
    source = (small * np.where(dark, 0.6, 1.0)[:, None]).astype(np.float32)
    target = (small[rng.permutation(60)] * 0.6 + rng.normal(0, 0.01, small.shape)).astype(np.float32)
    weights = importance_weights(source, target).weights
    assert weights[dark].mean() > 1.5 * weights[~dark].mean()


def test_domains_that_are_one_leave_the_weights_alike():
    rng = np.random.default_rng(3)
    found = importance_weights(*(rng.normal(0, 1, (90, 4)).astype(np.float32) for _ in range(2)))
    assert found.effective > 75
    assert 0.3 < found.told_apart < 0.7


def test_no_example_counts_more_than_so_many():
    rng = np.random.default_rng(5)
    source = np.concatenate([rng.normal(0, 1, (96, 3)), rng.normal(4, 0.3, (2, 3))]).astype(np.float32)
    target = rng.normal(4, 1, (60, 3)).astype(np.float32)
    free, capped = (importance_weights(source, target, most=most) for most in (1e9, MOST_WEIGHT))
    assert free.weights.max() > 1.5 * MOST_WEIGHT
    assert capped.weights.max() == pytest.approx(MOST_WEIGHT, rel=1e-5)
    assert capped.weights.mean() == pytest.approx(1, abs=1e-5)
    assert capped.effective > free.effective


def test_equal_domains_and_seeds_give_equal_weights():
    rng = np.random.default_rng(6)
    source, target = (rng.normal(mean, 1, (50, 3)).astype(np.float32) for mean in (0, 1))
    one, two = (importance_weights(source, target, seed=1).weights for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [((6, 3), (6, 4), "expected features"), ((6, 3), (4, 3), "target domain: expected at least 5 examples, got 4")],
)
def test_domains_that_cannot_be_compared_are_refused(source, target, told):
    with pytest.raises(DataError, match=told):
        importance_weights(np.ones(source, np.float32), np.ones(target, np.float32))


def test_a_domain_of_one_example_has_no_covariance():
    with pytest.raises(DataError, match="source domain: expected at least 2 examples, got 1"):
        coral(np.ones((1, 3), np.float32), np.ones((5, 3), np.float32))
