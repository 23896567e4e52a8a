"""How alike two networks see: figures that are known beforehand."""

import numpy as np
import pytest

from edgetransfer.transfer.agreement import agreement, linear_cka, mean_cosine, read_out

RNG = np.random.default_rng(4)
CLASSES = np.arange(60) % 3
FEATURES = (RNG.normal(size=(3, 8))[CLASSES] * 3 + RNG.normal(size=(60, 8))).astype(np.float32)


def test_cka_does_not_see_rotation_scale_and_offset():
    turned, _ = np.linalg.qr(RNG.normal(size=(8, 8)))
    assert linear_cka(FEATURES, FEATURES @ turned * 5 + 2) == pytest.approx(1)
    assert linear_cka(FEATURES, RNG.normal(size=(60, 8))) < 0.3
    assert linear_cka(FEATURES, np.ones((60, 5))) == 0


def test_cka_is_that_of_its_definition_by_features():
    other = RNG.normal(size=(60, 5)) + FEATURES[:, :5]
    x, y = FEATURES - FEATURES.mean(axis=0), other - other.mean(axis=0)
    defined = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(FEATURES, other) == pytest.approx(defined, rel=1e-5)


def test_cosine_is_that_of_each_image():
    one, other = np.array([[1.0, 0], [0, 2], [0, 0]]), np.array([[3.0, 0], [2, 0], [1, 1]])
    assert mean_cosine(one, other) == pytest.approx((1 + 0 + 0) / 3)


def test_a_read_out_tells_classes_that_are_there_and_no_others():
    assert (read_out(FEATURES, CLASSES) == CLASSES).mean() > 0.9
    shuffled = RNG.permutation(CLASSES)
    assert (read_out(FEATURES, shuffled) == shuffled).mean() < 0.6
    assert read_out(np.ones((60, 4)), CLASSES).shape == (60,)


def test_equal_features_agree_and_others_do_not():
    same = agreement(FEATURES, FEATURES.copy(), CLASSES)
    assert (same.read_out, same.relative_difference, same.images) == (1, 0, 60)
    assert same.cosine == pytest.approx(1)
    noise = agreement(FEATURES, RNG.normal(size=(60, 8)).astype(np.float32), CLASSES)
    assert noise.read_out < 0.7
    assert noise.to_json()["linear_cka"] < 0.4


def test_features_of_other_widths_have_no_cosine():
    found = agreement(FEATURES, FEATURES[:, :6], CLASSES)
    assert found.cosine is None
    assert found.relative_difference is None
    assert found.read_out > 0.8
