from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="there are wheels for Linux on x86-64 only")

from edgetransfer.errors import EngineError, InputError
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.engines import tflm as engine_file
from edgetransfer.spec.tensor import Quantization


@pytest.fixture(scope="module")
def content(tiny_bundle):
    return tiny_bundle.model_content()


@pytest.fixture(scope="module")
def engine(content):
    return open_engine("tflm", content)


def test_it_describes_itself_and_the_ends_of_the_model(engine):
    assert (engine.name, engine.kernels) == ("tflm", "reference")
    assert engine.version.startswith("0.dev")
    assert (engine.input.name, engine.input.shape, engine.input.dtype) == ("pixels", (1, 16, 16, 3), "uint8")
    assert (engine.output.name, engine.output.shape, engine.output.dtype) == ("logits", (1, 3), "int8")
    assert engine.output.quantization == Quantization(0.0625, -3)


def test_outputs_are_those_of_litert_reference_kernels(engine, content):
    plain = open_engine("litert", content, kernels="reference")
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.integers(0, 256, (1, 16, 16, 3), np.uint8)
        np.testing.assert_array_equal(engine.run(x), plain.run(x))


def test_both_names_of_kernels_and_a_file_give_the_same_outputs(engine, content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(open_engine("tflm", path, kernels="reference").run(x), engine.run(x))


def test_an_output_is_a_new_array(engine):
    x = np.zeros((1, 16, 16, 3), np.uint8)
    first = engine.run(x)
    kept = first.copy()
    engine.run(x + 200)
    np.testing.assert_array_equal(first, kept)


def test_it_says_nothing_on_the_process_s_own_streams(content, tiny_bundle, capfd):
    open_engine("tflm", content).run(np.zeros((1, 16, 16, 3), np.uint8))
    with pytest.raises(EngineError):
        open_engine("tflm", tiny_bundle.model_content(custom_op="MyOp"))
    assert capfd.readouterr() == ("", "")


def test_more_than_one_thread_is_refused(content):
    with pytest.raises(InputError, match="expected 1 thread, for TensorFlow Lite Micro has no more; got 2"):
        open_engine("tflm", content, threads=2)


@pytest.mark.parametrize(
    "x",
    [np.zeros((16, 16, 3), np.uint8), np.zeros((1, 16, 16, 4), np.uint8), np.zeros((1, 16, 16, 3), np.int8)],
    ids=["rank", "channels", "dtype"],
)
def test_an_input_of_another_shape_or_dtype_is_refused(engine, x):
    with pytest.raises(EngineError, match="engine 'tflm': Cannot set tensor"):
        engine.run(x)


def test_an_op_that_it_lacks_is_named(tiny_bundle):
    with pytest.raises(EngineError, match="Didn't find op for builtin opcode 'LOCAL_RESPONSE_NORMALIZATION'"):
        open_engine("tflm", tiny_bundle.model_content(op=13))


def test_an_op_that_it_has_for_other_inputs_only_is_named(tiny_bundle):
    with pytest.raises(EngineError, match="Node TANH"):
        open_engine("tflm", tiny_bundle.model_content(op=28))


def test_a_custom_op_is_named(tiny_bundle):
    with pytest.raises(EngineError, match="custom ops: MyOp"):
        open_engine("tflm", tiny_bundle.model_content(custom_op="MyOp"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EngineError, match=r"none.tflite' cannot be read \(No such file or directory\)"):
        open_engine("tflm", tmp_path / "none.tflite")


@pytest.mark.parametrize("broken", [b"", b"TFL3", b"no model at all " * 50], ids=["empty", "short", "text"])
def test_what_is_no_model_is_refused(broken):
    with pytest.raises(EngineError, match="engine 'tflm': refuses model"):
        open_engine("tflm", broken)


def test_a_model_larger_than_any_microcontroller_is_refused(content):
    from ai_edge_litert import schema_py_generated as schema

    from edgetransfer.quantize.flatbuffer import Graph

    graph = Graph.read(content)
    graph.tensor(graph.input).shape = [1, 100_000, 100_000, 3]
    assert graph.tensor(graph.input).type == schema.TensorType.UINT8
    with pytest.raises(EngineError, match="more than any microcontroller holds"):
        open_engine("tflm", graph.to_bytes())


def test_a_model_that_takes_too_long_is_refused(content, monkeypatch):
    monkeypatch.setattr(engine_file, "_CHILD_SECONDS", 0.001)
    with pytest.raises(EngineError, match=r"more than 0\.001 s for one image"):
        open_engine("tflm", content)


@pytest.mark.slow
def test_damaged_models_are_refused_or_run_but_never_end_the_process(content):
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(25):
        damaged = bytearray(content)
        for position in rng.integers(8, len(damaged), 6):
            damaged[position] = int(rng.integers(256))
        try:
            open_engine("tflm", bytes(damaged)).close()
        except EngineError:
            refused += 1
    assert refused > 5
