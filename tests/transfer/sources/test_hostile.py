"""Files that were made to do harm: each is refused in one clear line, and nothing of it is run or read elsewhere."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.inspection import inspect
from edgetransfer.transfer.sources import open_source

pytest.importorskip("keras", reason="source models are read with the extra 'train'")


def refused(path: Path, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        [tensor.values() for tensor in open_source(path).tensors]


# === Pickles ===


class Reduced:
    """What Python itself pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "hostile",
    [
        Reduced(os.system, "touch edgetransfer_was_here"),
        Reduced(eval, "open('edgetransfer_was_here', 'w')"),
        Reduced(getattr, os, "system"),
        Reduced(exec, "import os"),
    ],
    ids=["system", "eval", "getattr", "exec"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(hostile, protocol, zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = Reduced(getattr, "text", "upper") if hostile.call[0] is getattr else hostile
    content = pickle.dumps({"weight": hostile}, protocol=protocol)
    if zipped:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        content = stream.getvalue()
    Path("model.pth").write_bytes(content)
    refused(Path("model.pth"), r"asks for (posix|nt|builtins|__builtin__)\.\w+, which .* refused")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


# === Safetensors ===


def safetensors_file(header: Any, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, shape: tuple[int, ...] = (2,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_file({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
        safetensors_file({"a": entry(0, 8), "b": entry(100, 108)}, bytes(16)),
        safetensors_file({"a": entry(0, 8)}, bytes(4)),
        safetensors_file({"a": entry(8, 0)}, bytes(8)),
        safetensors_file({"a": entry(0, 8, (2**40, 2**40))}, bytes(8)),
        safetensors_file({"a": entry(0, 8, (-2,))}, bytes(8)),
        safetensors_file({"a": entry(0, 8)}, bytes(8), length=2**39),
        safetensors_file(b'{"a": ' + b"[" * 3000, b""),
        safetensors_file(b'{"a": {"dtype": "F32"', bytes(8)),
    ],
    ids=["overlap", "gap", "short", "backwards", "huge", "negative", "long header", "deep", "cut"],
)
def test_a_safetensors_file_that_lies_is_refused(content, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(content)
    refused(tmp_path / "model.safetensors", r"whole \.safetensors file")


def test_a_safetensors_header_of_more_than_it_may_have_is_refused_unread(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 200 << 20) + b"{")
        file.truncate(300 << 20)  # sparse: takes no room
    refused(path, r"whole \.safetensors file: .*(header|Header)")


# === Keras ===


def keras_archive(path: Path, weights: bytes, compression: int = zipfile.ZIP_STORED, config: Any = None) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", json.dumps({"config": {"layers": []}} if config is None else config))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", weights)


def test_a_keras_file_that_unpacks_to_far_more_than_it_has_is_refused(tmp_path):
    keras_archive(tmp_path / "bomb.keras", bytes(50 << 20), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.keras").stat().st_size < 100_000
    refused(tmp_path / "bomb.keras", "unpacks to 52,428,800; refused")


@pytest.mark.parametrize("kind", ["filled", "packed", "external", "link"])
def test_a_dataset_that_is_not_there_or_elsewhere_is_refused(kind, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.weights.h5"
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        if kind == "filled":  # 4 TB of zeros, none of which is stored
            group.create_dataset("0", (10**6, 10**6), "f4", chunks=(1000, 1000))
        elif kind == "packed":
            group.create_dataset("0", data=np.zeros((3000, 3000), "f4"), compression="gzip")
        elif kind == "external":
            group.create_dataset("0", (4, 4), "f4", external=[(str(tmp_path / "secret"), 0, 64)])
        else:
            group["0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "x")
    refused(path, "refused|another file|got none")


def test_a_configuration_that_is_nested_without_end_is_refused(tmp_path, source_paths):
    with zipfile.ZipFile(source_paths["keras_file"]) as archive:
        weights = archive.read("model.weights.h5")
    config: dict[str, Any] = {}
    for _ in range(100):
        config = {"class_name": "Functional", "config": {"name": "a", "layers": [config]}}
    for wrong in (config, {"config": 3}, {"config": {"layers": [1, "x", {"config": [2]}]}}):
        keras_archive(tmp_path / "model.keras", weights, config=wrong)
        found = open_source(tmp_path / "model.keras")  # the file's own groups say enough
        assert sorted(t.role for t in found.tensors)[:4] == ["bias"] * 4
    (tmp_path / "model.keras").unlink()
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
        archive.writestr("model.weights.h5", weights)
    refused(tmp_path / "model.keras", "whole file of Keras 3")


# === ONNX ===


def external_onnx(path: Path, location: str, offset: int = 0) -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4, 2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", "32")):
        tensor.external_data.add(key=key, value=value)
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [], [], [tensor])
    path.write_bytes(onnx.helper.make_model(graph, producer_name="test").SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "/etc/hostname", "..\\secret", "C:secret", ""])
def test_an_onnx_file_cannot_read_outside_of_its_folder(location, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "inner").mkdir()
    external_onnx(tmp_path / "inner" / "model.onnx", location)
    refused(tmp_path / "inner" / "model.onnx", "outside of the folder; refused")


def test_an_onnx_file_cannot_read_through_a_link(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "weights").symlink_to(tmp_path / "secret")
    external_onnx(tmp_path / "inner" / "model.onnx", "weights")
    refused(tmp_path / "inner" / "model.onnx", "a link out of the folder; refused")


def test_numbers_beside_an_onnx_file_are_read_and_part_of_its_hash(tmp_path):
    external_onnx(tmp_path / "model.onnx", "weights.bin", offset=16)
    refused(tmp_path / "model.onnx", "which is not beside it")
    stored = np.arange(12, dtype="<f4")
    (tmp_path / "weights.bin").write_bytes(stored.tobytes())
    model = open_source(tmp_path / "model.onnx")
    np.testing.assert_array_equal(model.tensors[0].values("IO"), stored[4:].reshape(4, 2))
    (tmp_path / "weights.bin").write_bytes(stored[::-1].tobytes())
    assert open_source(tmp_path / "model.onnx").sha256 != model.sha256
    external_onnx(tmp_path / "model.onnx", "weights.bin", offset=32)
    refused(tmp_path / "model.onnx", "which ends before")


@pytest.mark.parametrize("dims", [[2**31, 2**31], [-4, 2], [4, 3]])
def test_an_onnx_array_that_says_it_has_more_than_is_stored_is_refused(dims, tmp_path):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=dims, raw_data=bytes(20))
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [], [], [tensor])
    (tmp_path / "x.onnx").write_bytes(onnx.helper.make_model(graph, producer_name="test").SerializeToString())
    refused(tmp_path / "x.onnx", "than are stored|has the shape|parameter 'w'")


# === TensorFlow Lite ===


def test_wild_offsets_in_a_tensorflow_lite_file_are_refused_or_harmless(source_paths, tmp_path):
    whole, rng = source_paths["tflite"].read_bytes(), np.random.default_rng(1)
    outcomes = set()
    for at in rng.integers(0, len(whole) // 4, 120):
        for word in (0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, len(whole) - 1):
            path = tmp_path / "wild.tflite"
            path.write_bytes(whole[: at * 4] + struct.pack("<I", word) + whole[at * 4 + 4 :])
            try:
                [tensor.values() for tensor in open_source(path).tensors]
                outcomes.add("read")
            except WeightsError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph, tensor: setattr(tensor, "shape", [1 << 20, 1 << 20, 1, 1]), "needs 4398046511104 bytes"),
        (lambda graph, tensor: setattr(tensor, "shape", [-3, 3, 3, 4]), "of shape"),
        (lambda graph, tensor: setattr(tensor, "shape", [1] * 20), "20 axes"),
        (lambda graph, tensor: setattr(tensor, "buffer", 4000), "no buffer 4000"),
        (
            lambda graph, tensor: setattr(graph.subgraph.operators[0], "inputs", [0, 99999]),
            "a tensor that is not there",
        ),
    ],
)
def test_a_tensorflow_lite_file_that_lies_about_a_tensor_is_refused(change, message, source_paths, tmp_path):
    from edgetransfer.quantize.flatbuffer import Graph

    graph = Graph.read(source_paths["tflite"].read_bytes())
    change(graph, graph.tensor(graph.ops()[0].inputs[1]))
    (tmp_path / "lie.tflite").write_bytes(graph.to_bytes())
    refused(tmp_path / "lie.tflite", message)


