from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.models.backbones._torch_file import _MAGIC, _PROTOCOL, read_tensors

HEADER = b"".join(pickle.dumps(x, protocol=2) for x in (_MAGIC, _PROTOCOL, {"little_endian": True}))


class Named:
    """Pickles as a reference to a global that need not exist."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a global with arguments."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.called, self.arguments = Named(module, name), arguments


class Writer(pickle._Pickler):
    """Writes what torch.save wrote before PyTorch 1.6, without torch; and what an attacker would write."""

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


class Storage:
    def __init__(self, key: str, count: int, kind: str = "FloatStorage") -> None:
        self.pid = ("storage", Named("torch", kind), key, "cpu", count, None)


def dump(obj: Any) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(obj)
    return stream.getvalue()


def tensor(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Call:
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, OrderedDict())


def file_of(state: Any, storages: dict[str, np.ndarray]) -> bytes:
    raw = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return HEADER + dump(state) + pickle.dumps(list(storages), protocol=2) + raw


def test_tensors_come_with_their_strides_and_dtypes():
    numbers, counts = np.arange(12, dtype="<f4"), np.array([7], "<i8")
    a, b = Storage("1", 12), Storage("2", 1, "LongStorage")
    state = {"plain": tensor(a, 0, (3, 4), (4, 1)), "turned": tensor(a, 2, (4, 2), (1, 4)), "n": tensor(b, 0, (), ())}
    found = read_tensors(file_of(state, {"1": numbers, "2": counts}), "here")
    np.testing.assert_array_equal(found["plain"], numbers.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], [[2, 6], [3, 7], [4, 8], [5, 9]])
    assert found["n"] == 7
    assert not found["plain"].flags.writeable


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "system", ("touch edgetransfer_was_here",)),
        ("posix", "system", ("touch edgetransfer_was_here",)),
        ("builtins", "eval", ("open('edgetransfer_was_here', 'w')",)),
        ("__builtin__", "eval", ("open('edgetransfer_was_here', 'w')",)),
        ("subprocess", "Popen", (["touch", "edgetransfer_was_here"],)),
        ("numpy", "load", ("edgetransfer_was_here",)),
        ("torch._utils", "_rebuild_parameter", ()),
        ("torch", "load", ("x",)),
        ("collections", "namedtuple", ("A", "b")),
        ("collections", "OrderedDict.__init__", ()),
    ],
)
def test_a_pickle_that_calls_anything_else_is_refused_and_runs_nothing(module, name, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=f"{module}.{name}, which a file of tensors does not need; refused"):
        read_tensors(file_of({"w": Call(module, name, *arguments)}, {}), "here")
    assert list(tmp_path.iterdir()) == []


def test_a_hostile_pickle_in_the_place_of_the_magic_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="refused"):
        read_tensors(dump(Call("os", "system", "touch edgetransfer_was_here")), "here")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (2,), (-1,)),
        (0, (2**62, 2**62), (0, 1)),
        (2**63, (1,), (1,)),
        (0, (1.5,), (1,)),
    ],
)
def test_a_tensor_cannot_reach_outside_of_its_storage(offset, shape, strides):
    state = {"w": tensor(Storage("1", 12), offset, shape, strides)}
    with pytest.raises(WeightsError, match="here: expected a whole legacy PyTorch file"):
        read_tensors(file_of(state, {"1": np.zeros(12, "<f4")}), "here")


def test_a_storage_that_claims_more_than_the_file_is_refused():
    state = {"w": tensor(Storage("1", 12), 0, (12,), (1,))}
    content = HEADER + dump(state) + pickle.dumps(["1"], protocol=2) + struct.pack("<q", 2**60)
    with pytest.raises(WeightsError, match="more than the file"):
        read_tensors(content, "here")


def test_a_file_cut_anywhere_is_refused():
    whole = file_of({"w": tensor(Storage("1", 12), 0, (12,), (1,))}, {"1": np.ones(12, "<f4")})
    assert read_tensors(whole, "here")["w"].sum() == 12
    for length in range(len(whole)):
        with pytest.raises(WeightsError):
            read_tensors(whole[:length], "here")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a zip, as PyTorch writes today", b"\x80\x02K\x01.", b"\x00" * 64]
)
def test_other_files_are_refused(content):
    with pytest.raises(WeightsError, match="legacy PyTorch file"):
        read_tensors(content, "here")
