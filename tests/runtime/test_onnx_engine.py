from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import EngineError, InputError, UnknownNameError
from edgetransfer.runtime import engines
from edgetransfer.runtime.engines import open_engine

ort = pytest.importorskip("onnxruntime", reason="this engine is the extra 'onnx'")
onnx = pytest.importorskip("onnx", reason="test models are written with the package onnx, of the extra 'train'")
helper = pytest.importorskip("onnx.helper")

UINT8, FLOAT, INT8, DOUBLE = (
    onnx.TensorProto.UINT8,
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.INT8,
    onnx.TensorProto.DOUBLE,
)


def model_of(*nodes, ends=((UINT8, [1, 4]), (FLOAT, [1, 4])), constants=(), opset=17):
    given, made = ends
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Cast", ["image"], ["logits"], to=FLOAT)],
        "tiny",
        [helper.make_tensor_value_info("image", *given)],
        [helper.make_tensor_value_info("logits", *made)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()


def saturating_model(channels=64):
    """One int8 layer whose products overflow 16 bits, two by two, wherever they are added in 16 bits."""
    weights = np.full((1, channels), 127, np.int8)
    one, zero = np.array(1.0, np.float32), np.array(0, np.uint8)
    scales = [("one", one), ("zero", zero), ("zero8", np.array(0, np.int8)), ("big", np.array(1e5, np.float32))]
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "one", "zero"], ["real"]),
        helper.make_node("DequantizeLinear", ["stored", "one", "zero8"], ["weights"]),
        helper.make_node("Gemm", ["real", "weights"], ["sum"], transB=1),
        helper.make_node("QuantizeLinear", ["sum", "big", "zero"], ["steps"]),
        helper.make_node("DequantizeLinear", ["steps", "big", "zero"], ["logits"]),
    ]
    ends = ((UINT8, [1, channels]), (FLOAT, [1, 1]))
    return model_of(*nodes, ends=ends, constants=[("stored", weights), *scales])


def test_an_engine_describes_the_ends_of_the_model_and_runs_it():
    engine = open_engine("onnx", model_of())
    assert (engine.input.name, engine.input.shape, engine.input.dtype) == ("image", (1, 4), "uint8")
    assert (engine.output.shape, engine.output.dtype, engine.output.quantization) == ((1, 4), "float32", None)
    assert (engine.name, engine.version) == ("onnx", ort.__version__)
    x = np.array([[0, 1, 128, 255]], np.uint8)
    first = engine.run(x)
    np.testing.assert_array_equal(first, x.astype(np.float32))
    assert engine.run(x) is not first
    engine.close()


def test_kernels_are_named_by_provider_and_processor():
    import platform

    assert open_engine("onnx", model_of()).kernels == f"cpu-{platform.machine()}"
    assert open_engine("onnx", model_of(), providers=["cpu"]).kernels == f"cpu-{platform.machine()}"
    assert open_engine("onnx", model_of(), kernels="reference").kernels == "reference"


def test_a_file_and_its_content_are_the_same(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of())
    x = np.array([[3, 1, 4, 1]], np.uint8)
    np.testing.assert_array_equal(open_engine("onnx", path).run(x), open_engine("onnx", model_of()).run(x))


def test_a_batch_of_any_size_counts_as_one():
    engine = open_engine("onnx", model_of(ends=((UINT8, ["batch", 4]), (FLOAT, ["batch", 4]))))
    assert (engine.input.shape, engine.output.shape) == ((1, 4), (1, 4))


@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_integer_sums_do_not_saturate_on_any_processor(kernels):
    engine = open_engine("onnx", saturating_model(), kernels=kernels)
    total = 64 * 255 * 127
    assert engine.run(np.full((1, 64), 255, np.uint8))[0, 0] == np.rint(total / 1e5) * 1e5


def test_providers_that_are_here_are_listed_by_their_short_names():
    from edgetransfer.runtime.engines.onnx import available_providers

    assert "cpu" in available_providers()
    assert all(name == name.lower() and not name.endswith("executionprovider") for name in available_providers())


@pytest.mark.parametrize(
    ("provider", "words"), [("cuda", "pip install onnxruntime-gpu"), ("tensorrt", "TensorRT"), ("coreml", "macOS")]
)
def test_a_provider_that_is_not_here_says_what_to_install(provider, words):
    from edgetransfer.runtime.engines.onnx import available_providers

    if provider in available_providers():
        pytest.skip(f"this onnxruntime has {provider}")
    with pytest.raises(
        EngineError, match=rf"provider '{provider}' is not in this onnxruntime.*{words}.*--provider cpu"
    ):
        open_engine("onnx", model_of(), providers=[provider, "cpu"])


