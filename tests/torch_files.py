"""Writes what torch.save writes, without torch; and what an attacker would write. Loaded by path."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
HEADER = b"".join(pickle.dumps(x, protocol=2) for x in (MAGIC, PROTOCOL, {"little_endian": True}))
KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage", "float16": "HalfStorage"}


class Named:
    """Pickles as a reference to a global that need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global with arguments."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.called, self.arguments = Named(module, name), arguments


class Storage:
    """Pickles as a pointer to the elements `key`."""

    def __init__(self, key: str, count: int, kind: str = "FloatStorage") -> None:
        self.pid = ("storage", Named("torch", kind), key, "cpu", count, None)


class Writer(pickle._Pickler):
    """A pickler that knows the three."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Named):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.called)
            self.save(tuple(obj.arguments))
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, Storage) else None


def dump(obj: Any) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(obj)
    return stream.getvalue()


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Call:
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def legacy_file(state: Any, storages: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a file from before PyTorch 1.6."""
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return HEADER + dump(state) + pickle.dumps(list(storages), protocol=2) + raw


def zip_file(
    state: Any,
    storages: Mapping[str, np.ndarray],
    *,
    compression: int = zipfile.ZIP_STORED,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return the content of a file of today's PyTorch."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", dump(state))
        archive.writestr("archive/byteorder", b"little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return stream.getvalue()


def described(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Call], dict[str, np.ndarray]]:
    """Return the state dict and the storages of `arrays`, each in a storage of its own."""
    state, storages = {}, {}
    for number, (name, array) in enumerate(arrays.items()):
        key = str(number)
        flat = np.ascontiguousarray(array)
        strides = tuple(step // flat.itemsize for step in flat.strides)
        state[name] = tensor(Storage(key, flat.size, KINDS[flat.dtype.name]), 0, flat.shape, strides)
        storages[key] = flat.reshape(-1)
    return state, storages
