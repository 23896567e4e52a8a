"""Folded batch norms: fewer layers, the same outputs."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.models.backbones import efficientnet_lite0, mobilenet_v2
from edgetransfer.transfer.folding import fold_batch_norms

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")


def shaken(model, seed=0):
    """Return `model` with weights and statistics that no batch norm can hide."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            else:
                fan_in = 9 if "Depthwise" in type(layer).__name__ else max(1, int(np.prod(weight.shape[:-1])))
                weight.assign(rng.normal(0, 1 / np.sqrt(fan_in), weight.shape))
    return model


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def outputs(model, pixels):
    return np.asarray(model(pixels, training=False))


@pytest.mark.parametrize(
    "build", [lambda: mobilenet_v2.build(0.35, 32, 32), lambda: efficientnet_lite0.build(1.0, 32, 32)]
)
def test_our_backbones_fold_to_networks_without_batch_norms_that_compute_the_same(build):
    model = shaken(build())
    folded = fold_batch_norms(model)
    assert "BatchNormalization" not in kinds(folded)
    assert kinds(model).count("Conv2D") == kinds(folded).count("Conv2D")
    pixels = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    wanted = outputs(model, pixels)
    np.testing.assert_allclose(outputs(folded, pixels), wanted, atol=2e-6 * np.abs(wanted).max())


def test_the_model_that_was_given_stays_as_it_is(small_keras):
    before = [np.array(weight) for weight in small_keras.weights]
    folded = fold_batch_norms(small_keras)
    folded.get_layer("stem").kernel.assign(folded.get_layer("stem").kernel * 2)
    for weight, value in zip(small_keras.weights, before, strict=True):
        np.testing.assert_array_equal(np.array(weight), value)


def nested(name):
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.Conv2D(5, 1, name=name), keras.layers.BatchNormalization(name="norm")]
    )
    pixels = keras.Input((10, 10, 3))
    x = inner(keras.layers.Conv2D(4, 3, name="stem")(pixels))
    return shaken(keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool")(x)))


def test_models_inside_of_a_model_are_unfolded():
    model = nested("point")
    folded = fold_batch_norms(model)
    assert [layer.name for layer in folded.layers] == ["pixels", "stem", "point", "pool"]
    pixels = np.random.default_rng(1).uniform(-1, 1, (2, 10, 10, 3)).astype(np.float32)
    np.testing.assert_allclose(outputs(folded, pixels), outputs(model, pixels), rtol=1e-5, atol=1e-6)


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(BackboneError, match="cannot be unfolded"):
        fold_batch_norms(nested("stem"))


def test_a_batch_norm_that_cannot_be_folded_stays():
    pixels = keras.Input((10, 10, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(pixels)  # a batch norm behind an activation is not linear
    shared = keras.layers.Conv2D(4, 1)
    x = keras.layers.Add()([shared(keras.layers.BatchNormalization()(x)), keras.layers.BatchNormalization()(shared(x))])
    model = shaken(keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x)))
    folded = fold_batch_norms(model)
    assert kinds(folded).count("BatchNormalization") == 2
    values = np.random.default_rng(1).uniform(-1, 1, (2, 10, 10, 3)).astype(np.float32)
    np.testing.assert_allclose(outputs(folded, values), outputs(model, values), rtol=1e-5, atol=1e-6)
