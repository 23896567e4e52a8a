"""Staged unfreezing and graded learning rates."""

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.transfer.stages import (
    Stage,
    cosine,
    graded_optimizer,
    layers_with_weights,
    rates_of,
    stages_of,
    unfreeze,
)

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.fixture
def backbone(small_keras):
    return keras.models.clone_model(small_keras)


def test_stages_share_the_epochs_and_the_last_takes_what_is_left():
    assert stages_of((0.35, 1.0), 5) == (Stage(0.35, 0, 2), Stage(1.0, 2, 5))
    assert stages_of((1.0,), 3) == (Stage(1.0, 0, 3),)


@pytest.mark.parametrize(("shares", "epochs"), [((), 3), ((1.2,), 3), ((-0.1,), 3), ((0.5, 1.0), 1)])
def test_stages_that_cannot_be_are_refused(shares, epochs):
    with pytest.raises(RecipeError, match=r"expected"):
        stages_of(shares, epochs)


def test_the_top_share_learns_and_batch_norms_stay_as_they_are(backbone):
    unfreeze(backbone, 0.5, batch_norm=False)
    layers = layers_with_weights(backbone)
    learning = [layer.name for layer in layers if layer.trainable]
    assert learning == ["project", "last"]
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers if layer.trainable)


def test_batch_norms_learn_when_they_are_asked_to(backbone):
    unfreeze(backbone, 1.0, batch_norm=True)
    assert all(layer.trainable for layer in layers_with_weights(backbone))


def test_running_statistics_that_learn_have_followed_after_a_hundred_steps(backbone):
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.999
    unfreeze(backbone, 1.0, batch_norm=False)
    assert {layer.momentum for layer in norms} == {0.999}
    unfreeze(backbone, 1.0, batch_norm=True)
    pixels = np.random.default_rng(0).normal(3.0, 2.0, (16, 32, 32, 3)).astype(np.float32)
    for _ in range(100):
        backbone(pixels, training=True)
    learning, resting = (np.asarray(backbone(pixels, training=flag)) for flag in (True, False))
    assert np.abs(learning - resting).max() < 0.1 * np.abs(learning).max()


def test_a_share_of_nothing_freezes_all(backbone):
    unfreeze(backbone, 0.0, batch_norm=True)
    assert backbone.trainable_variables == []


def test_lower_layers_have_lower_rates(backbone):
    rates = rates_of(backbone, 0.1)
    stem, last = backbone.get_layer("stem").kernel.path, backbone.get_layer("last").kernel.path
    assert rates[stem] == pytest.approx(0.1)
    assert rates[last] == 1.0
    assert list(rates.values()) == sorted(rates.values())


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_the_optimizer_moves_each_weight_as_far_as_its_rate_says(name):
    fast, slow = (
        keras.Variable(np.zeros(3, "float32"), name="fast"),
        keras.Variable(np.zeros(3, "float32"), name="slow"),
    )
    optimizer = graded_optimizer(name, {slow.path: 0.25}, [fast, slow])
    optimizer.learning_rate = 0.5
    gradient = keras.ops.ones(3)
    optimizer.apply([gradient, gradient])
    np.testing.assert_allclose(np.asarray(slow), 0.25 * np.asarray(fast), rtol=1e-6)
    assert np.all(np.asarray(fast) < 0)


def test_an_optimizer_that_keras_does_not_have_is_refused():
    with pytest.raises(RecipeError, match="adamm"):
        graded_optimizer("adamm", {}, [])


def test_the_rate_rises_then_falls_to_nothing():
    found = [cosine(step, 20, warm_up=4) for step in range(20)]
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[-1] < 0.02
