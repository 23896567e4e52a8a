"""Labels that were changed are found, and so is what is like no other; on features whose truth is known."""

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.transfer.label_errors import check_labels, find_outliers


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits, 0 to 3: (n, 64) pixels as features, and their labels."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come with the extra 'demo'")
    found = datasets.load_digits(n_class=4)
    return found.data.astype(np.float32), found.target.astype(np.int64)


def test_labels_that_were_changed_are_found_with_the_right_ones_suggested(digits):
    features, truth = digits
    rng = np.random.default_rng(0)
    changed = rng.choice(len(truth), 40, replace=False)
    labels = truth.copy()
    labels[changed] = (truth[changed] + rng.integers(1, 4, 40)) % 4
    found = check_labels(features, labels, 4)
    wrong = labels != truth
    assert (found.suspected & wrong).sum() >= 30  # the rule is careful: a class must be as sure as it is on average
    assert (found.suspected & ~wrong).sum() <= 3
    both = found.suspected & wrong
    np.testing.assert_array_equal(found.suggested[both], truth[both])
    assert (found.margin[found.suspected] > 0).all()
    assert (found.margin[~found.suspected] == 0).all()


def test_the_counting_rule_is_that_of_the_paper(digits):
    features, labels = digits
    labels = labels.copy()
    labels[:30] = 3 - labels[:30]
    found = check_labels(features, labels, 4)
    np.testing.assert_allclose(found.scores.sum(axis=1), 1, rtol=1e-9)
    least = [np.mean([row[k] for row, label in zip(found.scores, labels, strict=True) if label == k]) for k in range(4)]
    for row, label, suggested in zip(found.scores, labels, found.suggested, strict=True):
        believed = [k for k in range(4) if row[k] >= least[k]]
        assert suggested == (max(believed, key=lambda k: row[k]) if believed else label)


def test_clean_labels_are_left_alone(digits):
    assert check_labels(*digits, 4).suspected.mean() < 0.01


def test_a_label_with_a_single_example_is_refused(digits):
    features, labels = digits
    with pytest.raises(DataError, match="label number 4: expected at least 2 examples"):
        check_labels(features, np.where(np.arange(len(labels)) == 0, 4, labels), 5)


def test_what_is_like_no_other_is_an_outlier(digits):
    features, _ = digits
    noise = np.random.default_rng(1).uniform(0, 16, (3, 64)).astype(np.float32)
    odd, distances = find_outliers(np.concatenate([features, noise]))
    assert odd[-3:].all()
    assert odd[:-3].mean() < 0.03
    assert distances[-3:].min() > np.median(distances)
