from __future__ import annotations

import numpy as np

from edgetransfer.models.pooling import attention_parts, build_attention


def answers(model, windows, present=None):
    present = np.ones(windows.shape[:2], np.float32) if present is None else present
    return np.asarray(model({"windows": windows, "present": present}))[:, 0]


def test_attention_begins_as_the_mean():
    model = build_attention(3, 4, 2, dropout=0.0, decay=0.0, seed=0)
    windows = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    pool, head = attention_parts(model)
    np.testing.assert_allclose(pool.apply(windows), windows.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(answers(model, windows), head.apply(windows.mean(axis=1)), atol=1e-5)


def test_windows_that_are_not_there_count_for_nothing():
    model = build_attention(3, 4, 2, dropout=0.0, decay=0.0, seed=0)
    model.get_layer("attention").set_weights([np.random.default_rng(2).normal(size=(4, 1))])
    windows = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    two = np.repeat([[1, 1, 0]], 5, axis=0).astype(np.float32)
    pool, head = attention_parts(model)
    np.testing.assert_allclose(answers(model, windows, two), head.apply(pool.apply(windows[:, :2])), atol=1e-5)


def test_the_plain_numbers_compute_what_keras_computes():
    model = build_attention(3, 4, 2, dropout=0.5, decay=1e-3, seed=0)
    rng = np.random.default_rng(1)
    model.get_layer("attention").set_weights([rng.normal(size=(4, 1))])
    windows = rng.normal(size=(5, 3, 4)).astype(np.float32)
    pool, head = attention_parts(model)
    np.testing.assert_allclose(answers(model, windows), head.apply(pool.apply(windows)), atol=1e-5)
