from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetransfer import registry
from edgetransfer.errors import EngineError, InputError, UnknownNameError
from edgetransfer.runtime import engines
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.tensor import Quantization

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[1] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


def test_every_built_in_engine_is_listed_without_importing_it():
    assert "litert" in registry.names("edgetransfer.runtime.engines")


def test_an_engine_describes_the_ends_of_the_model():
    engine = open_engine("litert", tiny.model_content())
    assert (engine.input.shape, engine.input.dtype) == ((1, 16, 16, 3), "uint8")
    assert (engine.output.shape, engine.output.dtype) == ((1, 3), "int8")
    assert engine.output.quantization == Quantization(0.0625, -3)
    assert engine.name == "litert"
    assert engine.version.split(".")[0].isdigit()
    assert engine.kernels.split("-")[0] in ("xnnpack", "builtin")


def test_a_file_and_its_content_give_the_same_outputs(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny.model_content())
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(
        open_engine("litert", path).run(x), open_engine("litert", tiny.model_content()).run(x)
    )


def test_reference_kernels_are_another_set_within_two_steps():
    fast, plain = (
        open_engine("litert", tiny.model_content()),
        open_engine("litert", tiny.model_content(), kernels="reference"),
    )
    assert plain.kernels == "reference" != fast.kernels
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = rng.integers(0, 256, (1, 16, 16, 3), np.uint8)
        assert np.abs(fast.run(x).astype(int) - plain.run(x).astype(int)).max() <= 2


def test_threads_do_not_change_the_outputs():
    x = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    outputs = [open_engine("litert", tiny.model_content(), threads=n).run(x) for n in (1, 2)]
    np.testing.assert_array_equal(*outputs)


def test_a_refused_model_comes_with_the_engines_own_words(tmp_path):
    with pytest.raises(EngineError, match=r"refuses model: .*Flatbuffer"):
        open_engine("litert", b"not a model")
    conv = tiny.model_content(op=tiny.schema.BuiltinOperator.CONV_2D)
    with pytest.raises(EngineError, match="CONV_2D"):
        open_engine("litert", conv)
    unknown = tiny.model_content(op=200)
    with pytest.raises(EngineError, match=r"Didn't find op.*pip install -U"):
        open_engine("litert", unknown)
    with pytest.raises(EngineError, match=r"nowhere\.tflite"):
        open_engine("litert", tmp_path / "nowhere.tflite")


def test_a_model_with_flex_ops_says_what_they_need():
    with pytest.raises(EngineError, match=r"flex ops.*built-in ops only"):
        open_engine("litert", tiny.model_content(custom_op="FlexErf"))
    with pytest.raises(EngineError, match="custom ops"):
        open_engine("litert", tiny.model_content(custom_op="Mine"))


def test_a_wrong_input_is_an_engine_error_not_a_crash():
    engine = open_engine("litert", tiny.model_content())
    with pytest.raises(EngineError, match="litert"):
        engine.run(np.zeros((1, 3, 3, 3), np.uint8))


def test_an_unknown_engine_or_kernel_set_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        open_engine("lite", b"")
    with pytest.raises(UnknownNameError, match=r"no engine named '\.\./x'"):
        open_engine("../x", b"")
    with pytest.raises(InputError, match="kernels"):
        open_engine("litert", tiny.model_content(), kernels="slow")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    root = Path(engines.__file__).parents[3]
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)


def test_without_an_engine_the_message_is_the_pip_command():
    done = run_python(
        "import sys\nsys.modules['ai_edge_litert'] = sys.modules['tflite_runtime'] = None\n"
        "from edgetransfer.errors import EngineError\nfrom edgetransfer.runtime.engines import open_engine\n"
        "try: open_engine('litert', b'')\nexcept EngineError as error: print(error)\n"
    )
    assert "pip install 'edgetransfer[litert]'" in done.stdout, done.stderr


def test_tflite_runtime_with_numpy_2_says_what_to_do():
    done = run_python(
        "import sys, types\nsys.modules['ai_edge_litert'] = None\n"
        "package, module = types.ModuleType('tflite_runtime'), types.ModuleType('tflite_runtime.interpreter')\n"
        "module.Interpreter = module.OpResolverType = object\n"
        "sys.modules['tflite_runtime'], sys.modules['tflite_runtime.interpreter'] = package, module\n"
        "from importlib import metadata\nmetadata.version = lambda name: '2.14.0'\n"
        "import numpy\nnumpy.__version__ = '2.1.0'\n"
        "from edgetransfer.errors import EngineError\nfrom edgetransfer.runtime.engines import open_engine\n"
        "try: open_engine('litert', b'')\nexcept EngineError as error: print(error)\n"
    )
    assert 'tflite-runtime 2.14.0 needs numpy below 2, got 2.1.0: pip install "numpy<2"' in done.stdout, done.stderr
