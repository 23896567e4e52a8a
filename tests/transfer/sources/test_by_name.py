"""What names and shapes tell, on the shapes of published networks."""

from __future__ import annotations

import pytest

from edgetransfer.transfer.sources._by_name import convention_of, guess_all, split_name

MOBILENET_V2 = {  # torchvision's first layers
    "features.0.0.weight": (32, 3, 3, 3),
    "features.0.1.weight": (32,),
    "features.0.1.bias": (32,),
    "features.0.1.running_mean": (32,),
    "features.0.1.running_var": (32,),
    "features.0.1.num_batches_tracked": (),
    "features.1.conv.0.0.weight": (32, 1, 3, 3),
    "features.1.conv.0.1.weight": (32,),
    "features.1.conv.0.1.bias": (32,),
    "features.1.conv.0.1.running_mean": (32,),
    "features.1.conv.0.1.running_var": (32,),
    "features.1.conv.1.weight": (16, 32, 1, 1),
    "classifier.1.weight": (1000, 1280),
    "classifier.1.bias": (1000,),
}


def found(shapes: dict[str, tuple[int, ...]], convention: str = "pytorch", **more: bool) -> list[tuple[str, str, int]]:
    guesses = guess_all(shapes, convention, **more)
    assert list(guesses) == list(shapes)
    assert all(guess.reason for guess in guesses.values())
    return [(guess.role, guess.layout, guess.multiplier) for guess in guesses.values()]


@pytest.mark.parametrize("ordered", [True, False])
def test_the_layers_of_a_mobile_network_of_pytorch_are_told_apart(ordered):
    norm = [("gamma", "C", 1), ("beta", "C", 1), ("moving_mean", "C", 1), ("moving_variance", "C", 1)]
    assert found(MOBILENET_V2, ordered=ordered) == [
        ("kernel", "OIHW", 1),
        *norm,
        ("other", "", 1),
        ("depthwise_kernel", "(CM)1HW", 1),
        *norm,
        ("kernel", "OIHW", 1),
        ("dense_kernel", "OI", 1),
        ("bias", "C", 1),
    ]


@pytest.mark.parametrize("ordered", [True, False])
def test_the_first_layer_on_grey_pictures_is_no_depthwise_one(ordered):
    grey = {"conv1.weight": (6, 1, 5, 5), "conv1.bias": (6,), "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,)}
    assert [role for role, _, _ in found(grey, ordered=ordered)] == ["kernel", "bias", "kernel", "bias"]


def test_a_depthwise_layer_may_make_several_channels_of_each():
    shapes = {"a.weight": (4, 3, 3, 3), "b.weight": (12, 1, 3, 3)}
    assert found(shapes)[1] == ("depthwise_kernel", "(CM)1HW", 3)


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"up.weight": (8, 4, 2, 2), "up.bias": (4,)}, [("transposed_kernel", "IOHW", 1), ("bias", "C", 1)]),
        ({"c.weight": (8, 4, 3)}, [("kernel", "OIW", 1)]),
        ({"c.weight": (8, 4, 3, 3, 3)}, [("kernel", "OIDHW", 1)]),
        ({"norm.weight": (8,), "norm.bias": (8,)}, [("gamma", "C", 1), ("beta", "C", 1)]),
        ({"act.weight": (8,)}, [("other", "", 1)]),
        ({"word_embeddings.weight": (100, 8)}, [("embedding", "VE", 1)]),
        ({"lstm.weight_ih_l0": (32, 8)}, [("other", "", 1)]),
        ({"weight": (3, 2)}, [("dense_kernel", "OI", 1)]),
    ],
)
def test_other_modules_of_pytorch(shapes, expected):
    assert found(shapes) == expected


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"MobilenetV1/Conv2d_0/weights": (3, 3, 3, 32)}, [("kernel", "HWIO", 1)]),
        ({"MobilenetV1/Conv2d_1/depthwise_weights": (3, 3, 32, 2)}, [("depthwise_kernel", "HWCM", 2)]),
        ({"dw/kernel": (3, 3, 4, 2), "dw/bias": (8,)}, [("depthwise_kernel", "HWCM", 2), ("bias", "C", 1)]),
        ({"c/kernel": (3, 3, 4, 2), "c/bias": (2,)}, [("kernel", "HWIO", 1), ("bias", "C", 1)]),
        ({"dw/kernel": (3, 3, 8, 1), "n/gamma": (8,)}, [("depthwise_kernel", "HWCM", 1), ("gamma", "C", 1)]),
        ({"map/kernel": (3, 3, 8, 1), "map/bias": (1,)}, [("kernel", "HWIO", 1), ("bias", "C", 1)]),
        ({"depthwise_3/kernel": (3, 3, 8, 1)}, [("depthwise_kernel", "HWCM", 1)]),
        ({"top/kernel:0": (5, 3), "top/bias:0": (3,)}, [("dense_kernel", "IO", 1), ("bias", "C", 1)]),
        ({"e/embeddings": (9, 4)}, [("embedding", "VE", 1)]),
        ({"n/scale": (4,), "n/bias": (4,)}, [("gamma", "C", 1), ("beta", "C", 1)]),
        ({"gru/recurrent_kernel": (4, 12)}, [("other", "", 1)]),
    ],
)
def test_layers_of_tensorflow_keras_and_flax(shapes, expected):
    assert found(shapes, "tensorflow") == expected


def test_whose_names_they_are_is_told_by_the_names():
    assert convention_of(list(MOBILENET_V2)) == "pytorch"
    assert convention_of(["a/kernel", "a/bias", "b/gamma", "b/beta"]) == "tensorflow"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.weight", ("a.b", "weight")),
        ("a/kernel:0", ("a", "kernel:0")),
        ("weight", ("weight", "weight")),
        (".x", (".x", ".x")),
    ],
)
def test_a_name_is_a_layer_and_a_word(name, expected):
    assert split_name(name) == expected
