"""ONNX Runtime, on the processor or on what its execution providers reach. Nothing falls back to another silently."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from edgetransfer.errors import EngineError, UnknownNameError
from edgetransfer.runtime.cores import has_vnni
from edgetransfer.runtime.engines import Engine, Kernels
from edgetransfer.spec.tensor import TensorSpec

_SUFFIX = "ExecutionProvider"
_GPU = "pip install onnxruntime-gpu, on a Jetson from NVIDIA's wheel index for its JetPack (jetson-ai-lab), and CUDA"
_PACKAGES = {
    "cuda": _GPU,
    "tensorrt": f"{_GPU} and TensorRT",
    "coreml": "macOS only, where it comes with pip install onnxruntime",
    "dml": "Windows only: pip install onnxruntime-directml",
    "openvino": "pip install onnxruntime-openvino",
    "qnn": "pip install onnxruntime-qnn",
    "migraphx": "AMD's onnxruntime-migraphx",
}
_INPUT_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(int32)": "int32"}
_OUTPUT_DTYPES = {"tensor(float)": "float32"}
_ERRORS_ONLY = 3  # ONNX Runtime's log severity


def available_providers() -> tuple[str, ...]:
    """Return the providers that this onnxruntime was built with, in its own order: "tensorrt", "cuda", "cpu"."""
    return tuple(_short(name) for name in ort.get_available_providers())


def installed_version() -> str:
    """Return the version of onnxruntime."""
    return str(ort.__version__)


def open_model(
    model: str | os.PathLike[str] | bytes, *, threads: int, kernels: Kernels, providers: Sequence[str] = ()
) -> Engine:
    """Return ONNX Runtime with `model` loaded.

    Args:
        model: the file, or its content.
        threads: of one op; ops run one after the other.
        kernels: "reference" runs the graph as it is written, on one thread of the processor, whatever the providers:
            no op is fused, and what is quantized is computed in floats between its roundings.
        providers: in order of preference, such as ("tensorrt", "cuda", "cpu"); none is ("cpu",). Without "cpu" at the
            end, a model with an op that only the processor can run is refused.

    Raises:
        UnknownNameError: ONNX Runtime knows no provider of that name.
        EngineError: a provider is not there (says what to install), or ONNX Runtime refuses the model (in its words).
    """
    chosen = ("cpu",) if kernels == "reference" else tuple(providers) or ("cpu",)
    return _OnnxRuntime(model, threads=threads, kernels=kernels, providers=chosen)


class _OnnxRuntime:
    """One session; see `Engine`."""

    name = "onnx"

    def __init__(
        self, model: str | os.PathLike[str] | bytes, *, threads: int, kernels: Kernels, providers: tuple[str, ...]
    ) -> None:
        session = _open(model, _options(threads, kernels, providers), providers)
        self.kernels = "reference" if kernels == "reference" else f"{'+'.join(providers)}-{platform.machine()}"
        self.input = _only(session.get_inputs(), "input", _INPUT_DTYPES)
        self.output = _only(session.get_outputs(), "output", _OUTPUT_DTYPES)
        self._in, self._out = self.input.name, [self.output.name]
        self._session: Any = session

    @property
    def version(self) -> str:
        """The version of onnxruntime."""
        return installed_version()

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the output of `x`, a new array."""
        try:
            output: NDArray[Any] = self._session.run(self._out, {self._in: x})[0]
        except Exception as error:  # ONNX Runtime's errors have no other class in common
            raise EngineError(f"engine 'onnx': {_words(error)}") from error
        return output

    def close(self) -> None:
        """Let go of the session."""
        self._session = None


def _options(threads: int, kernels: Kernels, providers: tuple[str, ...]) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = 1 if kernels == "reference" else threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    if kernels == "reference":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # On x86 without VNNI, u8 x s8 products saturate in 16 bits: EfficientNet-Lite0's features fell to cosine 0.895 to
    # the float model's, with this they are those of other processors (0.987). With VNNI nothing saturates, and it would
    # only take slower kernels: MobileNetV2 13.8 ms with it and 5.3 without, bit-equal outputs.
    if not has_vnni():
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Threads that wait by spinning take the cores from all others: on a busy machine two threads took 28 ms with it and
    # 17 without (EfficientNet-Lite0, uint8, medians side by side).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if "cpu" not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _open(model: str | os.PathLike[str] | bytes, options: Any, providers: tuple[str, ...]) -> Any:
    names = [_full_name(provider) for provider in providers]
    what = "model" if isinstance(model, bytes) else repr(os.fspath(model))
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else os.fspath(model), options, providers=names, enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors have no other class in common
        raise EngineError(f"engine 'onnx': refuses {what}: {_words(error)}{_hint(error, providers)}") from error
    opened = [_short(name) for name in session.get_providers()]
    for provider in providers:
        if provider not in opened:
            raise EngineError(
                f"engine 'onnx': provider {provider!r}: this onnxruntime has it, but could not start it and opened "
                f"{', '.join(opened)}. It needs {_PACKAGES.get(provider, 'its driver and libraries')}; "
                "or ask for --provider cpu"
            )
    return session


def _full_name(provider: str) -> str:
    """Return ONNX Runtime's own name of `provider`, if this build has it."""
    known = {_short(name): str(name) for name in ort.get_all_providers()}
    available = available_providers()
    if provider not in known and provider not in available:
        raise UnknownNameError("ONNX Runtime provider", provider, {*known, *available})
    if provider not in available:
        raise EngineError(
            f"engine 'onnx': provider {provider!r} is not in this onnxruntime {ort.__version__}, which has "
            f"{', '.join(available)}. Install it: {_PACKAGES.get(provider, 'a build of onnxruntime that has it')}; "
            "or ask for --provider cpu"
        )
    return known[provider]


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX).lower()


def _only(ends: Sequence[Any], end: str, dtypes: dict[str, str]) -> TensorSpec:
    if len(ends) != 1:
        raise EngineError(f"engine 'onnx': expected a model with one {end}, got {len(ends)}")
    tensor = ends[0]
    if tensor.type not in dtypes:
        raise EngineError(
            f"engine 'onnx': {end} {tensor.name!r}: expected {' or '.join(dtypes.values())}, got {tensor.type}"
        )
    shape = list(tensor.shape)
    if shape and not isinstance(shape[0], int):
        shape[0] = 1  # a batch of any size: images come one by one
    if not shape or any(not isinstance(size, int) or size < 1 for size in shape):
        raise EngineError(
            f"engine 'onnx': {end} {tensor.name!r}: expected a shape that is fixed but for the batch, "
            f"got {tensor.shape}"
        )
    return TensorSpec(str(tensor.name), tuple(shape), dtypes[tensor.type])


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _hint(error: Exception, providers: tuple[str, ...]) -> str:
    words = str(error).lower()
    if "cpu ep fallback" in words or "disable_cpu_ep_fallback" in words:
        return f"; {', '.join(providers)} cannot run all of it: add cpu behind them"
    if "opset" in words or "ir version" in words or "not_implemented" in words:
        return "; it may need a newer engine: pip install -U onnxruntime"
    if "protobuf" in words:
        return "; the file is damaged or no ONNX model"
    return ""
