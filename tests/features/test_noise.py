from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.export import get_exporter
from edgetransfer.features.cost import kept_cost
from edgetransfer.features.deploy import Calibration, FloatBackbone
from edgetransfer.features.noise import keep_in_floats, rank_ops
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Override

PIXELS = Normalisation(1 / 128, 127)


@pytest.fixture(scope="module", params=["litert", "onnx"])
def backbone(request, small_keras):
    graph = get_exporter(request.param).convert(small_keras)
    return FloatBackbone(request.param, graph, {}, PIXELS, 32, 32)


@pytest.fixture(scope="module")
def given(backbone, pictures):
    return Calibration(pictures, get_exporter(backbone.format).calibrate(backbone.graph, pictures, PIXELS))


def recipe_for(backbone):
    recipe = RECIPES["static_int8"]
    return replace(recipe, activations="uint8") if backbone.format == "onnx" else recipe


def test_every_op_that_computes_is_ranked_the_noisiest_first(backbone, given):
    steps = []
    ranked = rank_ops(backbone, recipe_for(backbone), given, progress=lambda done, total: steps.append((done, total)))
    noises = [op.noise for op in ranked]
    assert noises == sorted(noises, reverse=True)
    assert noises[0] > 0
    assert len({op.name for op in ranked}) == len(ranked) >= 4  # three convolutions and a depthwise one at least
    assert steps[-1] == (len(ranked), len(ranked))


def test_ops_that_are_kept_already_are_not_ranked_again(backbone, given):
    first = rank_ops(backbone, recipe_for(backbone), given)[0]
    kept = keep_in_floats(recipe_for(backbone), (first.name,))
    assert kept.overrides[-1].activations == "float32"
    assert first.name not in {op.name for op in rank_ops(backbone, kept, given)}


def test_keeping_every_op_in_floats_gives_the_float_features(backbone, given):
    exporter = get_exporter(backbone.format)
    from edgetransfer.runtime.engines import open_engine

    everything = replace(recipe_for(backbone), overrides=(Override(".", "float32", "float32"),))
    pair = []
    for recipe in (everything, RECIPES["float32"]):
        graph = exporter.carry_out(backbone.graph, recipe, PIXELS, given.ranges, given.images)
        engine = open_engine(exporter.ENGINE, graph)
        pair.append(np.concatenate([engine.output.to_real(engine.run(one[None])) for one in given.images[:5]]))
        engine.close()
    np.testing.assert_allclose(pair[0], pair[1], atol=1e-5)


def test_what_kept_ops_cost_is_told_in_bytes_and_milliseconds(backbone, given):
    exporter = get_exporter(backbone.format)
    graphs = [
        exporter.carry_out(backbone.graph, recipe, PIXELS, given.ranges, given.images)
        for recipe in (recipe_for(backbone), RECIPES["float32"])
    ]
    cost = kept_cost(*graphs, exporter.ENGINE)
    assert (cost.plain_bytes, cost.kept_bytes) == (len(graphs[0]), len(graphs[1]))
    assert min(cost.plain_ms, cost.kept_ms) > 0
    assert "bytes and" in cost.as_text()
    assert cost.to_json()["plain_bytes"] == cost.plain_bytes
