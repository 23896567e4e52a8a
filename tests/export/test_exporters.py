"""What every format promises to the layers above it, shown on a small network: the contract of `Exporter`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer import registry
from edgetransfer.errors import UnknownNameError
from edgetransfer.export import Card, get_exporter
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.manifest import FORMATS
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES

PIXELS = Normalisation(1 / 128, 127)
LABELS = ("rouge", "grün", "蓝")


@pytest.fixture(scope="module", params=FORMATS)
def made(request, small_keras, pictures):
    """(exporter, recipe, float graph, deployed graph, features of the pictures as real numbers)"""
    exporter = get_exporter(request.param)
    recipe = replace(RECIPES["static_int8"], activations="uint8" if request.param == "onnx" else "int8")
    floats = exporter.convert(small_keras)
    ranges = exporter.calibrate(floats, pictures, PIXELS)
    deployed = exporter.carry_out(floats, recipe, PIXELS, ranges, pictures)
    return exporter, recipe, floats, deployed, run(exporter, deployed, pictures)


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(0)
    first = Dense(rng.normal(size=(24, 16)).astype(np.float32), rng.normal(size=16).astype(np.float32), "relu")
    return first, Dense(rng.normal(size=(16, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32))


def run(exporter, model, images):
    engine = open_engine(exporter.ENGINE, model)
    rows = np.concatenate([engine.output.to_real(engine.run(image[None])) for image in images])
    engine.close()
    return rows


def test_the_files_of_the_folder_are_the_formats():
    assert set(registry.names("edgetransfer.export")) == set(FORMATS) == set(ENGINE_OF_FORMAT)
    with pytest.raises(UnknownNameError, match="did you mean 'onnx'"):
        get_exporter("onxx")


def test_raw_pixels_go_in_and_features_near_keras_own_come_out(made, small_keras, pictures):
    exporter, _, _, deployed, features = made
    engine = open_engine(exporter.ENGINE, deployed)
    assert (engine.input.shape, engine.input.dtype, engine.output.shape) == ((1, 32, 32, 3), "uint8", (1, 24))
    assert engine.name == exporter.ENGINE
    engine.close()
    wanted = np.asarray(small_keras((pictures.astype(np.float32) - 127) / 128))
    cosine = (features * wanted).sum(axis=1) / np.linalg.norm(features, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosine.mean() > 0.985


def test_equal_arguments_give_equal_bytes(made, small_keras, pictures):
    exporter, recipe, floats, deployed, _ = made
    again = exporter.convert(small_keras)
    assert again == floats
    assert exporter.carry_out(again, recipe, PIXELS, exporter.calibrate(again, pictures, PIXELS), pictures) == deployed


def test_a_grafted_head_is_within_two_steps_of_the_float_head(made, head, pictures):
    exporter, _, _, deployed, features = made
    model = exporter.graft(deployed, head, features)
    step = exporter.step(model)
    assert step is not None
    distance = np.abs(run(exporter, model, pictures) - apply_head(head, features)) / step
    assert distance.max() <= 2.001


def test_the_head_alone_computes_what_it_does_on_top_of_the_backbone(made, head, pictures):
    exporter, _, _, deployed, features = made
    model = exporter.graft(deployed, head, features)
    alone = open_engine(exporter.ENGINE, exporter.head_alone(deployed, model))
    given = alone.input.quantization
    stored = features if given is None else given.quantize(features, alone.input.dtype)
    got = np.concatenate([alone.output.to_real(alone.run(row[None])) for row in stored])
    np.testing.assert_array_equal(got, run(exporter, model, pictures))
    alone.close()


def test_labels_of_any_script_come_back_in_their_order_and_the_outputs_stay(made, head, pictures):
    exporter, _, _, deployed, features = made
    model = exporter.graft(deployed, head, features)
    card = Card("three colours", LABELS, "Apache-2.0", ImageInput(32, 32), scores=False)
    finished = exporter.finish(model, card)
    assert tuple(exporter.labels(finished)) == LABELS
    assert exporter.finish(model, card) == finished
    np.testing.assert_array_equal(run(exporter, finished, pictures[:5]), run(exporter, model, pictures[:5]))


def test_the_survey_finds_integers_throughout_and_counts_the_work(made, head):
    exporter, _, floats, deployed, features = made
    ops = exporter.survey(exporter.graft(deployed, head, features))
    islands = [op.kind for op in ops if op.computes == "float32" and op.macs and not op.edge]
    assert islands == []
    assert all(op.builtin for op in ops)
    plain = exporter.carry_out(floats, RECIPES["float32"], PIXELS)
    convolutions = 256 * (8 * 27 + 8 * 9 + 8 * 8 + 24 * 8)  # stem, depthwise, project, last on 16 x 16 places
    for graph in (deployed, plain):
        assert sum(op.macs for op in exporter.survey(graph) if "conv" in op.kind.lower()) == convolutions


def test_costs_are_those_of_the_graph_in_every_precision(made, head):
    exporter, _, floats, deployed, features = made
    plain = exporter.carry_out(floats, RECIPES["float32"], PIXELS)
    for graph, precision in ((exporter.graft(deployed, head, features), "int8"), (plain, "float32")):
        ops = exporter.costs(graph)
        work = [op for op in ops if op.kind in ("conv", "depthwise") and op.written >= 256]
        assert [(op.kind, op.macs, op.weights, op.taps, op.stride) for op in work] == [
            ("conv", 256 * 8 * 27, 8 * 27, 9, 2),
            ("depthwise", 256 * 8 * 9, 8 * 9, 9, 1),
            ("conv", 256 * 8 * 8, 8 * 8, 1, 1),
            ("conv", 256 * 24 * 8, 24 * 8, 1, 1),
        ]
        assert {op.precision for op in work} == {precision}
        assert [(op.channels_in, op.channels_out) for op in work] == [(3, 8), (8, 8), (8, 8), (8, 24)]
        assert [op.read for op in ops if op.kind == "reduce"] == [256 * 24]
