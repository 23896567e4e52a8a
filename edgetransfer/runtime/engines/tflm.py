"""TensorFlow Lite Micro through tflite-micro: on a computer, what a microcontroller computes.

It has one set of kernels, the reference kernels, which give the same integers on every machine; both names of kernels
mean them. It has one thread.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tflite_micro import runtime

from edgetransfer.errors import EngineError, InputError
from edgetransfer.runtime.engines import Engine, Kernels
from edgetransfer.spec.tensor import DTYPES, Quantization, TensorSpec

ARENA_ALIGNMENT = 16  # bytes; an arena that begins elsewhere loses what is before the next multiple
_CHILD = Path(__file__).with_name("_tflm_child.py")
_CHILD_SECONDS = 300  # MobileNetV2 1.0 at 224 pixels takes about one
_USED = re.compile(r"Arena allocation total (\d+) bytes")


def installed_version() -> str:
    """Return the version of the package."""
    from importlib import metadata

    return metadata.version("tflite-micro")


def open_model(model: str | os.PathLike[str] | bytes, *, threads: int, kernels: Kernels) -> Engine:
    """Return TensorFlow Lite Micro with `model` loaded into an arena of the size it needs.

    Raises:
        EngineError: the interpreter refuses the model (with its own words and the op's name), or crashes on it.
        InputError: more than one thread.
    """
    if threads != 1:
        raise InputError(f"engine 'tflm': expected 1 thread, for TensorFlow Lite Micro has no more; got {threads}")
    content = model if isinstance(model, bytes) else _read(model)
    return _Micro(content, _arena_bytes(content, _called(model)))


class _Micro:
    """One interpreter; see `Engine`. `arena_bytes` is the memory it takes for tensors and its own books."""

    name = "tflm"
    most_threads = 1
    kernels = "reference"

    def __init__(self, model: bytes, arena_bytes: int) -> None:
        self.arena_bytes = arena_bytes
        graph = runtime.schema_fb.Model.GetRootAsModel(model, 0).Subgraphs(0)
        for end, count in (("input", graph.InputsLength()), ("output", graph.OutputsLength())):
            if count != 1:
                raise EngineError(f"engine 'tflm': expected a model with one {end}, got {count}")
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes + ARENA_ALIGNMENT)
        names = graph.Tensors(graph.Inputs(0)).Name(), graph.Tensors(graph.Outputs(0)).Name()
        self.input = _tensor("input", names[0], interpreter.get_input_details(0))
        self.output = _tensor("output", names[1], interpreter.get_output_details(0))
        self._interpreter: Any = interpreter

    @property
    def version(self) -> str:
        """The version of the package; read on demand, for it takes some milliseconds."""
        return installed_version()

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the stored output of `x`, a new array."""
        try:
            self._interpreter.set_input(x, 0)
            self._interpreter.invoke()
            output: NDArray[Any] = self._interpreter.get_output(0)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"engine 'tflm': {error}") from error
        return output

    def close(self) -> None:
        """Let go of the interpreter."""
        self._interpreter = None


def _read(model: str | os.PathLike[str]) -> bytes:
    try:
        return Path(model).read_bytes()
    except OSError as trouble:
        raise EngineError(f"engine 'tflm': {_called(model)} cannot be read ({trouble.strerror})") from trouble


def _called(model: str | os.PathLike[str] | bytes) -> str:
    return "model" if isinstance(model, bytes) else repr(os.fspath(model))


def _arena_bytes(model: bytes, called: str) -> int:
    """Return the bytes of arena that `model` takes, to the byte, measured in a process of its own.

    Raises:
        EngineError: the interpreter refuses the model or crashes on it.
    """
    command = [sys.executable, "-I", str(_CHILD), json.dumps([path for path in sys.path if path])]
    try:
        done = subprocess.run(command, input=model, capture_output=True, timeout=_CHILD_SECONDS, check=False)
    except subprocess.TimeoutExpired as trouble:
        raise EngineError(f"engine 'tflm': {called} takes more than {_CHILD_SECONDS} s for one image") from trouble
    words = done.stderr.decode(errors="replace")
    used = _USED.search(words)
    if done.returncode == 0 and used is not None:
        return int(used[1])
    raise EngineError(_refusal(called, done.returncode, words))


def _refusal(called: str, code: int, words: str) -> str:
    said = "; ".join(" ".join(line.split()) for line in words.splitlines() if line.strip())[-600:]
    if code < 0:
        said = f"crashes on it (signal {-code}): it is damaged, or no model" + (f"; {said}" if said else "")
    return f"engine 'tflm': refuses {called}: {said}"


def _tensor(end: str, name: bytes | None, details: dict[str, Any]) -> TensorSpec:
    label = (name or b"").decode(errors="replace")
    dtype = np.dtype(details["dtype"]).name
    if dtype not in DTYPES:
        raise EngineError(f"engine 'tflm': {end} {label!r}: expected a dtype of {DTYPES}, got {dtype}")
    pair = details["quantization_parameters"]
    quantization = None
    if len(pair["scales"]) == 1 and pair["scales"][0]:
        quantization = Quantization(float(pair["scales"][0]), int(pair["zero_points"][0]))
    return TensorSpec(label, tuple(int(size) for size in details["shape"]), dtype, quantization)
