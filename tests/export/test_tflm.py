from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="there are wheels for Linux on x86-64 only")

from edgetransfer.errors import EngineError, ExportError, RecipeError
from edgetransfer.export import Card, get_exporter, tflm
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES, Override

PIXELS = Normalisation(1 / 128, 127)
CARD = Card("small", ("a", "b", "c"), "Apache-2.0", ImageInput(32, 32), scores=False)


@pytest.fixture(scope="module")
def deployed(small_float, pictures):
    ranges = tflm.calibrate(small_float, pictures, PIXELS)
    return tflm.carry_out(small_float, RECIPES["static_int8"], PIXELS, ranges, pictures)


@pytest.fixture(scope="module")
def features(deployed, pictures):
    engine = open_engine("tflm", deployed)
    return engine.output.to_real(np.concatenate([engine.run(one[None]) for one in pictures]))


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(5)
    return [Dense(rng.normal(0, 0.5, (24, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32), "linear")]


@pytest.fixture(scope="module")
def model(deployed, head, features):
    return tflm.finish(tflm.graft(deployed, head, features), CARD)


def test_the_format_is_found_by_its_name():
    assert get_exporter("tflm").ENGINE == "tflm"


def test_features_are_those_of_litert_reference_kernels_bit_for_bit(deployed, features, pictures):
    plain = open_engine("litert", deployed, kernels="reference")
    wanted = plain.output.to_real(np.concatenate([plain.run(one[None]) for one in pictures]))
    np.testing.assert_array_equal(features, wanted)
    assert len(np.unique(features)) > 20


def test_the_grafted_model_answers_as_the_float_head_and_is_proved_on_images(model, head, features, pictures):
    proof = tflm.checked(model, pictures)
    assert proof.steps == 0
    engine = open_engine("tflm", model)
    got = engine.output.to_real(np.concatenate([engine.run(one[None]) for one in pictures]))
    step = tflm.step(model)
    assert step is not None
    assert np.abs(got - (features @ head[0].kernel + head[0].bias)).max() <= 2 * step


def test_a_model_that_strays_from_the_reference_kernels_is_refused(model, pictures, monkeypatch):
    monkeypatch.setattr(tflm, "MOST_STEPS", -1)
    with pytest.raises(ExportError, match="image 0: TensorFlow Lite Micro is 0 output steps from LiteRT"):
        tflm.checked(model, pictures[:2])


def test_the_arena_is_what_the_interpreter_needs(model, pictures):
    arena_bytes = tflm.checked(model, pictures[:1]).arena_bytes
    assert arena_bytes > 32 * 32 * 3
    assert _loads(model, arena_bytes)
    assert not _loads(model, arena_bytes * 9 // 10)


def _loads(model: bytes, arena_bytes: int) -> bool:
    # In a process of its own: a small arena can crash the interpreter.
    code = (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from tflite_micro import runtime; "
        "runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[2])).invoke()"
    )
    command = [sys.executable, "-c", code, json.dumps(sys.path), str(arena_bytes)]
    return subprocess.run(command, input=model, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_int8_throughout_and_the_float_yardstick_are_carried_out_and_everything_else_is_refused(
    name, small_float, pictures
):
    ranges = tflm.calibrate(small_float, pictures[:8], PIXELS)
    recipe = RECIPES[name]
    if (recipe.weights, recipe.activations) in (("int8", "int8"), ("float32", "float32")):
        deployed = tflm.carry_out(small_float, recipe, PIXELS, ranges, pictures[:8])
        engine = open_engine("tflm", deployed)
        assert (engine.input.dtype, engine.output.dtype) == ("uint8", recipe.output_dtype)
    else:
        with pytest.raises(RecipeError, match=rf"{name}.*int8 weights and int8 activations; take static_int8"):
            tflm.carry_out(small_float, recipe, PIXELS, ranges, pictures[:8])


def test_an_op_kept_at_higher_precision_is_refused(small_float):
    recipe = dataclasses.replace(RECIPES["static_int8"], overrides=(Override("stem", "int8", "int16"),))
    with pytest.raises(RecipeError, match="cannot be carried out for microcontrollers"):
        tflm.carry_out(small_float, recipe, PIXELS, {})


def test_an_op_that_micro_does_not_have_is_named(deployed, pictures):
    graph = Graph.read(deployed)
    code = next(one for one in graph.model.operatorCodes if one.builtinCode == 0)  # ADD
    code.builtinCode = code.deprecatedBuiltinCode = 13  # LOCAL_RESPONSE_NORMALIZATION
    for run in (
        lambda: tflm.checked(graph.to_bytes(), pictures),
        lambda: tflm.extra_files(graph.to_bytes(), CARD.name),
    ):
        with pytest.raises(ExportError, match="Didn't find op for builtin opcode 'LOCAL_RESPONSE_NORMALIZATION'"):
            run()


def test_a_missing_package_is_not_blamed_on_the_model(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    monkeypatch.delitem(sys.modules, "edgetransfer.runtime.engines.tflm", raising=False)
    with pytest.raises(EngineError, match=r"pip install 'edgetransfer\[tflm\]'"):
        tflm.extra_files(model, CARD.name)


def test_scores_in_the_graph_are_refused(deployed, head, features):
    with pytest.raises(RecipeError, match="scores in the graph are floats"):
        tflm.graft(deployed, head, features, scores=True)


def test_the_extra_files_are_the_same_every_time_and_know_the_model_s_labels(model):
    files = tflm.extra_files(model, "small", temperature=1.5)
    assert files == tflm.extra_files(model, "small", temperature=1.5)
    assert sorted(files) == ["model.cc", "model.h"]
    header = files["model.h"].decode()
    for told in ('"a",', '"b",', '"c",', "namespace small_model", "kTemperature = 1.5f", f"kModelBytes = {len(model)}"):
        assert told in header