# === SavedModel ===


def test_a_folder_with_several_checkpoints_or_none_is_refused(tmp_path):
    (tmp_path / "a.index").write_bytes(b"")
    (tmp_path / "b.index").write_bytes(b"")
    refused(tmp_path, r"expected one checkpoint .*, got a\.index, b\.index")
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / "saved_model.pb").write_bytes(b"\x08\x01")
    refused(tmp_path / "frozen", r"got none; a SavedModel whose graph holds its weights as constants")


def test_a_checkpoint_whose_data_is_a_link_out_of_the_folder_is_refused(source_paths, tmp_path):
    folder = tmp_path / "sm" / "variables"
    folder.mkdir(parents=True)
    source = source_paths["saved_model"] / "variables"
    (folder / "variables.index").write_bytes((source / "variables.index").read_bytes())
    (folder / "variables.data-00000-of-00001").symlink_to(source / "variables.data-00000-of-00001")
    refused(tmp_path / "sm", "a link out of the folder; refused")


# === What is odd and no attack ===


def test_numbers_that_are_none_are_counted_and_not_refused(networks, tmp_path):
    from safetensors.numpy import save_file

    state = networks.torch_state()
    state["top.weight"] = state["top.weight"].copy()
    state["top.weight"][0, :2] = np.nan, -np.inf
    save_file(state, tmp_path / "nan.safetensors")
    report = inspect(open_source(tmp_path / "nan.safetensors"))
    assert {one.tensor.name: one.not_finite for one in report.facts if one.not_finite} == {"top.weight": 2}
    assert "2 numbers, in top.weight" in report.as_text()
    assert report.to_json()["not_finite"] == 2


def test_names_with_control_characters_are_shown_escaped(tmp_path):
    from safetensors.numpy import save_file

    name = "evil\x1b[2J\n\u202egnirts.weight"
    save_file({name: np.zeros((2, 2), np.float32)}, tmp_path / "x.safetensors")
    report = inspect(open_source(tmp_path / "x.safetensors"))
    assert report.model.tensors[0].name == name
    text = report.as_text()
    assert r"evil\x1b[2J\n\u202egnirts" in text
    assert all(line.isprintable() for line in text.splitlines())
