from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.pooling import fit_pooling, pool_windows
from edgetransfer.train.search import HeadOptions

OPTIONS = HeadOptions(hidden=(0,), dropouts=(0.0,), weight_decays=(1e-4, 1e-3), epochs=40, label_smoothing=0.0)


def bags(n, seed, *, marked):
    """Eight windows, one of which tells the class; `marked` shows which by another feature, else all tell it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    windows = rng.normal(size=(n, 8, 6))
    if marked:
        at = rng.integers(0, 8, n)
        windows[..., 0] = rng.choice([-1.5, 1.5], size=(n, 8))  # what the other windows say means nothing
        windows[np.arange(n), at, 0] = 1.5 * (2 * labels - 1)
        windows[np.arange(n), at, 1] += 5
    else:
        windows[..., 0] += 0.4 * (2 * labels - 1)[:, None]
    return (windows + 3).astype(np.float32), labels


@pytest.mark.slow
def test_attention_is_taken_where_one_window_tells_and_the_head_behind_it_answers():
    result = fit_pooling("single_label", bags(500, 0, marked=True), bags(200, 1, marked=True), ("a", "b"), OPTIONS)
    assert result.pool is not None
    assert result.gain > result.gain_error > 0
    windows, labels = bags(400, 2, marked=True)
    right = apply_head(result.fit.head, result.pool.apply(windows)).argmax(axis=1) == labels
    assert right.mean() > 0.85
    assert right.mean() > result.rows["mean"]["val_accuracy"] + 0.1
    assert result.fit.chosen == result.rows["attention"]
    told = result.pool.attention(windows).argmax(axis=1) == windows[..., 1].argmax(axis=1)
    assert told.mean() > 0.9


@pytest.mark.slow
def test_the_mean_stays_where_all_windows_tell_alike():
    result = fit_pooling("single_label", bags(300, 0, marked=False), bags(150, 1, marked=False), ("a", "b"), OPTIONS)
    assert result.pool is None
    assert result.fit.chosen == result.rows["mean"]
    windows, labels = bags(300, 2, marked=False)
    assert (apply_head(result.fit.head, windows.mean(axis=1)).argmax(axis=1) == labels).mean() > 0.8


@pytest.mark.slow
def test_a_quantity_is_pooled_too():
    def split(n, seed):
        windows, _ = bags(n, seed, marked=True)
        told = windows[np.arange(n), windows[..., 1].argmax(axis=1)]
        return windows, 10.0 + told[:, 2]

    result = fit_pooling("regression", split(500, 0), split(200, 1), ("size",), OPTIONS, unit="cm")
    assert result.pool is not None
    assert result.fit.task.unit == "cm"
    errors = [result.rows[name]["val_mean_absolute_error"] for name in ("mean", "attention")]
    assert errors[0] - errors[1] == pytest.approx(result.gain, rel=1e-4)


def test_windows_that_are_not_there_are_left_out_of_the_mean_and_of_attention():
    windows = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    short = windows.copy()
    short[1, 1:] = np.nan
    pool = AttentionPool(np.array([1, 0, 0, 0], np.float32))
    np.testing.assert_array_equal(pool_windows(short, None)[1], windows[1, 0])
    np.testing.assert_allclose(pool_windows(short, None)[0], windows[0].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(pool_windows(short, pool)[1], windows[1, 0], atol=1e-6)
    np.testing.assert_array_equal(pool_windows(short, pool)[0], pool.apply(windows[0]))


def test_features_without_windows_are_refused():
    flat = np.zeros((4, 6), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(DataError, match=r"expected features \(n, windows, D\)"):
        fit_pooling("single_label", flat, flat, ("a", "b"), OPTIONS)
