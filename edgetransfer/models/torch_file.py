"""Reads tensors from a PyTorch file with numpy alone, and runs nothing that is in it.

Two formats. Since PyTorch 1.6 a zip archive, not compressed: `NAME/data.pkl` has the object, `NAME/data/KEY` the
elements of a storage. Before, five pickles and raw data: a magic number, the protocol's number, a description of the
writing machine, the object, the storages' keys; then for each key, in that order, its number of elements as a
little-endian int64 and the elements. Source: torch/serialization.py, `_save` and `_legacy_load`.

A pickle can call any function that it names. This unpickler knows five names: OrderedDict, `_rebuild_tensor`,
`_rebuild_tensor_v2` and `_rebuild_parameter` (our own, which only note shape and strides) and the storage classes (as
names of dtypes). Everything else is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_STATES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
"""Where training scripts put the model's tensors, beside the optimizer's; the first that is there is taken."""
_MOST_PICKLE_BYTES = 64 << 20  # of a description of tensors; one of 10,000 tensors has 2 MB
# What broken bytes make pickle, struct, zipfile and numpy raise.
_BROKEN = (
    pickle.UnpicklingError, EOFError, struct.error, KeyError, IndexError, ValueError, TypeError, AttributeError,
    OverflowError, MemoryError, RecursionError, UnicodeDecodeError, zipfile.BadZipFile, NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor that a file describes; its elements are read when they are asked for.

    Attributes:
        shape: Its shape.
        dtype: PyTorch's name of its dtype, such as "float32" or "bfloat16".
        read: Returns the elements, read-only, as a little-endian array; bfloat16 comes as float32.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]


def read_tensors(content: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Return the tensors of the state dict in `content`, a PyTorch file, by name; they are read-only.

    Args:
        content: The whole file.
        where: What to call it in messages.

    Raises:
        WeightsError: not such a file, truncated, or its pickle names something other than tensors.
    """
    found = list_tensors(content, where)
    return {name: tensor.read() for name, tensor in found.items()}


def list_tensors(content: bytes, where: str) -> dict[str, TorchTensor]:
    """Return what is known of each tensor in `content` without reading its elements, in the file's order.

    Of a training checkpoint only the model's tensors are returned, see `_STATES`. That every tensor lies inside of its
    storage, and every storage inside of the file, is checked here.

    Args:
        content: The whole file.
        where: What to call it in messages.

    Raises:
        WeightsError: as `read_tensors`.
    """
    kind = "zipped" if content[:4] == b"PK\x03\x04" else "legacy"
    try:
        state, storages = (_open_zip if kind == "zipped" else _open_legacy)(content)
        return {name: tensor.found_in(storages) for name, tensor in _tensors_of(state).items()}
    except WeightsError as trouble:
        raise WeightsError(f"{where}: {trouble}") from trouble
    except _BROKEN as trouble:
        raise WeightsError(
            f"{where}: expected a whole {kind} PyTorch file of tensors: {trouble or type(trouble).__name__}"
        ) from trouble


# === The two formats ===


def _open_legacy(content: bytes) -> tuple[Any, Mapping[str, NDArray[Any]]]:
    stream = io.BytesIO(content)
    magic, protocol, machine = (_Reader.load_from(stream).result for _ in range(3))
    if magic != _MAGIC or protocol != _PROTOCOL or machine["little_endian"] is not True:
        raise WeightsError(f"expected a legacy PyTorch file (protocol {_PROTOCOL}, little-endian)")
    state = _Reader.load_from(stream)
    keys = _Reader.load_from(stream).result
    return state.result, _read_storages(content, stream.tell(), keys, state.dtypes)


