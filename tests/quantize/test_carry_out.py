from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES

NORMALISATIONS = [Normalisation(1 / 128, 127), Normalisation(1 / 255, 0), Normalisation(1.0, 0)]
LEAST_COSINE = {"float32": 0.999999, "float16": 0.9999, "dynamic_int8": 0.99, "static_int8": 0.98}


def deployed(small_float, recipe, normalisation, pictures):
    ranges = calibrate(small_float, pictures, normalisation) if recipe.needs_calibration else None
    return carry_out(small_float, recipe, normalisation, ranges)


def features(content, images):
    engine = open_engine("litert", content)
    return np.concatenate([engine.output.to_real(engine.run(image[None])) for image in images])


def keras_features(model, images, normalisation):
    real = (images.astype(np.float32) - normalisation.zero_point) * np.float32(normalisation.scale)
    return np.asarray(model(real, training=False))


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=lambda n: f"{n.scale:.4f}-{n.zero_point}")
def test_every_recipe_takes_raw_pixels_and_gives_nearly_the_keras_features(
    name, normalisation, small_keras, small_float, pictures
):
    content = deployed(small_float, RECIPES[name], normalisation, pictures)
    got, wanted = features(content, pictures), keras_features(small_keras, pictures, normalisation)
    cosine = (got * wanted).sum(axis=1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1))
    assert cosine.mean() >= LEAST_COSINE[name]


def test_static_int8_has_integers_from_the_first_op_to_the_last(small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES["static_int8"], NORMALISATIONS[0], pictures))
    assert graph.ops()[0].name == "QUANTIZE"
    assert graph.dtype(graph.input) == "uint8"
    assert graph.dtype(graph.output) == "int8"
    floats = [index for index in range(len(graph.subgraph.tensors)) if graph.dtype(index) == "float32"]
    assert floats == []


def test_static_int8_reads_a_pixel_as_itself_moved_by_128(small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES["static_int8"], NORMALISATIONS[0], pictures))
    first = graph.ops()[0]
    outer, inner = graph.quantization(first.inputs[0]), graph.quantization(first.outputs[0])
    assert (outer.scale, outer.zero_point) == (1 / 128, 127)
    assert (inner.scale, inner.zero_point) == (1 / 128, -1)


@pytest.mark.parametrize("factor", [0.0, 1e-9, -1e-7], ids=str)
@pytest.mark.parametrize("value", [2.5, 5.0])
def test_a_channel_with_weights_that_are_nothing_beside_its_bias_keeps_the_bias(factor, value, small_float, pictures):
    graph = Graph.read(small_float)
    convolution = [op for op in graph.ops() if op.name == "CONV_2D"][-1]
    weights, bias = graph.constant(convolution.inputs[1]).copy(), graph.constant(convolution.inputs[2]).copy()
    weights[5], bias[5] = factor * weights[5], value
    graph.set_constant(convolution.inputs[1], weights)
    graph.set_constant(convolution.inputs[2], bias)
    got = features(deployed(graph.to_bytes(), RECIPES["static_int8"], NORMALISATIONS[0], pictures), pictures)
    assert np.abs(got[:, 5] - value).max() < 0.05


def test_a_depthwise_channel_without_weights_keeps_its_bias(small_float, pictures):
    graph = Graph.read(small_float)
    depthwise = next(op for op in graph.ops() if op.name == "DEPTHWISE_CONV_2D")
    weights, bias = graph.constant(depthwise.inputs[1]).copy(), graph.constant(depthwise.inputs[2]).copy()
    weights[..., 2], bias[2] = 1e-8, 3.0
    graph.set_constant(depthwise.inputs[1], weights)
    graph.set_constant(depthwise.inputs[2], bias)
    changed = graph.to_bytes()
    floats = features(carry_out(changed, RECIPES["float32"], NORMALISATIONS[0]), pictures)
    ints = features(deployed(changed, RECIPES["static_int8"], NORMALISATIONS[0], pictures), pictures)
    cosine = (floats * ints).sum(axis=1) / (np.linalg.norm(floats, axis=1) * np.linalg.norm(ints, axis=1))
    assert cosine.mean() > 0.98


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_carrying_out_a_recipe_is_repeatable(name, small_float, pictures):
    recipe = RECIPES[name]
    once = deployed(small_float, recipe, NORMALISATIONS[0], pictures)
    assert once == deployed(small_float, recipe, NORMALISATIONS[0], pictures)


def test_static_int8_without_ranges_is_refused(small_float):
    with pytest.raises(RecipeError, match="needs calibrated ranges"):
        carry_out(small_float, RECIPES["static_int8"], NORMALISATIONS[0])
