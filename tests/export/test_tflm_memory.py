from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="there are wheels for Linux on x86-64 only")

from edgetransfer.estimate.memory import TFLM, Buffer, arena_bytes
from edgetransfer.export import _tflm_memory, tflm
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES

PIXELS = Normalisation(1 / 128, 127)


@pytest.fixture(scope="module", params=["float32", "static_int8", "static_int8_per_tensor"])
def deployed(request, small_float, pictures):
    ranges = tflm.calibrate(small_float, pictures, PIXELS)
    return tflm.carry_out(small_float, RECIPES[request.param], PIXELS, ranges, pictures[:8])


def test_the_arena_is_predicted_to_the_byte(deployed):
    assert tflm.predicted_arena_bytes(deployed) == tflm.arena_bytes(deployed)


@pytest.mark.parametrize("hidden", [0, 7])
def test_the_arena_of_a_model_with_a_head_is_predicted_to_the_byte(small_float, pictures, hidden):
    ranges = tflm.calibrate(small_float, pictures, PIXELS)
    deployed = tflm.carry_out(small_float, RECIPES["static_int8"], PIXELS, ranges, pictures[:8])
    rng = np.random.default_rng(5)
    sizes = [24, *([hidden] if hidden else []), 3]
    head = [
        Dense(rng.normal(0, 0.5, pair).astype(np.float32), np.zeros(pair[1], np.float32), activation)
        for pair, activation in zip(pairwise(sizes), ("relu", "linear")[3 - len(sizes) :], strict=True)
    ]
    model = tflm.graft(deployed, head, rng.normal(size=(20, 24)).astype(np.float32))
    assert tflm.predicted_arena_bytes(model) == tflm.arena_bytes(model)


def test_a_mean_asks_for_scratch_memory_while_it_runs(small_float, pictures):
    ranges = tflm.calibrate(small_float, pictures, PIXELS)
    for recipe, wanted in (("float32", [16, 8]), ("static_int8", [24 * 4, 16, 8])):
        model = tflm.carry_out(small_float, RECIPES[recipe], PIXELS, ranges, pictures[:8])
        last = len(Graph.read(model).ops())
        assert _tflm_memory.buffers(model)[-len(wanted) :] == tuple(Buffer(size, last, last) for size in wanted)


def test_an_op_whose_kernel_is_not_known_gives_no_figure(deployed):
    graph = Graph.read(deployed)
    code = next(one for one in graph.model.operatorCodes if one.builtinCode == 0)  # ADD
    code.builtinCode = code.deprecatedBuiltinCode = 13  # LOCAL_RESPONSE_NORMALIZATION
    assert tflm.predicted_arena_bytes(graph.to_bytes()) is None


@pytest.mark.slow
def test_real_networks_take_the_predicted_arena(shared):
    for name in ("kws_ref_model", "vww_96_int8", "pretrainedResnet_quant"):
        model = (shared / "data" / "backbones" / "mlperf-tiny" / f"{name}.tflite").read_bytes()
        told = tflm.predicted_arena_bytes(model)
        assert told == tflm.arena_bytes(model), name
        assert arena_bytes(_tflm_memory.buffers(model), TFLM) < (told or 0)
