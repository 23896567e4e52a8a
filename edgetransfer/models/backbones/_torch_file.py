"""Reads tensors from a legacy PyTorch file with numpy alone, and runs nothing that is in it.

The format (before PyTorch 1.6, which went over to zip) is five pickles and raw data: a magic number, the protocol's
number, a description of the writing machine, the object, the storages' keys; then for each key, in that order, its
number of elements as a little-endian int64 and the elements. Source: torch/serialization.py, `_legacy_load`.

A pickle can call any function that it names. This unpickler knows three names: OrderedDict, `_rebuild_tensor_v2`
(our own, which only notes shape and strides) and the storage classes (as dtypes). Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# What broken bytes make pickle, struct and numpy raise.
_BROKEN = (
    pickle.UnpicklingError, EOFError, struct.error, KeyError, IndexError, ValueError, TypeError, AttributeError,
    OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def read_tensors(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of the state dict in `content`, a legacy PyTorch file, by name; they are read-only.

    Args:
        content: The whole file.
        where: What to call it in messages.

    Raises:
        WeightsError: not such a file, truncated, or its pickle names something other than tensors.
    """
    stream = io.BytesIO(content)
    try:
        magic, protocol, machine = (_Reader(stream).load() for _ in range(3))
        if magic != _MAGIC or protocol != _PROTOCOL or machine["little_endian"] is not True:
            raise WeightsError(f"{where}: expected a legacy PyTorch file (protocol {_PROTOCOL}, little-endian)")
        reader = _Reader(stream)
        state = reader.load()
        keys = _Reader(stream).load()
        raw = _read_storages(content, stream.tell(), keys, reader.dtypes)
        return {str(name): tensor.array(raw) for name, tensor in state.items()}
    except _BROKEN as trouble:
        raise WeightsError(
            f"{where}: expected a whole legacy PyTorch file of tensors: {trouble or type(trouble).__name__}"
        ) from trouble


@dataclass(frozen=True)
class _Tensor:
    """What the pickle says of a tensor; all of it unchecked until `array`."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, raw: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the tensor as a view of its storage.

        Raises:
            ValueError: it would reach outside of the storage.
        """
        data = raw[self.key]
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor of shape {self.shape} with strides {self.strides}")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= len(data):
            raise ValueError(f"a tensor that needs element {last} of a storage of {len(data)}")
        steps = tuple(step * data.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, steps, writeable=False)


class _Reader(pickle.Unpickler):
    """Unpickles tensors' descriptions and refuses every other name; `dtypes` collects each storage's dtype."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle may use under that name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a file of tensors does not need; refused")

    def persistent_load(self, pid: Any) -> str:
        """Return the key of the storage that the pickle points at, and remember its dtype."""
        kind, dtype, key, _, _, view = pid
        if kind != "storage" or view is not None or dtype not in _DTYPES.values():
            raise pickle.UnpicklingError("it points at something that is not a plain storage")
        self.dtypes[str(key)] = dtype
        return str(key)


def _rebuild(key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(key, offset, tuple(shape), tuple(strides))


def _read_storages(content: bytes, start: int, keys: list[str], dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    found = {}
    for key in keys:
        (count,) = struct.unpack_from("<q", content, start)
        dtype = np.dtype(dtypes[key])
        if count < 0 or start + 8 + count * dtype.itemsize > len(content):
            raise ValueError(f"storage {key} says it has {count} elements, more than the file")
        found[key] = np.frombuffer(content, dtype, count, start + 8)
        start += 8 + count * dtype.itemsize
    return found
