"""Layers of a slimmer network fitted to what the source's give."""

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer import reconstruction  # noqa: E402
from edgetransfer.transfer.keras_graph import KerasGraph  # noqa: E402
from edgetransfer.transfer.layerwise import LayerwiseRun  # noqa: E402
from edgetransfer.transfer.reconstruction import reconstruct  # noqa: E402
from edgetransfer.transfer.slim import slim_weights  # noqa: E402

layers = keras.layers
BATCHES = [np.random.default_rng(seed).normal(size=(24, 16, 16, 3)).astype(np.float32) for seed in (1, 2)]
UNSEEN = np.random.default_rng(3).normal(size=(8, 16, 16, 3)).astype(np.float32)


def bottleneck(width, *, last_activation=None):
    """Return a network whose blocks hand on `width` channels without an activation, as MobileNetV2's do."""
    x = pixels = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.ReLU(6)(layers.BatchNormalization(name="stem_norm")(x))
    x = layers.BatchNormalization(name="first_norm")(layers.Conv2D(width, 1, use_bias=False, name="first")(x))
    y = layers.BatchNormalization(name="expand_norm")(layers.Conv2D(24, 1, use_bias=False, name="expand")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(layers.ReLU(6)(y))
    y = layers.ReLU(6)(layers.BatchNormalization(name="depthwise_norm")(y))
    y = layers.BatchNormalization(name="project_norm")(layers.Conv2D(width, 1, use_bias=False, name="project")(y))
    x = layers.Add(name="sum")([x, y])
    x = layers.Conv2D(10, 1, activation=last_activation, name="last")(x)
    return keras.Model(pixels, layers.GlobalAveragePooling2D()(layers.ReLU(6)(x)))


@pytest.fixture(scope="module")
def source():
    """A network of 12 channels between its blocks that are mixes of 5."""
    model, rng = bottleneck(12), np.random.default_rng(5)
    mixes = rng.normal(size=(5, 12))
    for layer in model.layers:
        if layer.name in ("first", "project"):
            inside = layer.kernel.shape[2]
            layer.kernel.assign((rng.normal(0, 0.3, (inside, 5)) @ mixes)[None, None])
        elif layer.weights and "norm" not in layer.name:
            layer.kernel.assign(rng.normal(0, 0.3, layer.kernel.shape))
    return model


def cut(source, target):
    graphs = KerasGraph.of(source), KerasGraph.of(target)
    mapping = slim_weights(*graphs, ("source", "target"))
    mapping.apply(graphs[1].variables())
    return graphs, mapping.counterparts


def apart(one, other):
    first, second = np.asarray(one(UNSEEN)), np.asarray(other(UNSEEN))
    return np.abs(first - second).max() / np.abs(first).max()


def stream(model):
    return keras.Model(model.input, model.get_layer("sum").output)


def test_what_fewer_channels_can_hold_is_given_again(source):
    target = bottleneck(5)
    graphs, counterparts = cut(source, target)
    before = apart(source, target)
    told = []
    fitted = reconstruct(graphs, counterparts, BATCHES, progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 8) for number in range(1, 9)]  # two batches, six layers
    assert set(fitted) == {"stem", "first", "expand", "depthwise", "project", "last"}
    assert before > 0.2
    assert apart(source, target) < 0.02


def test_of_fewer_channels_than_that_the_main_directions_are_better_than_channels(source, monkeypatch):
    found = []
    for _ in ("main directions", "channels"):
        target = bottleneck(4)
        reconstruct(*cut(source, target), BATCHES)
        found.append(apart(source, target))
        monkeypatch.setattr(reconstruction, "_mixable", lambda graph, groups: set())
    assert found[0] < found[1]


def test_a_layer_that_is_not_fitted_gets_the_channels_it_had(source):
    given = bottleneck(12, last_activation="relu")
    given.set_weights(source.get_weights())
    target = bottleneck(5, last_activation="relu")
    graphs, counterparts = cut(given, target)
    kernel = np.array(target.get_layer("last").kernel)
    fitted = reconstruct(graphs, counterparts, BATCHES)
    assert "last" not in fitted
    np.testing.assert_array_equal(target.get_layer("last").kernel, kernel)
    wanted = np.asarray(stream(given)(UNSEEN))[..., counterparts["project"].channels]
    difference = np.abs(np.asarray(stream(target)(UNSEEN)) - wanted)
    assert difference.mean() < 0.15 * np.abs(wanted).mean()  # a mix would be as far off as the channels are large


def test_layers_without_a_counterpart_stay_as_they_are(source):
    target = bottleneck(5)
    graphs, counterparts = cut(source, target)
    before = target.get_layer("expand").get_weights() + target.get_layer("expand_norm").get_weights()
    some = {name: one for name, one in counterparts.items() if name != "expand"}
    assert "expand" not in reconstruct(graphs, some, BATCHES)
    after = target.get_layer("expand").get_weights() + target.get_layer("expand_norm").get_weights()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_norms_then_have_the_statistics_of_the_images(source):
    target = bottleneck(5)
    graphs, counterparts = cut(source, target)
    reconstruct(graphs, counterparts, BATCHES)
    norm = target.get_layer("depthwise_norm")
    seen = np.asarray(keras.Model(target.input, target.get_layer("depthwise").output)(np.concatenate(BATCHES)))
    spread = seen.std(axis=(0, 1, 2))
    assert (np.abs(np.asarray(norm.moving_mean) - seen.mean(axis=(0, 1, 2))) < 0.15 * spread).all()
    np.testing.assert_allclose(np.sqrt(np.asarray(norm.moving_variance)), spread, rtol=0.15)


def test_equal_images_give_equal_weights(source):
    found = []
    for _ in range(2):
        target = bottleneck(5)
        reconstruct(*cut(source, target), BATCHES)
        found.append(target.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_source_is_left_as_it_was(source):
    before = source.get_weights()
    reconstruct(*cut(source, bottleneck(5)), BATCHES)
    for one, other in zip(before, source.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_run_needs_no_more_than_what_is_still_taken(source):
    graph = KerasGraph.of(source)
    run = LayerwiseRun(graph, BATCHES)
    most = 0
    for node in graph.nodes:
        run.compute(node)
        most = max(most, len(run._values))
    assert most == 2  # the sum's shortcut, and what is being computed
