"""Layers that correspond: by name, else by order and shape, and never by chance."""

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.alignment import Rename, align, compatible, signature
from edgetransfer.transfer.source import SourceLayer, SourceTensor


def layer(name, shape, layout="HWIO", role="kernel", **more):
    tensor = SourceTensor(f"{name}/w", shape, "float32", role, layout, True, "a test", lambda: np.zeros(shape))
    return SourceLayer(name, "", (tensor,), **more)


def norm(name, channels):
    parts = [
        SourceTensor(f"{name}/{role}", (channels,), "float32", role, "C", True, "a test", lambda: np.ones(channels))
        for role in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    return SourceLayer(name, "", tuple(parts))


def chain(*layers):
    """Return what each layer depends on, of layers in a row."""
    return {one.name: frozenset(other.name for other in layers[:number]) for number, one in enumerate(layers)}


def pairs(source, target, *renames, ancestors=None):
    found = align(source, target, ancestors or chain(*target), [Rename.parse(rule) for rule in renames])
    return {pair.target: (pair.source, pair.how) for pair in found}


def test_layers_of_one_name_correspond_in_whatever_order_they_stand():
    source = [layer("b", (1, 1, 4, 4)), layer("a", (1, 1, 4, 4))]
    assert pairs(source, [layer("a", (1, 1, 4, 4)), layer("b", (1, 1, 4, 4))]) == {
        "a": ("a", "name"),
        "b": ("b", "name"),
    }


def test_order_and_shape_find_the_rest_and_leave_a_classifier_out():
    source = [layer("0", (8, 3, 3, 3), "OIHW"), norm("1", 8), layer("2", (4, 8), "OI", "dense_kernel")]
    target = [layer("stem", (3, 3, 3, 8)), norm("stem_bn", 8)]
    assert pairs(source, target) == {"stem": ("0", "order"), "stem_bn": ("1", "order")}


def test_a_dense_layer_is_a_convolution_of_one_pixel():
    dense, convolution = layer("a", (4, 8), "OI", "dense_kernel"), layer("b", (1, 1, 8, 4))
    assert signature(dense) == signature(convolution)
    assert signature(dense) != signature(layer("c", (1, 1, 4, 8)))


def test_strides_tell_layers_apart_where_both_sides_say_them():
    two = layer("a", (3, 3, 4, 4), attributes={"strides": [2, 2]})
    assert not compatible(two, layer("b", (3, 3, 4, 4), attributes={"strides": (1, 1)}))
    assert compatible(two, layer("b", (3, 3, 4, 4), attributes={"strides": 2}))
    assert compatible(two, layer("b", (3, 3, 4, 4)))


def test_a_choice_is_refused_with_the_candidates():
    three = [layer(name, (1, 1, 4, 4)) for name in ("p", "q", "r")]
    with pytest.raises(WeightsError, match=r"target layer 'a' .* AMBIGUOUS.*'p' .*, 'q'"):
        pairs(three, [layer("a", (1, 1, 4, 4)), layer("b", (1, 1, 4, 4))])


def test_a_name_settles_what_order_left_open():
    three = [layer(name, (1, 1, 4, 4)) for name in ("p", "q", "r")]
    target = [layer("a", (1, 1, 4, 4)), layer("b", (1, 1, 4, 4))]
    assert pairs(three, target, "q=a") == {"a": ("q", "name"), "b": ("r", "order")}


def test_layers_of_one_shape_in_parallel_branches_are_refused():
    target = [layer("start", (1, 1, 3, 4)), layer("left", (1, 1, 4, 8)), layer("right", (1, 1, 4, 8))]
    source = [layer("0", (1, 1, 3, 4)), layer("1", (1, 1, 4, 8)), layer("2", (1, 1, 4, 8))]
    above = {"start": frozenset(), "left": frozenset({"start"}), "right": frozenset({"start"})}
    with pytest.raises(WeightsError, match=r"'left' .* and 'right' .*AMBIGUOUS.*parallel branches"):
        pairs(source, target, ancestors=above)
    found = pairs(source, target, "^2$=left", "^1$=right", ancestors=above)
    assert found["left"] == ("2", "name")


def test_rules_are_applied_one_after_the_other_with_groups():
    source = [layer("features.3.conv", (1, 1, 4, 4)), layer("features.4.conv", (1, 1, 4, 4))]
    target = [layer("block3_conv", (1, 1, 4, 4)), layer("block4_conv", (1, 1, 4, 4))]
    found = pairs(source, target, r"features\.(\d+)=block\1", r"\.conv=_conv")
    assert found["block4_conv"] == ("features.4.conv", "name")


@pytest.mark.parametrize("rule", ["nothing", "=x", "(=x", r"a=\3"])
def test_what_is_no_rule_is_refused(rule):
    with pytest.raises(WeightsError, match="expected"):
        Rename.parse(rule)


def test_two_layers_that_are_renamed_alike_are_refused():
    source = [layer("a1", (1, 1, 4, 4)), layer("a2", (1, 1, 4, 4))]
    with pytest.raises(WeightsError, match="'a1' and 'a2': are both renamed 'a'"):
        pairs(source, [layer("a", (1, 1, 4, 4))], r"\d=")


def test_layers_of_one_name_and_other_shapes_are_refused_by_name():
    with pytest.raises(WeightsError, match=r"'stem' \(3 x 3 x 3 x 16\).*'stem' \(3 x 3 x 3 x 8\).*keras:FILE"):
        pairs([layer("stem", (3, 3, 3, 16))], [layer("stem", (3, 3, 3, 8))])


def test_names_that_keras_counts_mean_nothing():
    source = [SourceLayer("conv2d_1", "", layer("x", (1, 1, 4, 8)).tensors)]
    source += [SourceLayer("conv2d_2", "", layer("x", (1, 1, 8, 4)).tensors)]
    target = [SourceLayer("conv2d", "Conv2D", layer("x", (1, 1, 4, 8)).tensors)]
    target += [SourceLayer("conv2d_1", "Conv2D", layer("x", (1, 1, 8, 4)).tensors)]
    assert pairs(source, target) == {"conv2d": ("conv2d_1", "order"), "conv2d_1": ("conv2d_2", "order")}


def test_a_kernel_that_order_finds_no_source_for_makes_it_another_architecture():
    source = [layer("0", (3, 3, 3, 8))]
    with pytest.raises(
        WeightsError, match=r"of its 2 kernels .*, 1 have .* none of the shape of 'b' \(1 x 1 x 8 x 8\)"
    ):
        pairs(source, [layer("a", (3, 3, 3, 8)), layer("b", (1, 1, 8, 8))])
    with pytest.raises(WeightsError, match="of its 2 kernels that no name settles, 1 have"):
        pairs(source, [layer("a", (3, 3, 3, 8)), layer("b", (3, 3, 3, 8))])
