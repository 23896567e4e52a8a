from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgetransfer.errors import ExportError, RecipeError
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Override

pytest.importorskip("onnx", reason="writing ONNX needs the extra 'train'")
from edgetransfer.export import get_exporter
from edgetransfer.quantize.onnx_calibrate import calibrate
from edgetransfer.quantize.onnx_carry_out import carry_out
from edgetransfer.quantize.onnx_graph import OnnxGraph, unique_names
from edgetransfer.quantize.onnx_weights import weight_steps

NORMALISATIONS = [Normalisation(1 / 128, 127), Normalisation(1 / 255, 0), Normalisation(1.0, 0)]
CENTRED = NORMALISATIONS[0]
UINT8 = dataclasses.replace(RECIPES["static_int8"], activations="uint8")
TENSORRT = dataclasses.replace(RECIPES["static_int8"], activations="int8")
PER_TENSOR = dataclasses.replace(RECIPES["static_int8_per_tensor"], activations="uint8")
CARRIED_OUT = {
    "float32": (RECIPES["float32"], 0.999999),
    "float16": (RECIPES["float16"], 0.9999),
    "uint8": (UINT8, 0.97),
    "int8": (TENSORRT, 0.97),
    "per_tensor": (PER_TENSOR, 0.97),
}


@pytest.fixture(scope="module")
def small_onnx(small_keras):
    return get_exporter("onnx").convert(small_keras)


@pytest.fixture(scope="module")
def heavy_tailed(small_onnx):
    """The small network with some weights far from the others, as trained networks have them."""
    graph = OnnxGraph.read(small_onnx)
    rng = np.random.default_rng(5)
    for name in [name for name in graph.constants if name.endswith("Conv/weight")]:
        graph.constants[name] = (graph.constants[name] * rng.lognormal(0, 1, graph.constants[name].shape)).astype("f")
    return graph.to_bytes()


@pytest.fixture(scope="module")
def ranges(small_onnx, pictures):
    return calibrate(small_onnx, pictures, CENTRED)


def features(content, images, kernels="default"):
    engine = open_engine("onnx", content, kernels=kernels)
    return np.concatenate([engine.run(image[None]) for image in images])


def cosine(got, wanted):
    return (got * wanted).sum(axis=1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1))


def keras_features(model, images, normalisation):
    real = (images.astype(np.float32) - normalisation.zero_point) * np.float32(normalisation.scale)
    return np.asarray(model(real, training=False))


def ops(content):
    return [node.op_type for node in OnnxGraph.read(content).nodes]


@pytest.mark.parametrize("name", sorted(CARRIED_OUT))
@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=lambda n: f"{n.scale:.4f}-{n.zero_point}")
def test_every_recipe_takes_raw_pixels_and_gives_nearly_the_keras_features(
    name, normalisation, small_keras, small_onnx, pictures
):
    recipe, least = CARRIED_OUT[name]
    found = calibrate(small_onnx, pictures, normalisation) if recipe.needs_calibration else None
    content = carry_out(small_onnx, recipe, normalisation, found, pictures)
    got, wanted = features(content, pictures), keras_features(small_keras, pictures, normalisation)
    assert cosine(got, wanted).mean() >= least


@pytest.mark.parametrize("name", sorted(CARRIED_OUT))
def test_the_first_op_makes_of_raw_pixels_what_the_network_takes(name, small_onnx, ranges, pictures):
    graph = OnnxGraph.read(carry_out(small_onnx, CARRIED_OUT[name][0], CENTRED, ranges, pictures))
    first = next(node for node in graph.nodes if graph.input in node.input)
    assert (graph.input, graph.output, first.op_type) == ("image", "features", "DequantizeLinear")
    scale, zero_point = (graph.constants[one] for one in first.input[1:])
    assert (float(scale), int(zero_point), zero_point.dtype) == (1 / 128, 127, np.uint8)
    assert sum(node.op_type == "DequantizeLinear" and node.input[0] == "image" for node in graph.nodes) == 1


def test_in_a_uint8_graph_the_pixel_is_the_quantized_input(small_onnx, ranges, pictures):
    graph = OnnxGraph.read(carry_out(small_onnx, UINT8, CENTRED, ranges, pictures))
    quantized = next(node for node in graph.nodes if node.op_type == "QuantizeLinear")
    scale, zero_point = (graph.constants[one] for one in quantized.input[1:])
    assert (float(scale), int(zero_point)) == (1 / 128, 127)