def _read_storages(content: bytes, start: int, keys: list[str], dtypes: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    found = {}
    for key in keys:
        (count,) = struct.unpack_from("<q", content, start)
        dtype = _numpy_dtype(dtypes[key])
        if count < 0 or start + 8 + count * dtype.itemsize > len(content):
            raise ValueError(f"storage {key} says it has {count} elements, more than the file")
        found[key] = np.frombuffer(content, dtype, count, start + 8)
        start += 8 + count * dtype.itemsize
    return found


def _open_zip(content: bytes) -> tuple[Any, Mapping[str, NDArray[Any]]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise WeightsError(f"expected a zipped PyTorch file with one data.pkl, got {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}constants.pkl" in entries:
            raise WeightsError(
                "is a TorchScript program, not a file of tensors; save its state with "
                "torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)"
            )
        if f"{root}byteorder" in entries and _stored(archive, entries[f"{root}byteorder"], 16) != b"little":
            raise WeightsError("was written on a big-endian machine, which is not read")
        state = _Reader.load_from(io.BytesIO(_stored(archive, entries[pickles[0]], _MOST_PICKLE_BYTES)))
        return state.result, {
            key: np.frombuffer(_stored(archive, entries[f"{root}data/{key}"], len(content)), _numpy_dtype(dtype))
            for key, dtype in state.dtypes.items()
        }


def _stored(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return the content of `entry`; PyTorch compresses nothing, so what is compressed may be a bomb."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.file_size > most:
        raise ValueError(f"{entry.filename!r} is compressed or has {entry.file_size} bytes, which PyTorch never writes")
    return archive.read(entry)


# === The pickle ===


@dataclass(frozen=True)
class _Tensor:
    """What the pickle says of a tensor; all of it unchecked until `found_in`."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def found_in(self, storages: Mapping[str, NDArray[Any]]) -> TorchTensor:
        """Return the tensor as a view of its storage.

        Raises:
            ValueError: it would reach outside of the storage.
        """
        data = storages[self.key]
        numbers = (self.offset, *self.shape, *self.strides)
        if len(self.shape) != len(self.strides) or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError(f"a tensor of shape {self.shape} with strides {self.strides}")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if 0 not in self.shape and last >= len(data):
            raise ValueError(f"a tensor that needs element {last} of a storage of {len(data)}")
        if np.prod([float(n) for n in self.shape]) > max(len(data), 1):
            # expanded tensors repeat elements; published weights are never such, and a bomb is
            raise ValueError(f"a tensor of shape {self.shape} in a storage of {len(data)} elements")
        steps = tuple(step * data.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, steps, writeable=False)
        return TorchTensor(self.shape, self.dtype, lambda: widened(view) if self.dtype == "bfloat16" else view)


class _Reader(pickle.Unpickler):
    """Unpickles tensors' descriptions and refuses every other name; `dtypes` collects each storage's dtype."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.dtypes: dict[str, str] = {}
        self.result: Any = None

    @classmethod
    def load_from(cls, stream: io.BytesIO) -> _Reader:
        """Return a reader with the next pickle of `stream` as its `result`."""
        _check_memo(stream)
        reader = cls(stream)
        reader.result = reader.load()
        return reader

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle may use under that name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in _REBUILDERS:
            return _REBUILDERS[name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which a file of tensors does not need; refused. If this is a whole pickled "
            "model, save its state_dict() instead"
        )

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        """Return key and dtype of the storage that the pickle points at, and remember it."""
        kind, dtype, key, _, _, *view = pid
        if kind != "storage" or view not in ([], [None]) or dtype not in _DTYPES.values():
            raise pickle.UnpicklingError("it points at something that is not a plain storage")
        if self.dtypes.setdefault(str(key), dtype) != dtype:
            raise pickle.UnpicklingError(f"storage {key} is said to be {dtype} and {self.dtypes[str(key)]}")
        return str(key), dtype


def _check_memo(stream: io.BytesIO) -> None:
    """Refuse a pickle whose memo has a hole: Python makes room up to the largest number, gigabytes for six bytes."""
    start, size = stream.tell(), stream.getbuffer().nbytes
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= size:
            raise pickle.UnpicklingError(f"it numbers an object {argument}, more than it can have; refused")
    stream.seek(start)


def _rebuild(storage: tuple[str, str], offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    key, dtype = storage
    return _Tensor(key, dtype, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(data: Any, *_: Any) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise pickle.UnpicklingError("it has a parameter that is not a tensor")
    return data


_REBUILDERS = {
    "_rebuild_tensor": _rebuild,
    "_rebuild_tensor_v2": _rebuild,
    "_rebuild_parameter": _rebuild_parameter,
}


def _tensors_of(state: Any) -> dict[str, _Tensor]:
    """Return the model's tensors in what was unpickled: a state dict, or a checkpoint that has one.

    Raises:
        WeightsError: there are none; says what there is.
    """
    if not isinstance(state, Mapping):
        raise WeightsError(f"expected a state dict, got {type(state).__name__}; save model.state_dict()")
    direct = {str(name): value for name, value in state.items() if isinstance(value, _Tensor)}
    if direct:
        return direct
    for key in _STATES:
        if isinstance(state.get(key), Mapping):
            return _tensors_of(state[key])
    names = ", ".join(repr(str(name))[:40] for name in list(state)[:8]) or "nothing"
    raise WeightsError(f"no tensors in it, nor one of {', '.join(_STATES)} with tensors; it has {names}")


def widened(stored: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return bfloat16 numbers, given as the 16 bits that they are, as float32: the upper half of its bits."""
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    """Return the little-endian numpy dtype that holds the stored bits."""
    return np.dtype({"bfloat16": "uint16"}.get(dtype, dtype)).newbyteorder("<")
