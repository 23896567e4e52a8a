from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from edgetransfer.errors import RecipeError
from edgetransfer.export.litert import survey
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, WEIGHT_RANGES, Override

NORMALISATIONS = [Normalisation(1 / 128, 127), Normalisation(1 / 255, 0), Normalisation(1.0, 0)]
PIXELS = NORMALISATIONS[0]
LEAST_COSINE = {
    "float32": 0.999999,
    "float16": 0.9999,
    "dynamic_int8": 0.999,
    "static_int8": 0.998,
    "static_int8_per_tensor": 0.997,
    "static_int16x8": 0.999,
    "weight_int4": 0.98,
}
"""On photographs that nothing was fitted to."""


def deployed(model, recipe, normalisation, pictures):
    if not recipe.needs_calibration:
        return carry_out(model, recipe, normalisation)
    seen = pictures[:40]
    return carry_out(model, recipe, normalisation, calibrate(model, seen, normalisation), seen)


def changed(name, **fields):
    return dataclasses.replace(RECIPES[name], name="mine", **fields)


def features(content, images):
    engine = open_engine("litert", content)
    return np.concatenate([engine.output.to_real(engine.run(image[None])) for image in images])


def keras_features(model, images, normalisation):
    real = (images.astype(np.float32) - normalisation.zero_point) * np.float32(normalisation.scale)
    return np.asarray(model(real, training=False))


def mean_cosine(got, wanted):
    return float(((got * wanted).sum(axis=1) / (np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1))).mean())


def op_name(model, kind, number=0):
    graph = Graph.read(model)
    return graph.name([op for op in graph.ops() if op.name == kind][number].outputs[0])


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=lambda n: f"{n.scale:.4f}-{n.zero_point}")
def test_every_recipe_takes_raw_pixels_and_gives_nearly_the_keras_features(
    name, normalisation, small_keras, small_float, pictures
):
    content = deployed(small_float, RECIPES[name], normalisation, pictures)
    new = pictures[40:]
    assert mean_cosine(features(content, new), keras_features(small_keras, new, normalisation)) >= LEAST_COSINE[name]


@pytest.mark.parametrize(
    ("name", "output"), [("static_int8", "int8"), ("static_int8_per_tensor", "int8"), ("static_int16x8", "int16")]
)
def test_static_recipes_have_integers_from_the_first_op_to_the_last(name, output, small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES[name], PIXELS, pictures))
    assert graph.ops()[0].name == "QUANTIZE"
    assert graph.dtype(graph.input) == "uint8"
    assert graph.dtype(graph.output) == output
    floats = [index for index in range(len(graph.subgraph.tensors)) if graph.dtype(index) == "float32"]
    assert floats == []


def test_static_int8_reads_a_pixel_as_itself_moved_by_128(small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES["static_int8"], PIXELS, pictures))
    first = graph.ops()[0]
    outer, inner = graph.quantization(first.inputs[0]), graph.quantization(first.outputs[0])
    assert (outer.scale, outer.zero_point) == (1 / 128, 127)
    assert (inner.scale, inner.zero_point) == (1 / 128, -1)


@pytest.mark.parametrize("kernels", ["default", "reference"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=lambda n: f"{n.scale:.4f}-{n.zero_point}")
def test_a_pixel_is_a_whole_number_of_16_bit_steps(normalisation, kernels, small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES["static_int16x8"], normalisation, pictures))
    first = graph.ops()[0]
    inner = graph.quantization(first.outputs[0])
    graph.subgraph.operators = graph.subgraph.operators[:1]
    graph.set_ends(
        input_index=first.inputs[0], input_name="image", output_index=first.outputs[0], output_name="features"
    )
    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(1, 32, 32, 3) % 256
    got = open_engine("litert", graph.to_bytes(), kernels=kernels).run(image.astype(np.uint8))
    steps = round(normalisation.scale / inner.scale)
    assert (got.astype(np.int64) == (image - normalisation.zero_point) * steps).all()
    assert steps * inner.scale == pytest.approx(normalisation.scale, rel=1e-6)
    assert np.abs(got.astype(np.int64)).max() > 32000


def test_the_ops_that_take_raw_pixels_in_are_edges_in_every_recipe(small_float, pictures):
    for recipe in RECIPES.values():
        facts = survey(deployed(small_float, recipe, PIXELS, pictures))
        assert facts[0].edge, recipe.name
        conversions = [op for op in facts if op.kind in ("QUANTIZE", "CAST") and not op.edge]
        assert conversions == [], recipe.name


