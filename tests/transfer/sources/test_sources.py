"""The contract of every format: the same network, whatever it is written in, gives the same numbers."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.sources import formats, get_format, open_source

FORMATS = formats()
STATED = {"keras_file", "legacy_h5", "onnx", "tflite"}
UNORDERED = ("saved_model", "safetensors")  # an object graph has inner models last; names are sorted


def test_the_network_is_written_in_every_format_that_is_registered(source_paths):
    assert set(source_paths) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_network_gives_the_same_numbers_in_every_format(name, source_paths, networks):
    model = open_source(source_paths[name])
    assert model.format == name
    found = list(model.tensors)
    if name in UNORDERED:
        order = [path.replace("kernel", "weight") if name == "safetensors" else path for path in networks.TRUTH]
        assert {tensor.name.replace(".", "/") for tensor in found} == set(order)
        found.sort(key=lambda tensor: order.index(tensor.name.replace(".", "/")))
    assert [tensor.role for tensor in found] == list(networks.ROLES)
    for tensor, layout, (path, values) in zip(found, networks.LAYOUTS, networks.truth().items(), strict=True):
        np.testing.assert_array_equal(tensor.values(layout), values, err_msg=f"{name}: {tensor.name}, {path}")
        assert tensor.mappable
        assert tensor.stated == (name in STATED)
        assert (tensor.dtype, tensor.size) == ("float32", values.size)
        assert tensor.stored_bytes == values.nbytes


@pytest.mark.parametrize("name", FORMATS)
def test_a_kernel_and_its_bias_are_one_layer(name, source_paths):
    layers = open_source(source_paths[name]).layers()
    assert len(layers) == 4
    for layer in layers.values():
        assert [tensor.role for tensor in layer.tensors] in (
            ["kernel", "bias"],
            ["depthwise_kernel", "bias"],
            ["dense_kernel", "bias"],
        )
        assert layer.tensor("bias") is layer.tensors[1]
        assert layer.tensor("gamma") is None


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_the_callers_own(name, source_paths):
    tensor = open_source(source_paths[name]).tensors[0]
    before = tensor.values()
    tensor.values()[...] = 0
    np.testing.assert_array_equal(tensor.values(), before)
    assert before.any()


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_is_told_by_the_content_and_not_by_the_ending(name, source_paths, tmp_path):
    path = tmp_path / "model.bin"
    path.symlink_to(source_paths[name])
    assert open_source(path).format == name


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_takes_the_file_of_another(name, source_paths):
    from edgetransfer.transfer.sources import _look

    looks = _look(source_paths[name])
    assert [other for other in FORMATS if get_format(other).recognises(looks)] == [name]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "saved_model"])
def test_the_sha256_is_that_of_the_file(name, source_paths):
    assert open_source(source_paths[name]).sha256 == hashlib.sha256(source_paths[name].read_bytes()).hexdigest()


def test_the_sha256_of_a_folder_is_that_of_its_files(source_paths, tmp_path):
    folder = source_paths["saved_model"] / "variables"
    lines = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  variables/{f.name}\n" for f in sorted(folder.iterdir())]
    assert len(lines) == 2
    found = open_source(source_paths["saved_model"]).sha256
    assert found == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "saved_model"])
def test_a_truncated_file_is_refused_with_one_clear_error(name, source_paths, tmp_path):
    whole = source_paths[name].read_bytes()
    path = tmp_path / source_paths[name].name
    for share in (0.0, 0.001, 0.02, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: math.floor(len(whole) * share)])
        with pytest.raises(WeightsError, match=r"^(source|weights) .+: "):
            [tensor.values() for tensor in open_source(path).tensors]


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_damaged_bytes_is_read_or_refused_but_ends_in_no_other_error(name, source_paths, tmp_path):
    if name == "saved_model":
        source, path = source_paths[name] / "variables" / "variables.index", tmp_path / "sm" / "variables.index"
        path.parent.mkdir()
        (path.parent / "variables.data-00000-of-00001").write_bytes(
            (source.parent / "variables.data-00000-of-00001").read_bytes()
        )
        opened = path.parent
    else:
        source = source_paths[name]
        opened = path = tmp_path / source.name
    whole, rng = source.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(25):
        damaged = bytearray(whole)
        for at in rng.integers(0, min(len(whole), 4000), 4):
            damaged[at] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            [tensor.values() for tensor in open_source(opened).tensors]
        except WeightsError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"GIF89a, a picture", "begins with b'GIF89a, '"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04 truncated", "whole zip archive"),
        (b"<!DOCTYPE html>", "readable are: .*safetensors"),
    ],
)
def test_what_is_no_model_is_answered_with_what_is_read(content, message, tmp_path):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        open_source(tmp_path / "x.pth")


def test_a_path_without_a_file_is_said(tmp_path):
    with pytest.raises(WeightsError, match=r"missing\.onnx: cannot be read \(No such file"):
        open_source(tmp_path / "missing.onnx")
    with pytest.raises(WeightsError, match="a folder of a format that is not known, with nothing in it"):
        open_source(tmp_path)


def test_a_zip_archive_of_something_else_says_what_is_in_it(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(WeightsError, match=r"with 'photo\.jpg' in it"):
        open_source(tmp_path / "x.zip")


def test_every_format_says_in_a_few_words_what_it_reads():
    for name in FORMATS:
        assert 10 < len(get_format(name).SUMMARY) < 80
