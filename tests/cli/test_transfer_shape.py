"""The command transfer reshape for other cameras."""

import json

import pytest

from edgetransfer.spec.preprocess import Normalisation

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, write_backbone  # noqa: E402


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, small_keras):
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    write_backbone(path, small_keras, BackboneFacts("small", Normalisation(1 / 128, 127), "Apache-2.0", "", "photos"))
    return f"keras:{path}"


def test_a_backbone_is_moved_to_a_grey_camera(call, backbone, tmp_path):
    done = call("transfer", "reshape", backbone, "--channels", 1, "--output", tmp_path / "grey.keras", "--json")
    report = json.loads(done.stdout)
    assert (report["before"]["input"], report["after"]["input"]) == ([32, 32, 3], [32, 32, 1])
    assert report["stem"] == ["stem"]
    assert report["accuracy"] == {}


def test_a_fourth_channel_begins_as_it_is_told(call, backbone, tmp_path):
    arguments = ["transfer", "reshape", backbone, "--channels", 4, "--output"]
    assert json.loads(call(*arguments, tmp_path / "a.keras", "--json").stdout)["fourth"] == "zero"
    assert json.loads(call(*arguments, tmp_path / "b.keras", "--fourth", "mean", "--json").stdout)["fourth"] == "mean"


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        (["--channels", 2], "can be adapted to 1 or 4 channels, got 2", 1),
        (["--channels", 3], "can be adapted to 1 or 4 channels, got 3", 1),
        (["--channels", 5], "5 is not in the range", 2),
        (["--channels", 1, "--fourth", "mean"], "--fourth is for --channels 4", 2),
        (["--channels", 1, "--recipe", "static_int8"], "--recipe is for --data", 2),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(call, backbone, tmp_path, options, words, code):
    done = call("transfer", "reshape", backbone, *options, "--output", tmp_path / "out.keras")
    assert done.exit_code == code
    assert words in done.stderr
    assert not (tmp_path / "out.keras").exists()
