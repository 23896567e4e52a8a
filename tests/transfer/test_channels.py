"""Which channels must be chosen together, and how important each is."""

import numpy as np
import pytest

from edgetransfer.errors import BackboneError

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer.channels import groups_of  # noqa: E402
from edgetransfer.transfer.importance import importance_of  # noqa: E402
from edgetransfer.transfer.keras_graph import KerasGraph  # noqa: E402

layers = keras.layers


@pytest.fixture(scope="module")
def mobilenet():
    """MobileNetV2 of width 0.35, untrained: its groups."""
    return groups_of(KerasGraph.of(keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, include_top=False)))


def groups(pixels, end):
    return groups_of(KerasGraph.of(keras.Model(pixels, end)))


def test_additions_tie_what_they_add(mobilenet):
    def out(block):
        return mobilenet.gives[f"block_{block}_project"]

    # Stages of MobileNetV2 (Sandler et al. 2018, table 2): blocks 1-2, 3-5, 6-9, 10-12, 13-15, each after its first
    # with a shortcut.
    stages = [(1, 2), (3, 4, 5), (6, 7, 8, 9), (10, 11, 12), (13, 14, 15), (16,)]
    for stage in stages:
        assert {out(block) for block in stage} == {out(stage[0])}
    assert len({out(stage[0]) for stage in stages}) == len(stages)


def test_what_is_between_two_kernels_is_one_group(mobilenet):
    group = mobilenet.gives["block_4_expand"]
    for name in ("block_4_expand_BN", "block_4_depthwise", "block_4_depthwise_BN"):
        assert mobilenet.takes[name] == mobilenet.gives[name] == group
    assert mobilenet.takes["block_4_project"] == group
    assert mobilenet.sizes[group[0]] == 6 * mobilenet.sizes[mobilenet.takes["block_4_expand"][0]]
    assert mobilenet.makers(group[0]) == ["block_4_expand", "block_4_depthwise"]


def test_colours_are_not_chosen(mobilenet):
    assert mobilenet.fixed == set(mobilenet.takes["Conv1"])
    assert mobilenet.sizes[mobilenet.takes["Conv1"][0]] == 3


def test_a_concatenation_is_its_parts_one_after_the_other():
    pixels = keras.Input((4, 4, 3))
    one, two = layers.Conv2D(5, 1, name="one")(pixels), layers.Conv2D(7, 1, name="two")(pixels)
    found = groups(pixels, layers.Conv2D(2, 1, name="end")(layers.ReLU()(layers.Concatenate()([one, two]))))
    assert found.takes["end"] == (*found.gives["one"], *found.gives["two"])
    assert [found.sizes[group] for group in found.takes["end"]] == [5, 7]


def test_squeeze_and_excite_belongs_to_the_channels_it_weighs():
    pixels = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 1, name="main")(pixels)
    gate = layers.Dense(8, "sigmoid", name="gate")(layers.Dense(2, name="squeeze")(layers.GlobalAveragePooling2D()(x)))
    found = groups(pixels, layers.Multiply()([x, layers.Reshape((1, 1, 8))(gate)]))
    assert found.gives["gate"] == found.gives["main"] == found.takes["squeeze"]
    assert found.gives["squeeze"] != found.gives["main"]


def test_nested_models_are_unfolded():
    inner = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(6, 1, name="conv"), layers.ReLU()], name="inner")
    pixels = keras.Input((4, 4, 3))
    found = groups(pixels, layers.Conv2D(2, 1, name="end")(inner(pixels)))
    assert found.takes["end"] == found.gives["inner/conv"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: layers.Flatten(name="bad")(x), r"'bad' \(Flatten\): makes \(64,\) of \(4, 4, 4\)"),
        (lambda x: layers.Reshape((2, 8, 4), name="bad")(x), "'bad' .*channels and places are mixed"),
        (lambda x: layers.Conv2D(4, 1, groups=2, name="bad")(x), "'bad': is a convolution in 2 groups"),
        (lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2, name="bad")(x), "'bad': makes 2 channels of each"),
        (lambda x: layers.PReLU(name="bad")(x), r"'bad' \(PReLU\): what it does with channels is not known"),
        (lambda x: layers.Concatenate(axis=1, name="bad")([x, x]), "'bad': concatenates axis 1"),
        (lambda x: layers.BatchNormalization(axis=1, name="bad")(x), "'bad': normalises axis 1"),
    ],
)
def test_what_channels_cannot_be_followed_through_is_refused(make, message):
    pixels = keras.Input((4, 4, 3))
    with pytest.raises(BackboneError, match=message):
        groups(pixels, make(layers.Conv2D(4, 1)(pixels)))


def test_concatenations_whose_borders_differ_cannot_be_added():
    pixels = keras.Input((4, 4, 3))
    sides = [[layers.Conv2D(size, 1)(pixels) for size in sizes] for sizes in ((3, 5), (5, 3))]
    with pytest.raises(BackboneError, match=r"concatenated of 3\+5 and 5\+3 channels"):
        groups(pixels, layers.Add()([layers.Concatenate()(side) for side in sides]))


# === Importance ===


@pytest.fixture
def two_channels():
    """A convolution of two channels, the second of twice the weights and a quarter of the scale behind it."""
    pixels = keras.Input((4, 4, 3))
    x = layers.BatchNormalization(epsilon=0.0, name="norm")(layers.Conv2D(2, 1, use_bias=False, name="conv")(pixels))
    model = keras.Model(pixels, x)
    model.get_layer("conv").kernel.assign(np.array([[[[1, -2]] * 3]], np.float32).reshape(1, 1, 3, 2))
    norm = model.get_layer("norm")
    norm.gamma.assign([4.0, -2.0])
    norm.moving_variance.assign([1.0, 4.0])
    return model


def test_importance_is_the_weights_with_the_norm_folded_in_or_the_gamma(two_channels):
    graph = KerasGraph.of(two_channels)
    found = groups_of(graph)
    (group,) = found.gives["conv"]
    l1 = importance_of(graph, found, "l1")[group]
    np.testing.assert_allclose(l1, np.array([3 * 4 / 1, 6 * 2 / 2]) / 9)  # over their mean, (12 + 6) / 2
    bn = importance_of(graph, found, "bn")[group]
    np.testing.assert_allclose(bn, np.array([4, 2]) / 3)


def test_gammas_that_are_all_alike_say_nothing(two_channels):
    two_channels.get_layer("norm").gamma.assign([1.0, 1.0])
    graph = KerasGraph.of(two_channels)
    with pytest.raises(BackboneError, match="they were folded into the kernels, so choose by 'l1'"):
        importance_of(graph, groups_of(graph), "bn")
