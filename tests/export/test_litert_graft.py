from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgetransfer.errors import ExportError
from edgetransfer.export._litert_graft import graft
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES

NORMALISATION = Normalisation(1 / 128, 127)


def head_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        kernel = rng.normal(0, 1 / np.sqrt(wide), (wide, narrow)).astype(np.float32)
        last = number == len(sizes) - 2
        layers.append(Dense(kernel, rng.normal(0, 0.1, narrow).astype(np.float32), "linear" if last else "relu"))
    return tuple(layers)


@pytest.fixture(scope="module")
def deployed(small_float, pictures):
    ranges = calibrate(small_float, pictures, NORMALISATION)
    return {name: carry_out(small_float, recipe, NORMALISATION, ranges, pictures) for name, recipe in RECIPES.items()}


def outputs(content, images):
    engine = open_engine("litert", content)
    return np.concatenate([engine.run(image[None]) for image in images]), engine.output


@pytest.mark.parametrize("sizes", [(24, 3), (24, 16, 5), (24, 128, 2)], ids=str)
def test_int8_logits_are_within_two_steps_of_the_float_head_on_the_same_features(sizes, deployed, pictures):
    stored, spec = outputs(deployed["static_int8"], pictures)
    features, head = spec.to_real(stored), head_of(sizes)
    stored, spec = outputs(graft(deployed["static_int8"], head, features), pictures)
    wanted = apply_head(head, features)
    steps = np.abs(spec.to_real(stored) - wanted) / spec.quantization.scale
    assert steps.max() <= 2.001
    lost = wanted.max(axis=1) - wanted[np.arange(len(wanted)), stored.argmax(axis=1)]
    assert (lost <= 4 * spec.quantization.scale).all()  # another first answer only where the logits are a tie


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic_int8"])
def test_float_recipes_give_the_float_heads_logits(name, deployed, pictures):
    features, _ = outputs(deployed[name], pictures)
    head = head_of((24, 16, 4))
    logits, spec = outputs(graft(deployed[name], head, features), pictures)
    assert spec.dtype == "float32"
    np.testing.assert_allclose(logits, apply_head(head, features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_features_inside_the_grafted_graph_are_bit_equal_to_the_extractors(name, deployed, pictures):
    alone, spec = outputs(deployed[name], pictures)
    merged = graft(deployed[name], head_of((24, 7, 3)), spec.to_real(alone))
    inside = Graph.read(merged)
    backbone = Graph.read(deployed[name])
    inside.set_ends(input_index=inside.input, input_name="image", output_index=backbone.output, output_name="features")
    inside.subgraph.operators = inside.subgraph.operators[: len(backbone.ops())]
    assert np.array_equal(outputs(inside.to_bytes(), pictures)[0], alone)


def test_scores_in_the_graph_are_the_softmax_of_its_logits(deployed, pictures):
    stored, spec = outputs(deployed["static_int8"], pictures)
    head, features = head_of((24, 4)), spec.to_real(stored)
    logits, logit_spec = outputs(graft(deployed["static_int8"], head, features), pictures)
    scores, score_spec = outputs(graft(deployed["static_int8"], head, features, scores=True), pictures)
    assert score_spec.name == "scores"
    powers = np.exp(logit_spec.to_real(logits))
    np.testing.assert_allclose(scores, powers / powers.sum(axis=1, keepdims=True), atol=1e-5)


def test_a_head_for_other_features_is_refused(deployed):
    with pytest.raises(ExportError, match="the head takes 25 features, the backbone gives 24"):
        graft(deployed["static_int8"], head_of((25, 3)), np.zeros((2, 25), np.float32))


def test_grafting_is_repeatable(deployed):
    features = np.linspace(0, 1, 48, dtype=np.float32).reshape(2, 24)
    once = graft(deployed["static_int8"], head_of((24, 3)), features)
    assert once == graft(deployed["static_int8"], head_of((24, 3)), features)
