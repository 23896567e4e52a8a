"""LiteRT through ai-edge-litert, else through tflite-runtime (32-bit Arm has no other)."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import EngineError
from edgetransfer.runtime.engines import Engine, Kernels
from edgetransfer.spec.tensor import DTYPES, Quantization, TensorSpec

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    _DISTRIBUTION = "ai-edge-litert"
except ImportError as _newer_missing:
    try:
        from tflite_runtime.interpreter import Interpreter, OpResolverType

        _DISTRIBUTION = "tflite-runtime"
    except ImportError as _older_missing:
        raise ImportError(f"neither ai-edge-litert ({_newer_missing}) nor tflite-runtime ({_older_missing})") from None


def open_model(model: str | os.PathLike[str] | bytes, *, threads: int, kernels: Kernels) -> Engine:
    """Return LiteRT with `model` loaded and its tensors allocated.

    Raises:
        EngineError: LiteRT refuses the model (with its own words), or tflite-runtime meets numpy 2.
    """
    if _DISTRIBUTION == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        raise EngineError(
            f"engine 'litert': tflite-runtime {installed_version()} needs numpy below 2, got "
            f'{np.__version__}: pip install "numpy<2" or, better, pip install "edgetransfer[litert]"'
        )
    return _LiteRT(model, threads=threads, kernels=kernels)


class _LiteRT:
    """One interpreter; see `Engine`."""

    name = "litert"

    def __init__(self, model: str | os.PathLike[str] | bytes, *, threads: int, kernels: Kernels) -> None:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
        resolver = OpResolverType.BUILTIN_REF if kernels == "reference" else OpResolverType.AUTO
        try:
            interpreter = Interpreter(**source, num_threads=threads, experimental_op_resolver_type=resolver)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EngineError(_refusal(model, error)) from error
        self.kernels = _kernel_set(kernels)
        ends = interpreter.get_input_details(), interpreter.get_output_details()
        self.input, self.output = (_only(details, end) for details, end in zip(ends, ("input", "output"), strict=True))
        self._in, self._out = int(ends[0][0]["index"]), int(ends[1][0]["index"])
        self._interpreter: Any = interpreter
        # Bound once: looking them up costs as much as calling them.
        self._set, self._invoke, self._get = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    @property
    def version(self) -> str:
        """The version of the package; read on demand, for it takes some milliseconds."""
        return installed_version()

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the stored output of `x`, a new array."""
        try:
            self._set(self._in, x)
            self._invoke()
            output: NDArray[Any] = self._get(self._out)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"engine 'litert': {error}") from error
        return output

    def close(self) -> None:
        """Let go of the interpreter."""
        self._interpreter = self._set = self._invoke = self._get = None


def installed_version() -> str:
    """Return the version of the package that is used here."""
    from importlib import metadata  # here, for it takes longer to import than LiteRT itself

    return metadata.version(_DISTRIBUTION)


def _kernel_set(kernels: Kernels) -> str:
    if kernels == "reference":
        return "reference"
    return f"{'xnnpack' if _DISTRIBUTION == 'ai-edge-litert' else 'builtin'}-{platform.machine()}"


def _refusal(model: str | os.PathLike[str] | bytes, error: Exception) -> str:
    what = "model" if isinstance(model, bytes) else repr(os.fspath(model))
    text = " ".join(str(error).split())
    words = text.lower()
    hint = ""
    if "flex" in words or "select tensorflow op" in words:
        hint = "; it has flex ops, which need all of TensorFlow: export it again with built-in ops only"
    elif "custom op" in words or "unresolved" in words:
        hint = "; it has custom ops, which LiteRT does not know: export it again with built-in ops only"
    elif "version" in words or "opcode" in words:
        hint = f'; it may need a newer engine: pip install -U "{_DISTRIBUTION}"'
    return f"engine 'litert': refuses {what}: {text}{hint}"


def _only(details: list[dict[str, Any]], end: str) -> TensorSpec:
    if len(details) != 1:
        raise EngineError(f"engine 'litert': expected a model with one {end}, got {len(details)}")
    tensor = details[0]
    dtype = np.dtype(tensor["dtype"]).name
    if dtype not in DTYPES:
        raise EngineError(f"engine 'litert': {end} {tensor['name']!r}: expected a dtype of {DTYPES}, got {dtype}")
    scale, zero_point = tensor["quantization"]
    quantization = Quantization(float(scale), int(zero_point)) if scale else None
    return TensorSpec(str(tensor["name"]), tuple(int(n) for n in tensor["shape"]), dtype, quantization)
