"""Networks of one structure: narrower, wider, deeper, shallower, with other windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BackboneError

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer.keras_graph import KerasGraph  # noqa: E402
from edgetransfer.transfer.slim import choose, slim_weights  # noqa: E402
from edgetransfer.transfer.statistics import make_statistics_true  # noqa: E402

layers = keras.layers
PIXELS = np.random.default_rng(8).normal(size=(4, 16, 16, 3)).astype(np.float32)


def residual(width=8, *, blocks=(2, 1), window=3, inner=12, features=10, end="average"):
    """Return a network of residual blocks with depthwise convolutions, as MobileNetV2 has them, and random weights."""
    x = pixels = keras.Input((16, 16, 3))
    for stage, count in enumerate(blocks):
        x = layers.Conv2D(width + 4 * stage, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU(6)(layers.BatchNormalization()(x))
        for _ in range(count):
            y = layers.ReLU(6)(layers.BatchNormalization()(layers.Conv2D(inner, 1, use_bias=False)(x)))
            y = layers.DepthwiseConv2D(window, padding="same", use_bias=False)(y)
            y = layers.ReLU(6)(layers.BatchNormalization()(y))
            y = layers.BatchNormalization()(layers.Conv2D(width + 4 * stage, 1, use_bias=False)(y))
            x = layers.Add()([x, y])
    x = layers.ReLU(6)(layers.Conv2D(features, 1)(x))
    return scrambled(keras.Model(pixels, layers.GlobalAveragePooling2D()(x) if end == "average" else x))


def plain(counts, width=6):
    """Return a network of convolutions in a row, `counts` in each stage."""
    x = pixels = keras.Input((16, 16, 3))
    for stage, count in enumerate(counts):
        for _ in range(count):
            x = layers.Conv2D(width * (stage + 1), 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    return scrambled(keras.Model(pixels, layers.GlobalAveragePooling2D()(x)))


def scrambled(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.4, weight.shape))
    return model


def transferred(source, target, **more):
    graph = KerasGraph.of(target)
    found = slim_weights(KerasGraph.of(source), graph, ("source", "target"), **more)
    found.apply(graph.variables())
    return found


def assert_same(one, other):
    np.testing.assert_allclose(one(PIXELS), other(PIXELS), rtol=1e-5, atol=1e-5)


def test_all_channels_kept_are_the_same_function():
    source, target = residual(), keras.models.clone_model(residual())
    found = transferred(source, target)
    assert found.same
    assert found.coverage == 1
    assert_same(source, target)


def test_a_wider_network_computes_the_same():
    source, target = residual(), residual(width=11, inner=30)
    found = transferred(source, target)
    assert found.same
    assert "8 channels in widened to 11" in found.as_text()
    assert_same(source, target)


def test_features_that_are_widened_come_again():
    source, target = residual(), residual(features=15)
    transferred(source, target)
    np.testing.assert_allclose(target(PIXELS)[:, :10], source(PIXELS), rtol=1e-5, atol=1e-5)


def test_a_deeper_network_begins_with_blocks_that_do_nothing_and_can_learn():
    source, target = residual(blocks=(1, 0)), residual(blocks=(3, 2))
    found = transferred(source, target)
    assert found.same
    assert found.coverage < 0.6
    assert all(one.done == ("a new block, the identity",) for one in found.initialised)
    assert all(np.any(one.values) for one in found.initialised if one.target.endswith("kernel"))
    assert_same(source, target)


def test_a_deeper_row_of_convolutions_begins_with_ones_that_do_nothing():
    source, target = plain((1, 2)), plain((3, 3))
    assert transferred(source, target).same
    assert_same(source, target)


def test_surplus_blocks_of_the_source_are_left_out_stage_by_stage():
    source, target = residual(blocks=(3, 2)), residual(blocks=(1, 1))
    found = transferred(source, target)
    assert not found.same
    assert any("left out of the source" in note for note in found.notes)
    # The same as the source with the branches of the blocks left out at 0.
    ends = [layer for layer in source.layers if isinstance(layer, layers.Add)]
    for number in (1, 2, 4):
        norm = ends[number].input[1]._keras_history.operation
        norm.gamma.assign(np.zeros(norm.gamma.shape))
        norm.beta.assign(np.zeros(norm.beta.shape))
    assert_same(source, target)


def test_dead_channels_are_what_goes_first():
    source, target = residual(blocks=(1,)), residual(blocks=(1,), inner=7)
    first = next(layer for layer in source.layers if isinstance(layer, layers.Conv2D) and layer.filters == 12)
    depthwise = next(layer for layer in source.layers if isinstance(layer, layers.DepthwiseConv2D))
    dead = [0, 3, 4, 8, 11]
    kernel, window = np.array(first.kernel), np.array(depthwise.kernel)
    kernel[..., dead], window[:, :, dead] = 0, 0
    first.kernel.assign(kernel)
    depthwise.kernel.assign(window)
    last = next(layer for layer in source.layers if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] == 12)
    taken = np.array(last.kernel)
    taken[:, :, dead] = 0
    last.kernel.assign(taken)
    assert not transferred(source, target).same
    assert_same(source, target)


def test_a_larger_window_is_cropped_and_a_smaller_one_gets_zeros_around():
    small = residual(window=3)
    large = residual(window=5)
    found = transferred(small, large)
    assert any("window 3 x 3 to 5 x 5 about the centre" in one.done for one in found.tensors)
    assert found.coverage < 1
    assert_same(small, large)
    again = scrambled(residual(window=3))
    assert transferred(large, again).coverage == 1
    assert_same(small, again)


def test_groups_behind_a_concatenation_are_cut_each_by_itself():
    def network(left, right, word="side"):
        pixels = keras.Input((16, 16, 3))
        sides = [
            layers.Conv2D(size, 1, use_bias=False, name=f"{word}{n}")(pixels) for n, size in enumerate((left, right))
        ]
        x = layers.Conv2D(4, 1, name="end")(layers.Concatenate()(sides))
        return scrambled(keras.Model(pixels, layers.GlobalAveragePooling2D()(x)))

    source, target = network(3, 4), network(2, 5)
    kernel = np.array(source.get_layer("side0").kernel)
    kernel[..., 1] = 0  # the one that goes
    source.get_layer("side0").kernel.assign(kernel)
    transferred(source, target)
    assert_same(source, target)

    with pytest.raises(BackboneError, match="'other0' and 'other1': AMBIGUOUS"):
        transferred(source, network(2, 5, "other"))


def test_networks_of_other_structures_are_refused_with_the_first_difference():
    with pytest.raises(BackboneError, match=r"first that differ \(Conv2D, window, stride 2.*, stride 1"):
        transferred(residual(), plain((2, 2)))
    with pytest.raises(BackboneError, match="a window of 2 has another centre than the source's of 3"):
        transferred(residual(window=3), residual(window=2))


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(1, 30))
def test_channels_are_the_most_important_in_their_order_and_shares_add_up(importance, size):
    found = choose(np.array(importance), size)
    assert len(found.channels) == size
    kept = found.channels[: len(importance)]
    assert (np.diff(kept) > 0).all()
    left = set(range(len(importance))) - set(kept.tolist())
    assert all(importance[one] <= importance[other] for one in left for other in kept)
    np.testing.assert_allclose(np.bincount(found.channels, found.shares)[np.unique(found.channels)], 1)


def test_statistics_become_those_of_the_data_and_the_function_stays():
    model = residual()
    before = np.asarray(model(PIXELS))
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert make_statistics_true(model, KerasGraph.of(model), [PIXELS[:1], PIXELS[1:]]) == len(norms)
    np.testing.assert_allclose(model(PIXELS), before, rtol=1e-4, atol=1e-4)
    seen = np.asarray(keras.Model(model.input, norms[2].input)(PIXELS))
    np.testing.assert_allclose(norms[2].moving_mean, seen.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(norms[2].moving_variance, seen.var(axis=(0, 1, 2)), rtol=1e-3, atol=1e-5)