def test_a_tensorrt_graph_has_no_zero_point_and_no_quantized_bias(small_onnx, ranges, pictures):
    graph = OnnxGraph.read(carry_out(small_onnx, TENSORRT, CENTRED, ranges, pictures))
    pairs = [node for node in graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    behind = [graph.constants[node.input[2]] for node in pairs if node.input[0] != "image"]
    assert {value.dtype for value in behind} == {np.dtype(np.int8)}
    assert not any(value.any() for value in behind)
    # Between a convolution and the activation behind it nothing is quantized: they are one layer there.
    convolutions = {node.output[0] for node in graph.nodes if node.op_type == "Conv"}
    assert {node.input[0] for node in graph.nodes if node.op_type == "Clip"} <= convolutions
    only = max(abs(graph.constants[node.input[1]]).max() for node in pairs if node.input[0] == "Transpose")
    assert only == np.float32(1 / 128)  # the pixels' own step: all but pixel 255 come through exactly


def test_weights_have_one_step_a_channel_or_one_in_all(small_onnx, ranges, pictures):
    for recipe, sizes in ((UINT8, {8, 24}), (PER_TENSOR, {1})):
        graph = OnnxGraph.read(carry_out(small_onnx, recipe, CENTRED, ranges, pictures))
        weights = [node for node in graph.nodes if node.input[0].endswith("weight_quantized")]
        assert len(weights) == 4
        assert {graph.constants[node.input[0]].dtype for node in weights} == {np.dtype(np.int8)}
        assert {graph.constants[node.input[1]].size for node in weights} == sizes


def test_float16_halves_the_weights_and_keeps_float_arithmetic(small_onnx, pictures):
    graph = OnnxGraph.read(carry_out(small_onnx, RECIPES["float16"], CENTRED))
    weights = [node.input[1] for node in graph.nodes if node.op_type == "Conv"]
    made = graph.producers()
    assert all(graph.constants[made[name].input[0]].dtype == np.float16 for name in weights)


def test_weights_beyond_float16_are_refused(small_onnx):
    graph = OnnxGraph.read(small_onnx)
    graph.constants["stem/Conv/weight"] = graph.constants["stem/Conv/weight"] * np.float32(1e6)
    with pytest.raises(RecipeError, match="'stem/Conv/weight' has numbers beyond float16's 65504"):
        carry_out(graph.to_bytes(), RECIPES["float16"], CENTRED)


def test_an_override_keeps_an_op_in_floats(small_onnx, ranges, pictures):
    kept = dataclasses.replace(UINT8, overrides=(Override("^depthwise/", "float32", "float32"),))
    found = {
        one.name: one.computes
        for one in get_exporter("onnx").survey(carry_out(small_onnx, kept, CENTRED, ranges, pictures))
    }
    assert found["depthwise/Conv"] == "float32"
    assert (found["stem/Conv"], found["last/Conv"]) == ("uint8", "uint8")
    plain = {
        one.computes
        for one in get_exporter("onnx").survey(carry_out(small_onnx, UINT8, CENTRED, ranges, pictures))
        if not one.edge
    }
    assert plain == {"uint8"}


def test_the_last_override_that_matches_holds(small_onnx, ranges, pictures):
    both = (Override("Conv", "float32", "float32"), Override("last", "int8", "uint8"))
    recipe = dataclasses.replace(UINT8, overrides=both)
    found = {
        one.name: one.computes
        for one in get_exporter("onnx").survey(carry_out(small_onnx, recipe, CENTRED, ranges, pictures))
    }
    assert (found["stem/Conv"], found["last/Conv"]) == ("float32", "uint8")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (RECIPES["dynamic_int8"], "ConvInteger has no depthwise kernel"),
        (RECIPES["static_int16x8"], "16-bit activations"),
        (RECIPES["weight_int4"], "4-bit weights"),
        (dataclasses.replace(UINT8, weights="float32"), "expected one of"),
        (
            dataclasses.replace(UINT8, overrides=(Override("stem", "int8", "int16"),)),
            "override 'stem'.*expected.*float32",
        ),
        (
            dataclasses.replace(RECIPES["float16"], overrides=(Override("a", "float32", "float32"),)),
            "integer activations",
        ),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_what_cannot_be_carried_out_is_refused_with_the_reason(recipe, words, small_onnx, ranges, pictures):
    with pytest.raises(RecipeError, match=rf"recipe '{recipe.name}'.*{words}"):
        carry_out(small_onnx, recipe, CENTRED, ranges, pictures)


def test_static_recipes_without_ranges_or_images_are_refused(small_onnx, ranges):
    with pytest.raises(RecipeError, match="needs calibrated ranges"):
        carry_out(small_onnx, UINT8, CENTRED)
    with pytest.raises(RecipeError, match="judged on images"):
        carry_out(small_onnx, UINT8, CENTRED, ranges)


@pytest.mark.parametrize("name", sorted(CARRIED_OUT))
def test_carrying_out_a_recipe_is_repeatable(name, small_onnx, ranges, pictures):
    recipe, _ = CARRIED_OUT[name]
    once = carry_out(small_onnx, recipe, CENTRED, ranges, pictures)
    assert once == carry_out(small_onnx, recipe, CENTRED, ranges, pictures)


def test_the_best_weight_ranges_are_those_whose_features_are_nearer(heavy_tailed, pictures):
    found = calibrate(heavy_tailed, pictures, CENTRED)
    made = {
        way: carry_out(heavy_tailed, dataclasses.replace(UINT8, weight_ranges=way), CENTRED, found, pictures)
        for way in ("min_max", "mse", "best")
    }
    assert made["min_max"] != made["mse"]
    wanted = features(carry_out(heavy_tailed, RECIPES["float32"], CENTRED), pictures[:32])
    nearness = {way: cosine(features(content, pictures[:32]), wanted).mean() for way, content in made.items()}
    assert nearness["best"] == max(nearness.values())


def test_searched_weight_steps_never_have_a_greater_squared_error(heavy_tailed):
    graph = OnnxGraph.read(heavy_tailed)

    def errors(*, searched):
        found = weight_steps(graph, {}, searched=searched, per_channel=True)
        for name, (axis, steps) in sorted(found.items()):
            rows = np.moveaxis(graph.constants[name], axis, 0).reshape(len(steps), -1).astype(np.float64)
            stored = np.clip(np.rint(rows / steps[:, None]), -127, 127)
            yield np.square(stored * steps[:, None] - rows).sum(axis=1)

    plain, searched = (np.concatenate(list(errors(searched=way))) for way in (False, True))
    assert (searched <= plain * (1 + 1e-5)).all()
    assert (searched < plain * 0.99).any()


@pytest.mark.parametrize("factor", [0.0, 1e-9, -1e-7], ids=str)
@pytest.mark.parametrize("value", [2.5, 5.0])
def test_a_channel_with_weights_that_are_nothing_beside_its_bias_keeps_the_bias(factor, value, small_onnx, pictures):
    graph = OnnxGraph.read(small_onnx)
    weight, bias = graph.constants["last/Conv/weight"].copy(), np.zeros(24, np.float32)
    weight[5], bias[5] = factor * weight[5], value
    graph.constants |= {"last/Conv/weight": weight, "last/Conv/bias": bias}
    next(node for node in graph.nodes if node.name == "last/Conv").input.append("last/Conv/bias")
    changed = graph.to_bytes()
    found = calibrate(changed, pictures, CENTRED)
    got = features(carry_out(changed, UINT8, CENTRED, found, pictures), pictures)
    assert np.abs(got[:, 5] - value).max() < 0.05


def test_ranges_are_means_of_each_images_extremes_in_any_order(small_keras, small_onnx, pictures):
    import keras

    found = calibrate(small_onnx, pictures, CENTRED)
    assert found["pixels"] == found["Transpose"] == (-127 / 128, 1.0)  # of all pixels, not of those seen
    real = (pictures.astype(np.float32) - 127) / np.float32(128)
    added = np.asarray(keras.Model(small_keras.input, small_keras.get_layer("add").output)(real))
    low, high = added.min(axis=(1, 2, 3)).mean(), added.max(axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(found["add/Add"], (low, high), rtol=1e-4)
    assert found["stem/Conv"] == found["stem_relu/Clip"]  # the two are computed as one
    backwards = calibrate(small_onnx, pictures[::-1], CENTRED)
    np.testing.assert_allclose(list(found.values()), list(backwards.values()), rtol=1e-6)


def test_integer_kernels_agree_with_the_graph_as_written(small_onnx, ranges, pictures):
    content = carry_out(small_onnx, UINT8, CENTRED, ranges, pictures)
    step = get_exporter("onnx").step(content)
    apart = np.abs(features(content, pictures) - features(content, pictures, "reference")) / step
    assert apart.max() <= 2.001


def test_what_is_no_onnx_file_is_refused():
    for content in (b"", b"text, not a model", b"\x08\x08"):
        with pytest.raises(ExportError, match="not an ONNX file"):
            OnnxGraph.read(content)


def test_names_become_unique_without_touching_those_that_are():
    assert unique_names(["a", "b", "a", "a_2", "a"]) == ["a", "b", "a_3", "a_2", "a_4"]


@pytest.mark.parametrize("recipe", [UINT8, TENSORRT], ids=["uint8", "int8"])
def test_hard_swishes_that_share_their_constants_are_quantized_and_run(recipe, pictures):
    import keras

    keras.utils.set_random_seed(3)
    image = tensor = keras.Input((32, 32, 3))
    for filters in (8, 16):
        tensor = keras.layers.Conv2D(filters, 3, strides=2, padding="same")(tensor)
        tensor = keras.layers.Activation("hard_swish")(tensor)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(tensor))
    plain = get_exporter("onnx").convert(model)
    content = carry_out(plain, recipe, CENTRED, calibrate(plain, pictures, CENTRED), pictures)
    assert cosine(features(content, pictures), keras_features(model, pictures, CENTRED)).mean() >= 0.97
