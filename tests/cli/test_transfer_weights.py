from __future__ import annotations

import json

import pytest

keras = pytest.importorskip("keras", reason="weights are transferred with the extra 'train'")


def network(path, width):
    layers = keras.layers
    pixels = keras.Input((32, 32, 3), name="pixels")
    x = layers.ReLU(name="relu")(layers.Conv2D(width, 3, name="stem")(layers.Rescaling(1 / 255, name="scale")(pixels)))
    keras.Model(pixels, layers.GlobalAveragePooling2D(name="pool")(x), name=f"net{width}").save(path)
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return network(folder / "eight.keras", 8), network(folder / "six.keras", 6)


def test_a_dry_run_says_what_would_be_done(paths, call):
    eight, six = paths
    text = call("transfer", "weights", f"keras:{eight}", f"keras:{six}", "--dry-run", "-q").stdout
    assert "coverage: 100.0% of the target's parameters come from the source" in text
    assert "6 of 8 channels out" in text
    assert "agreement not measured" in text
    assert text.endswith("nothing was written\n")


def test_a_transfer_writes_a_backbone_and_one_json_document(paths, call, tmp_path):
    eight, six = paths
    out = tmp_path / "slim.keras"
    found = json.loads(
        call("transfer", "weights", f"keras:{eight}", f"keras:{six}", "--output", out, "--json", "-q").stdout
    )
    assert found["backbone"] == str(out)
    assert out.is_file()
    assert [one["target"] for one in found["mapping"]["tensors"]] == ["stem/kernel", "stem/bias"]
    assert found["agreement"] is None


def test_weights_of_another_width_are_refused_in_one_line(paths, call, tmp_path):
    eight, six = paths
    result = call("transfer", "weights", eight, f"keras:{six}", "--output", tmp_path / "x.keras", "-q")
    assert result.exit_code == 1
    assert "'stem' (3 x 3 x 3 x 8)" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x.keras").exists()


@pytest.mark.parametrize("more", [(), ("--dry-run", "--output", "x.keras")])
def test_either_an_output_or_a_dry_run_is_asked_for(more, call):
    result = call("transfer", "weights", "a.pth", "mobilenet_v2", *more)
    assert result.exit_code == 2
    assert "Give either --output NAME.keras or --dry-run." in result.stderr