def scale_counts(content):
    graph = Graph.read(content)
    weights = [op.inputs[1] for op in graph.ops() if "CONV" in op.name]
    return [len(graph.tensor(index).quantization.scale) for index in weights]


def test_per_tensor_means_one_scale_for_each_weight_tensor(small_float, pictures):
    assert set(scale_counts(deployed(small_float, RECIPES["static_int8_per_tensor"], PIXELS, pictures))) == {1}
    assert set(scale_counts(deployed(small_float, RECIPES["static_int8"], PIXELS, pictures))) == {8, 24}


def test_int4_weights_are_stored_in_4_bits_but_for_small_and_depthwise_ones(small_float, pictures):
    graph = Graph.read(deployed(small_float, RECIPES["weight_int4"], PIXELS, pictures))
    found = {op.name: graph.tensor(op.inputs[1]).type for op in graph.ops() if "CONV" in op.name}
    int4, int8 = 17, 9  # TensorType in the TFLite schema
    assert found == {"CONV_2D": int4, "DEPTHWISE_CONV_2D": int8}


@pytest.mark.parametrize("name", ["static_int16x8", "weight_int4", "dynamic_int8"])
def test_the_best_weights_are_nearer_to_the_floats_than_either_kind_of_range(name, small_float, pictures):
    wanted = features(carry_out(small_float, RECIPES["float32"], PIXELS), pictures)
    errors = {}
    for kind in WEIGHT_RANGES:
        content = deployed(small_float, changed(name, weight_ranges=kind), PIXELS, pictures)
        errors[kind] = float(((features(content, pictures) - wanted) ** 2).sum())
    assert errors["best"] < 0.8 * min(errors["min_max"], errors["mse"])


@pytest.mark.parametrize("per_tensor", [False, True])
def test_rounding_together_leaves_the_quantizer_nothing_to_round(per_tensor, small_float, pictures):
    from edgetransfer.quantize.litert_moments import moments
    from edgetransfer.quantize.litert_ops import numbers_of_ops
    from edgetransfer.quantize.litert_weights import round_together

    name = "static_int8_per_tensor" if per_tensor else "static_int8"
    graph = Graph.read(small_float)
    numbers = numbers_of_ops(graph, RECIPES[name])
    seen = moments(small_float, PIXELS.to_real(pictures[:8]))
    for searched in (False, True):
        rounded = round_together(small_float, numbers, seen, per_tensor=per_tensor, searched=searched)
        plain = changed(name, weight_ranges="min_max")
        ranges = calibrate(small_float, pictures[:8], PIXELS)
        content = Graph.read(carry_out(rounded, plain, PIXELS, ranges))
        planned = Graph.read(rounded)
        pairs = zip(
            [op for op in planned.ops() if "CONV" in op.name],
            [op for op in content.ops() if "CONV" in op.name],
            strict=True,
        )
        for before, after in pairs:
            real = planned.constant(before.inputs[1])
            stored = content.constant(after.inputs[1]).astype(np.float64)
            scale = np.array(content.tensor(after.inputs[1]).quantization.scale)
            shape = (1, 1, 1, -1) if before.name == "DEPTHWISE_CONV_2D" else (-1, 1, 1, 1)
            np.testing.assert_allclose(stored * scale.reshape(shape), real, atol=float(scale.max()) * 0.01)


def kinds_of(content):
    return {op.name: (op.kind, op.computes) for op in survey(content)}


def test_an_override_keeps_ops_in_floats_and_no_others(small_float, pictures):
    name = op_name(small_float, "DEPTHWISE_CONV_2D")
    recipe = changed("static_int8", overrides=(Override("depthwise", "float32", "float32"),))
    facts = survey(deployed(small_float, recipe, PIXELS, pictures))
    floats = [op for op in facts if op.computes == "float32" and op.macs]
    assert [(op.kind, op.name) for op in floats] == [("DEPTHWISE_CONV_2D", name)]
    assert {op.computes for op in facts if op.macs and op.name != name} == {"int8"}


def test_of_overrides_that_match_the_last_one_holds(small_float, pictures):
    everything, back = Override(".", "float32", "float32"), Override("^small.*project", "int8", "int8")
    facts = survey(deployed(small_float, changed("static_int8", overrides=(everything, back)), PIXELS, pictures))
    assert [op.computes for op in facts if op.kind == "CONV_2D"] == ["float32", "int8", "float32"]
    turned = changed("static_int8", overrides=(back, everything))
    facts = survey(deployed(small_float, turned, PIXELS, pictures))
    assert {op.computes for op in facts if op.macs} == {"float32"}


