from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import BundleError
from edgetransfer.spec.attention import AttentionPool

WINDOWS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32)


def test_a_scoring_vector_of_zeros_is_the_mean():
    np.testing.assert_allclose(AttentionPool(np.zeros(2, np.float32)).apply(WINDOWS), WINDOWS.mean(axis=0))


def test_windows_count_by_the_softmax_of_their_scores():
    pool = AttentionPool(np.array([np.log(2), np.log(5)], np.float32))
    np.testing.assert_allclose(pool.attention(WINDOWS), [2 / 8, 5 / 8, 1 / 8], rtol=1e-6)
    np.testing.assert_allclose(pool.apply(WINDOWS), [2 / 8, 5 / 8], rtol=1e-6)


def test_any_number_of_windows_is_pooled_and_huge_scores_overflow_nothing():
    pool = AttentionPool(np.array([1e4, 0.0], np.float32))
    np.testing.assert_array_equal(pool.apply(WINDOWS), [1.0, 0.0])
    np.testing.assert_array_equal(pool.apply(WINDOWS[:1]), WINDOWS[0])
    assert pool.apply(np.stack([WINDOWS, WINDOWS])).shape == (2, 2)


@pytest.mark.parametrize("weights", [np.zeros((2, 2)), np.zeros(0), np.array([np.nan, 1.0])])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(BundleError, match="expected finite weights"):
        AttentionPool(weights.astype(np.float32))


@pytest.mark.parametrize("shape", [(2,), (3, 4), (0, 2)])
def test_windows_of_another_size_are_refused(shape):
    with pytest.raises(BundleError, match=r"expected windows \(W, 2\)"):
        AttentionPool(np.zeros(2, np.float32)).apply(np.zeros(shape, np.float32))
