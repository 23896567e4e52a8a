from __future__ import annotations

import importlib.util
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.models.torch_file import list_tensors, read_tensors

_spec = importlib.util.spec_from_file_location("torch_files", Path(__file__).parents[1] / "torch_files.py")
assert _spec is not None
assert _spec.loader is not None
torch_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(torch_files)

HEADER, Call, Storage = torch_files.HEADER, torch_files.Call, torch_files.Storage
dump, tensor, legacy_file, zip_file = (
    torch_files.dump,
    torch_files.tensor,
    torch_files.legacy_file,
    torch_files.zip_file,
)
BOTH = pytest.mark.parametrize("file_of", [legacy_file, zip_file], ids=["legacy", "zipped"])


@BOTH
def test_tensors_come_with_their_strides_and_dtypes(file_of):
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
        ("builtins", "getattr", ("os", "system")),
        ("builtins", "__import__", ("os",)),
        ("torch.nn.modules.linear", "Linear", ()),
        ("torch._utils", "_rebuild_qtensor", ()),
        ("torch", "load", ("x",)),
        ("collections", "namedtuple", ("A", "b")),
        ("collections", "OrderedDict.__init__", ()),
    ],
)
@BOTH
def test_a_pickle_that_calls_anything_else_is_refused_and_runs_nothing(
    module, name, arguments, file_of, tmp_path, monkeypatch
):
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
        (0, (1000, 1000, 1000), (0, 0, 0)),
    ],
)
@BOTH
def test_a_tensor_cannot_reach_outside_of_its_storage(offset, shape, strides, file_of):
    state = {"w": tensor(Storage("1", 12), offset, shape, strides)}
    with pytest.raises(WeightsError, match=r"here: expected a whole (legacy|zipped) PyTorch file"):
        read_tensors(file_of(state, {"1": np.zeros(12, "<f4")}), "here")


def test_a_storage_that_claims_more_than_the_file_is_refused():
    state = {"w": tensor(Storage("1", 12), 0, (12,), (1,))}
    content = HEADER + dump(state) + pickle.dumps(["1"], protocol=2) + struct.pack("<q", 2**60)
    with pytest.raises(WeightsError, match="more than the file"):
        read_tensors(content, "here")


@BOTH
def test_a_file_cut_anywhere_is_refused(file_of):
    whole = file_of({"w": tensor(Storage("1", 12), 0, (12,), (1,))}, {"1": np.ones(12, "<f4")})
    assert read_tensors(whole, "here")["w"].sum() == 12
    for length in range(len(whole)):
        with pytest.raises(WeightsError):
            read_tensors(whole[:length], "here")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip, but not a whole one", b"\x80\x02K\x01.", b"\x00" * 64])
def test_other_files_are_refused(content):
    with pytest.raises(WeightsError, match="PyTorch file"):
        read_tensors(content, "here")


def w(count: int = 12) -> dict[str, object]:
    return {"w": tensor(Storage("1", count), 0, (count,), (1,))}


NUMBERS = {"1": np.arange(12, dtype="<f4")}


@BOTH
def test_of_a_checkpoint_the_models_tensors_are_read_and_not_the_optimizers(file_of):
    moment = tensor(Storage("1", 12), 0, (12,), (1,))
    checkpoint = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": moment}}}, "state_dict": OrderedDict(w())}
    assert list(read_tensors(file_of(checkpoint, NUMBERS), "here")) == ["w"]


@BOTH
def test_parameters_are_the_tensors_that_they_hold(file_of):
    state = {"w": Call("torch._utils", "_rebuild_parameter", w()["w"], True, OrderedDict())}
    np.testing.assert_array_equal(read_tensors(file_of(state, NUMBERS), "here")["w"], NUMBERS["1"])
    hostile = {"w": Call("torch._utils", "_rebuild_parameter", "no tensor", True, OrderedDict())}
    with pytest.raises(WeightsError, match="a parameter that is not a tensor"):
        read_tensors(file_of(hostile, NUMBERS), "here")


@BOTH
def test_bfloat16_comes_as_the_float32_that_it_is(file_of):
    state = {"w": tensor(Storage("1", 4, "BFloat16Storage"), 0, (4,), (1,))}
    stored = {"1": np.array([0x3F80, 0xC000, 0x3E80, 0x7F80], "<u2")}
    found = list_tensors(file_of(state, stored), "here")["w"]
    assert found.dtype == "bfloat16"
    np.testing.assert_array_equal(found.read(), np.array([1, -2, 0.25, np.inf], np.float32))


@BOTH
@pytest.mark.parametrize(
    ("state", "message"), [({"epoch": 3}, "no tensors in it"), ([1, 2], "got list"), ({}, "nothing")]
)
def test_a_file_without_tensors_says_what_it_has(state, message, file_of):
    with pytest.raises(WeightsError, match=message):
        read_tensors(file_of(state, {}), "here")


@BOTH
def test_a_memo_with_a_hole_is_refused_before_room_is_made_for_it(file_of, monkeypatch):
    monkeypatch.setattr(torch_files, "dump", lambda _: b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(WeightsError, match="it numbers an object 2147483647"):
        read_tensors(file_of({}, {}), "here")


def test_a_compressed_archive_is_refused_for_it_may_be_a_bomb():
    bomb = zip_file(w(10**7), {"1": np.zeros(10**7, "<f4")}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10**5
    with pytest.raises(WeightsError, match="compressed or has"):
        read_tensors(bomb, "here")


def test_an_archive_that_lies_about_a_size_is_refused():
    whole = zip_file(w(), NUMBERS)
    entry = next(i for i in zipfile.ZipFile(io.BytesIO(whole)).infolist() if i.filename.endswith("data/1"))
    at = whole.index(b"archive/data/1", whole.index(b"PK\x01\x02")) - 46 + 20  # both sizes in the central directory
    assert struct.unpack_from("<II", whole, at) == (entry.file_size, entry.file_size)
    for size in (48 * 1000, 8):
        with pytest.raises(WeightsError):
            read_tensors(whole[:at] + struct.pack("<II", size, size) + whole[at + 8 :], "here")


def test_a_storage_that_is_too_short_for_its_tensor_is_refused():
    with pytest.raises(WeightsError, match="needs element 11 of a storage of 3"):
        read_tensors(zip_file(w(), {"1": NUMBERS["1"][:3]}), "here")


def test_a_torchscript_program_is_told_from_a_state_dict():
    with pytest.raises(WeightsError, match="TorchScript program"):
        read_tensors(zip_file(w(), NUMBERS, more={"archive/constants.pkl": b""}), "here")


def test_a_whole_pickled_model_is_answered_with_what_to_save_instead():
    with pytest.raises(WeightsError, match=r"save its state_dict\(\) instead"):
        read_tensors(zip_file(Call("models", "Net"), {}), "here")
