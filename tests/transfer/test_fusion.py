"""Weights of several models put together."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.fusion import averaged, check_alike, interpolated, re_estimate, weights_of

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")


def test_the_ends_of_the_line_are_the_two_models():
    source, tuned = [np.float32([1, 2])], [np.float32([3, 6])]
    np.testing.assert_array_equal(interpolated(source, tuned, 0.0)[0], source[0])
    np.testing.assert_array_equal(interpolated(source, tuned, 1.0)[0], tuned[0])
    np.testing.assert_array_equal(interpolated(source, tuned, 0.5)[0], [2, 4])
    assert interpolated(source, tuned, 0.5)[0].dtype == np.float32


def test_whole_numbers_are_the_sources():
    seeds = [np.uint32([7])], [np.uint32([9])]
    assert interpolated(*seeds, 0.5)[0] == 7
    assert averaged([seeds[0], seeds[1]])[0] == 7


def test_several_runs_are_averaged():
    np.testing.assert_array_equal(averaged([[np.float32([1])], [np.float32([2])], [np.float32([6])]])[0], [3])


def test_models_of_different_shape_are_refused_by_the_weight_that_differs():
    def network(units):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="only")])

    check_alike([network(4), network(4)], ["one", "other"])
    with pytest.raises(BackboneError, match=r"other: .*only/kernel is \(3, 5\)"):
        check_alike([network(4), network(5)], ["one", "other"])
    deeper = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(4)])
    with pytest.raises(BackboneError, match="has 4 weights"):
        check_alike([network(4), deeper], ["one", "other"])


def test_statistics_become_those_of_the_images(small_keras, pictures):
    model = keras.models.clone_model(small_keras)
    model.set_weights(small_keras.get_weights())
    norm = model.get_layer("stem_norm")
    norm.trainable = False
    pixels = (pictures / 127.5 - 1).astype("float32")
    seen = keras.Model(model.input, model.get_layer("stem").output)(pixels)
    others = [weights_of(layer) for layer in (model.get_layer("stem"), model.get_layer("last"))]
    re_estimate(model, [pixels])
    np.testing.assert_allclose(np.asarray(norm.moving_mean), np.mean(seen, axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(norm.moving_variance), np.var(seen, axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    assert not norm.trainable
    for before, layer in zip(others, (model.get_layer("stem"), model.get_layer("last")), strict=True):
        np.testing.assert_array_equal(before[0], np.asarray(layer.kernel))


def test_statistics_over_several_batches_are_the_mean_of_each_batchs(small_keras, pictures):
    model = keras.models.clone_model(small_keras)
    model.set_weights(small_keras.get_weights())
    norm, pixels = model.get_layer("stem_norm"), (pictures / 127.5 - 1).astype("float32")
    batches = [pixels[:1], pixels[1:]]
    stem = keras.Model(model.input, model.get_layer("stem").output)
    means = [np.mean(stem(some), axis=(0, 1, 2)) for some in batches]
    momentum = norm.momentum
    re_estimate(model, batches)
    np.testing.assert_allclose(np.asarray(norm.moving_mean), np.mean(means, axis=0), rtol=1e-4, atol=1e-5)
    assert norm.momentum == momentum
