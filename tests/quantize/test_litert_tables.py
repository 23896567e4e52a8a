"""Tables of vectors in a `.tflite`: looked up instead of gathered, stored in int8 with a scale a row."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetransfer.errors import RecipeError
from edgetransfer.quantize.plan import make_plan
from edgetransfer.quantize.support import why_not_of_kind
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Recipe

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.export.litert import calibrate, carry_out, convert  # noqa: E402
from edgetransfer.quantize.flatbuffer import Graph  # noqa: E402
from edgetransfer.quantize.litert_tables import look_up  # noqa: E402
from edgetransfer.runtime.engines import open_engine  # noqa: E402

PIXELS = Normalisation(1.0, 0)
TOKENS, WORDS = 12, 50


@pytest.fixture(scope="module")
def sentences_model() -> Any:
    """A small network of sentences: vectors without padding, a dense layer and their mean; rows of very unlike size."""
    keras.utils.set_random_seed(5)
    ids = keras.Input((TOKENS,), dtype="int32", name="tokens")
    mask = keras.ops.expand_dims(keras.ops.cast(keras.ops.not_equal(ids, 0), "float32"), -1)
    x = keras.layers.Embedding(WORDS, 16, name="words")(ids)
    x = keras.layers.Dense(16, activation="relu", name="dense")(x)
    mean = keras.ops.sum(x * mask, axis=1) / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)
    model = keras.Model(ids, keras.layers.Dense(8, name="features")(mean), name="sentences")
    rows = np.random.default_rng(4).normal(size=(WORDS, 16)) * np.geomspace(0.01, 10, WORDS)[:, None]
    model.get_layer("words").set_weights([rows.astype(np.float32)])
    return model


@pytest.fixture(scope="module")
def float_graph(sentences_model: Any) -> bytes:
    return convert(sentences_model)


@pytest.fixture(scope="module")
def ids() -> NDArray[np.int32]:
    found = np.random.default_rng(6).integers(1, WORDS, (40, TOKENS)).astype(np.int32)
    found[::2, 7:] = 0
    return found


def outputs(content: bytes, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    engine = open_engine("litert", content)
    return np.concatenate([engine.run(one[None]) for one in ids])


def carried_out(float_graph: bytes, recipe: Recipe, ids: NDArray[np.int32]) -> bytes:
    ranges = calibrate(float_graph, ids, PIXELS) if recipe.needs_calibration else None
    return carry_out(float_graph, recipe, PIXELS, ranges, ids if recipe.needs_calibration else None)


def table(content: bytes) -> Any:
    graph = Graph.read(content)
    (lookup,) = (op for op in graph.ops() if op.name == "EMBEDDING_LOOKUP")
    return graph, lookup.inputs[1]


def test_the_float_graph_looks_up_and_gives_what_keras_gives(sentences_model, float_graph, ids):
    names = [op.name for op in Graph.read(float_graph).ops()]
    assert "GATHER" not in names
    assert not {"LESS", "SELECT", "SELECT_V2"} & set(names)
    assert np.abs(outputs(float_graph, ids) - np.asarray(sentences_model(ids))).max() < 1e-4


def test_a_graph_without_a_table_is_left_as_it_is(small_float):
    assert look_up(small_float) is small_float


@pytest.mark.parametrize("name", ["float32", "float16", "dynamic_int8"])
def test_recipes_leave_the_ids_what_they_are_and_features_near(float_graph, ids, name):
    content = carried_out(float_graph, RECIPES[name], ids)
    engine = open_engine("litert", content)
    assert (engine.input.name, engine.input.dtype, engine.input.shape) == ("tokens", "int32", (1, TOKENS))
    wanted, got = outputs(float_graph, ids), outputs(content, ids)
    cosine = (wanted * got).sum(axis=1) / np.linalg.norm(wanted, axis=1) / np.linalg.norm(got, axis=1)
    assert cosine.min() > {"float32": 0.999999, "float16": 0.99999, "dynamic_int8": 0.999}[name]


def test_dynamic_int8_stores_each_row_of_the_table_with_its_own_scale(float_graph, ids, sentences_model):
    graph, index = table(carried_out(float_graph, RECIPES["dynamic_int8"], ids))
    assert graph.dtype(index) == "int8"
    rows = np.asarray(sentences_model.get_layer("words").embeddings)
    scales = np.asarray(graph.tensor(index).quantization.scale)
    assert np.allclose(scales, np.abs(rows).max(axis=1) / 127, rtol=1e-5)
    assert np.abs(graph.constant(index) * scales[:, None] - rows).max(axis=1).max() <= scales.max() / 2 * 1.001


def test_a_table_with_a_scale_a_row_asks_for_a_runtime_that_knows_them(float_graph, ids):
    graph, _ = table(carried_out(float_graph, RECIPES["dynamic_int8"], ids))
    assert [code.version for code in graph.model.operatorCodes if graph_name(code) == "EMBEDDING_LOOKUP"] == [4]
    graph, _ = table(float_graph)
    assert [code.version for code in graph.model.operatorCodes if graph_name(code) == "EMBEDDING_LOOKUP"] == [1]


def graph_name(code: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    return "EMBEDDING_LOOKUP" if code.builtinCode == schema.BuiltinOperator.EMBEDDING_LOOKUP else ""


def test_the_largest_and_the_smallest_id_are_looked_up(float_graph, sentences_model):
    ends = np.full((1, TOKENS), WORDS - 1, np.int32)
    ends[0, 0] = 1
    assert np.abs(outputs(float_graph, ends) - np.asarray(sentences_model(ends))).max() < 1e-4


@pytest.mark.parametrize("name", ["static_int8", "static_int8_per_tensor", "static_int16x8"])
def test_static_recipes_are_refused_for_sentences_with_the_reason(float_graph, ids, name):
    with pytest.raises(RecipeError, match=r"fixed ranges of activations are not for sentences.*take dynamic_int8"):
        carry_out(float_graph, RECIPES[name], PIXELS, {}, ids)


def test_a_plan_for_sentences_takes_no_static_recipe(tmp_path):
    from edgetransfer.models import backbones

    spec = backbones.get_spec("wordllama")
    assert not make_plan(spec).recipe.is_static
    with pytest.raises(RecipeError, match="fixed ranges of activations are not for sentences"):
        make_plan(spec, RECIPES["static_int8"])
    with pytest.raises(RecipeError, match="written to ONNX in floats only"):
        make_plan(spec, RECIPES["dynamic_int8"], format="onnx")


def test_photos_are_refused_nothing_because_of_their_kind():
    assert all(why_not_of_kind("image", format, recipe) is None for format in ("litert", "onnx", "tflm")
               for recipe in RECIPES.values())  # fmt: skip


def test_the_metadata_of_a_model_of_sentences_speaks_of_no_image(float_graph, ids, small_float):
    from edgetransfer.export._litert_metadata import add_metadata

    def told(model: bytes) -> bytes:
        graph = Graph.read(add_metadata(model, name="x", labels=("a", "b"), licence="MIT"))
        (entry,) = (one for one in graph.model.metadata if one.name == b"TFLITE_METADATA")
        return bytes(graph.model.buffers[entry.buffer].data)

    assert b"tokens" in told(carried_out(float_graph, RECIPES["float32"], ids))
    assert b"image" not in told(carried_out(float_graph, RECIPES["float32"], ids))
    assert b"image" in told(carry_out(small_float, RECIPES["float32"], Normalisation(1 / 128, 127)))


def test_onnx_takes_ids_too(sentences_model, ids):
    from edgetransfer.export import onnx as exporter

    graph = exporter.convert(sentences_model)
    for name, most in (("float32", 1e-4), ("float16", 5e-2)):
        engine = open_engine("onnx", exporter.carry_out(graph, RECIPES[name], PIXELS))
        assert (engine.input.name, engine.input.dtype) == ("tokens", "int32")
        got = np.concatenate([engine.run(one[None]) for one in ids])
        assert np.abs(got - np.asarray(sentences_model(ids))).max() < most
    plain = dataclasses.replace(RECIPES["static_int8"], weight_ranges="min_max")
    with pytest.raises(RecipeError, match="fixed ranges"):
        exporter.carry_out(graph, plain, PIXELS, {}, ids)