@pytest.mark.parametrize(
    ("weights", "activations"),
    [("int8", "int16"), ("int4", "int8"), ("int8", "dynamic"), ("float16", "float32"), ("int8", "float32")],
)
def test_every_kind_of_numbers_can_stand_amid_int8(weights, activations, small_keras, small_float, pictures):
    for kind in ("stem", "project", "last", "pool"):
        if kind == "pool" and activations != "int16":
            continue
        pattern = kind if kind != "pool" else re.escape(op_name(small_float, "MEAN"))
        recipe = changed("static_int8", overrides=(Override(pattern, weights, activations),))
        content = deployed(small_float, recipe, PIXELS, pictures)
        got = features(content, pictures[40:])
        assert mean_cosine(got, keras_features(small_keras, pictures[40:], PIXELS)) > 0.97, kind
        computed = [op.computes for op in survey(content) if op.macs]
        other = "int16" if activations == "int16" else "int8" if activations == "int8" else "float32"
        assert other in computed


def test_an_override_that_matches_nothing_is_refused_with_names_to_choose_from(small_float):
    recipe = changed("static_int8", weight_ranges="min_max", overrides=(Override("blok3", "float32", "float32"),))
    with pytest.raises(RecipeError, match=r"no op matches 'blok3'; ops are called such as 'small.*stem"):
        carry_out(small_float, recipe, PIXELS, {})


def test_what_no_kernel_computes_is_refused_with_the_reason(small_float):
    with pytest.raises(RecipeError, match=r"'mine' cannot be carried out for LiteRT: .* not uint8"):
        carry_out(small_float, changed("static_int8", activations="uint8"), PIXELS, {})


def test_a_network_that_does_not_bear_the_recipe_is_refused(small_float, pictures, monkeypatch):
    monkeypatch.setattr("edgetransfer.quantize.carry_out.LEAST_COSINE", 0.9999)
    with pytest.raises(RecipeError, match=r"does not bear it: .* mean cosine of 0\.99\d to .* at least 0\.9999"):
        deployed(small_float, RECIPES["weight_int4"], PIXELS, pictures)


@pytest.mark.parametrize("factor", [0.0, 1e-9, -1e-7], ids=str)
@pytest.mark.parametrize("value", [2.5, 5.0])
@pytest.mark.parametrize("name", ["static_int8", "static_int16x8"])
def test_a_channel_with_weights_that_are_nothing_beside_its_bias_keeps_the_bias(
    name, factor, value, small_float, pictures
):
    graph = Graph.read(small_float)
    convolution = [op for op in graph.ops() if op.name == "CONV_2D"][-1]
    weights, bias = graph.constant(convolution.inputs[1]).copy(), graph.constant(convolution.inputs[2]).copy()
    weights[5], bias[5] = factor * weights[5], value
    graph.set_constant(convolution.inputs[1], weights)
    graph.set_constant(convolution.inputs[2], bias)
    got = features(deployed(graph.to_bytes(), RECIPES[name], PIXELS, pictures), pictures)
    assert np.abs(got[:, 5] - value).max() < 0.05


def test_a_depthwise_channel_without_weights_keeps_its_bias(small_float, pictures):
    graph = Graph.read(small_float)
    depthwise = next(op for op in graph.ops() if op.name == "DEPTHWISE_CONV_2D")
    weights, bias = graph.constant(depthwise.inputs[1]).copy(), graph.constant(depthwise.inputs[2]).copy()
    weights[..., 2], bias[2] = 1e-8, 3.0
    graph.set_constant(depthwise.inputs[1], weights)
    graph.set_constant(depthwise.inputs[2], bias)
    changed = graph.to_bytes()
    floats = features(carry_out(changed, RECIPES["float32"], PIXELS), pictures)
    ints = features(deployed(changed, RECIPES["static_int8"], PIXELS, pictures), pictures)
    cosine = (floats * ints).sum(axis=1) / (np.linalg.norm(floats, axis=1) * np.linalg.norm(ints, axis=1))
    assert cosine.mean() > 0.98


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_carrying_out_a_recipe_is_repeatable(name, small_float, pictures):
    once = deployed(small_float, RECIPES[name], PIXELS, pictures)
    assert once == deployed(small_float, RECIPES[name], PIXELS, pictures)


def test_what_a_recipe_needs_and_does_not_get_is_named(small_float, pictures):
    with pytest.raises(RecipeError, match="needs calibrated ranges"):
        carry_out(small_float, RECIPES["static_int8"], PIXELS)
    for name in ("static_int8", "dynamic_int8"):
        with pytest.raises(RecipeError, match="chosen on calibration images, got none"):
            carry_out(small_float, RECIPES[name], PIXELS, {})
