"""Safetensors files. Hugging Face's library checks the header; this file reads the numbers one tensor at a time."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models.torch_file import widened
from edgetransfer.transfer.source import SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._by_name import Guess, convention_of, guess_all, split_name
from edgetransfer.transfer.sources._files import broken, group, sha256_of

SUMMARY = "safetensors (.safetensors)"
_LENGTH_BYTES = 8  # of the header's length, a little-endian integer in front of it
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "F8_E4M3": "float8_e4m3", "F8_E5M2": "float8_e5m2", "C64": "complex64",
}  # fmt: skip
_UNREADABLE = ("float8_e4m3", "float8_e5m2")
_FRAMEWORKS = {"pt": "PyTorch", "tf": "TensorFlow", "flax": "Flax"}  # `format` as Hugging Face's libraries write it


def recognises(looks: Looks) -> bool:
    """Whether it begins with a length and then a JSON object."""
    return looks.start[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and looks.start[5:_LENGTH_BYTES] == bytes(3)


def read(path: Path) -> SourceModel:
    """Return the tensors of the file at `path`; roles and layouts are inferred from names and shapes.

    The format keeps no order of layers: they are sorted by name, numbers in names by their value.

    Raises:
        WeightsError: its header is too long, no JSON, or speaks of places that overlap or are not in the file.
    """
    from safetensors import SafetensorError, safe_open

    with broken(path, ".safetensors file", (SafetensorError, OSError, ValueError, KeyError, RecursionError)):
        with safe_open(path, "numpy") as file:  # refuses headers over 100 MB, overlaps, gaps and what lies outside
            said = file.metadata() or {}
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
            header = json.loads(opened.read(length))
    start = _LENGTH_BYTES + length
    entries = {name: header[name] for name in header if name != "__metadata__"}
    entries = dict(sorted(entries.items(), key=lambda item: _place(item[0])))
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    convention = {"pt": "pytorch", "tf": "tensorflow", "flax": "tensorflow"}.get(said.get("format", ""))
    guesses = guess_all(shapes, convention or convention_of(list(shapes)), ordered=False)  # type: ignore[arg-type]
    tensors = [_tensor(path, start, name, entry, guesses[name]) for name, entry in entries.items()]
    named = [(split_name(tensor.name)[0], tensor) for tensor in tensors]
    framework = _FRAMEWORKS.get(said.get("format", ""), "unknown")
    return SourceModel(path.stem, framework, "safetensors", path, sha256_of(path), group(named))


def _place(name: str) -> tuple[Any, ...]:
    """Return where `name` stands: layers by name, "layer.2" before "layer.10"; in a layer its weight first."""
    layer, word = split_name(name)
    parts = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"[./]|(?<=\D)(?=\d)", layer)
    )
    return parts, word not in ("weight", "kernel"), word


def _tensor(path: Path, start: int, name: str, entry: dict[str, Any], guess: Guess) -> SourceTensor:
    dtype = _DTYPES.get(entry["dtype"], str(entry["dtype"]).lower())
    shape = tuple(int(size) for size in entry["shape"])
    offset = start + int(entry["data_offsets"][0])

    def numbers() -> NDArray[Any]:
        if dtype not in _DTYPES.values() or dtype in _UNREADABLE:
            raise WeightsError(f"parameter {name!r}: {dtype} is a dtype that is not read; save it as float32")
        stored = np.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")
        try:
            found: NDArray[Any] = np.fromfile(path, stored, math.prod(shape), offset=offset).reshape(shape)
        except (OSError, ValueError) as trouble:
            raise WeightsError(f"source {path}: was changed while it was read ({trouble})") from trouble
        return widened(found) if dtype == "bfloat16" else found

    return SourceTensor(name, shape, dtype, guess.role, guess.layout, False, guess.reason, numbers, guess.multiplier)