def test_an_unknown_provider_is_named_with_its_neighbour():
    with pytest.raises(UnknownNameError, match=r"no ONNX Runtime provider named 'tensorr'; did you mean 'tensorrt'"):
        open_engine("onnx", model_of(), providers=["tensorr"])


def test_a_provider_that_onnx_runtime_drops_on_opening_is_an_error(monkeypatch):
    from edgetransfer.runtime.engines import onnx as engine

    monkeypatch.setattr(
        engine.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )

    class Dropped(ort.InferenceSession):
        def __init__(self, model, options, *, providers, enable_fallback):
            kept = [name for name in providers if name == "CPUExecutionProvider"]
            super().__init__(model, options, providers=kept, enable_fallback=enable_fallback)

    monkeypatch.setattr(engine.ort, "InferenceSession", Dropped)
    with pytest.raises(EngineError, match=r"provider 'cuda': .*could not start it and opened cpu.*onnxruntime-gpu"):
        open_engine("onnx", model_of(), providers=["cuda", "cpu"])


def test_engines_without_a_choice_of_providers_say_so():
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(InputError, match="has no choice of them"):
        open_engine("litert", b"", providers=["cpu"])


def test_a_damaged_or_foreign_file_comes_with_onnx_runtimes_words(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("not a model\n")
    with pytest.raises(EngineError, match=r"refuses '.*text\.onnx': .*Protobuf.*damaged or no ONNX model"):
        open_engine("onnx", path)
    for cut in (1, 20, len(saturating_model()) // 2):
        with pytest.raises(EngineError, match="engine 'onnx': refuses model: "):
            open_engine("onnx", saturating_model()[:cut])
    with pytest.raises(EngineError, match="refuses model"):
        open_engine("onnx", b"")
    with pytest.raises(EngineError, match=r"nowhere\.onnx"):
        open_engine("onnx", tmp_path / "nowhere.onnx")


def test_a_model_that_this_version_cannot_run_is_refused():
    with pytest.raises(EngineError, match="pip install -U onnxruntime"):
        open_engine("onnx", model_of(opset=999))
    with pytest.raises(EngineError, match="Strange"):
        open_engine("onnx", model_of(helper.make_node("Strange", ["image"], ["logits"], domain="mine")))


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (((INT8, [1, 4]), (FLOAT, [1, 4])), "input 'image': expected uint8 or float32"),
        (((UINT8, [1, 4]), (DOUBLE, [1, 4])), "output 'logits': expected float32"),
        (((UINT8, [1, "n"]), (FLOAT, [1, "n"])), "fixed but for the batch"),
    ],
)
def test_other_dtypes_and_open_shapes_are_refused(ends, words):
    cast = helper.make_node("Cast", ["image"], ["logits"], to=ends[1][0])
    with pytest.raises(EngineError, match=words):
        open_engine("onnx", model_of(cast, ends=ends))


def test_several_outputs_are_refused():
    model = onnx.load_from_string(model_of())
    model.graph.output.append(helper.make_tensor_value_info("more", FLOAT, [1, 4]))
    model.graph.node.append(helper.make_node("Cast", ["image"], ["more"], to=FLOAT))
    with pytest.raises(EngineError, match="expected a model with one output, got 2"):
        open_engine("onnx", model.SerializeToString())


@pytest.mark.parametrize("wrong", [np.zeros((1, 5), np.uint8), np.zeros((1, 4), np.float32)], ids=["shape", "dtype"])
def test_a_wrong_input_is_an_engine_error_not_a_crash(wrong):
    with pytest.raises(EngineError, match=r"engine 'onnx': .*(image|Unexpected input data type)"):
        open_engine("onnx", model_of()).run(wrong)


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(engines.__file__).parents[3]
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)


def test_without_onnxruntime_the_message_is_the_pip_command():
    done = run_python(
        "import sys\nsys.modules['onnxruntime'] = None\n"
        "from edgetransfer.errors import EngineError\nfrom edgetransfer.runtime.engines import open_engine\n"
        "try: open_engine('onnx', b'')\nexcept EngineError as error: print(error)\n"
    )
    assert "pip install 'edgetransfer[onnx]'" in done.stdout, done.stderr


def test_the_device_side_needs_onnxruntime_and_not_onnx(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of())
    done = run_python(
        "import sys\nsys.modules['onnx'] = None\nimport numpy as np\n"
        "from edgetransfer.runtime.engines import open_engine\n"
        f"engine = open_engine('onnx', {str(path)!r})\nprint(engine.run(np.ones((1, 4), np.uint8)).sum())\n"
    )
    assert (done.stdout, done.stderr) == ("4.0\n", "")
