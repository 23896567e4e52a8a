from __future__ import annotations

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="source models are read with the extra 'train'")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A network with a batch norm, a layer that cannot be mapped, and its path."""
    path = tmp_path_factory.mktemp("source") / "old.keras"
    layers = keras.layers
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(4, 3, use_bias=False, strides=2, name="stem")(pixels)
    x = layers.PReLU(shared_axes=(1, 2), name="act")(layers.BatchNormalization(epsilon=0.02, name="norm")(x))
    keras.Model(pixels, layers.Dense(2, name="top")(layers.GlobalAveragePooling2D()(x)), name="old").save(path)
    return path


def test_inspect_lists_layers_roles_and_layouts(source, call):
    lines = call("transfer", "inspect", source).stdout.splitlines()
    rows = [line.split() for line in lines]
    assert lines[0].startswith(f"{source}  ")
    assert ["parameters", "138", "in", "8", "arrays", "of", "4", "layers,", "0.00", "MB"] in rows
    assert ["can", "be", "mapped", "134", "(97.1%)"] in rows
    assert [
        "stem",
        "Conv2D",
        "layers/conv2d/vars/0",
        "kernel",
        "HWIO",
        "float32",
        "3",
        "x",
        "3",
        "x",
        "3",
        "x",
        "4",
    ] in rows
    assert any("BatchNormalization (epsilon 0.02)" in line for line in lines)
    assert "1 x of a layer 'PReLU', which cannot be mapped: layers/p_re_lu/vars/0" in lines[-1]


def test_inspect_gives_json_with_everything_that_is_known(source, call):
    report = json.loads(call("transfer", "inspect", source, "--json").stdout)
    assert (report["format"], report["parameters"], report["mappable_parameters"]) == ("keras_file", 138, 134)
    assert report["bytes"] == 138 * 4
    stem, norm, act, top = report["layers"]
    assert (stem["kind"], stem["attributes"]["strides"]) == ("Conv2D", [2, 2])
    assert norm["epsilon"] == 0.02
    assert [tensor["role"] for tensor in norm["tensors"]] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert act["tensors"][0]["mappable"] is False
    assert "PReLU" in act["tensors"][0]["problem"]
    assert [tensor["layout"] for tensor in top["tensors"]] == ["IO", "C"]


def test_inspect_marks_what_it_inferred(call, tmp_path):
    from safetensors.numpy import save_file

    save_file({"a.weight": np.ones((3, 2), np.float32)}, tmp_path / "a.safetensors", {"format": "pt"})
    text = call("transfer", "inspect", tmp_path / "a.safetensors").stdout
    assert "dense_kernel ?" in text
    assert "? inferred from names and shapes" in text
    assert "written by" in text
    assert "PyTorch" in text


def test_inspect_answers_what_is_no_model_in_one_line(call, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model at all")
    result = call("transfer", "inspect", tmp_path / "x.onnx")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "readable are: " in result.stderr
    assert result.stderr.count("\n") == 1
