from __future__ import annotations

import json
import shlex

import pytest

pytest.importorskip("ai_edge_quantizer", reason="building needs the extra 'train'")

NARROW = ("--normalise", "1/128,127", "--recipe", "float32", "--photos", 20, "-q")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, small_keras):
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    small_keras.save(path)
    return f"keras:{path}"


def refused(result, code=1):
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def test_it_ends_with_the_command_that_builds_the_best(call, photos, backbone, tmp_path):
    picture = tmp_path / "front.svg"
    result = call("recommend", photos, "--backbone", backbone, *NARROW, "--picture", picture)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"next:  edgetransfer build {photos}")
    assert picture.read_bytes().startswith(b"<?xml")
    build = shlex.split(last)[2:]
    shown = call("plan", *build[1 : build.index("--output")], "-q")
    assert shown.exit_code == 0, shown.stderr
    assert "float32 was asked for" in shown.stdout


def test_json_is_one_document_and_progress_goes_elsewhere(call, document, photos, backbone):
    result = call("recommend", photos, "--backbone", backbone, *NARROW[:-1], "--device", "raspberry_pi_4", "--json")
    assert result.exit_code == 0, result.stderr
    found = document(result)
    assert found["device"] == "raspberry_pi_4"
    assert [row["recipe"] for row in found["judged"]] == ["float32"]
    assert "judging" in result.stderr


def test_limits_that_nothing_holds_end_with_one(call, document, photos, backbone):
    result = call("recommend", photos, "--backbone", backbone, *NARROW, "--max-bytes", 100, "--json")
    assert result.exit_code == 1
    found = document(result)
    assert found["best"] is found["command"] is None
    assert found["left_out"][0]["kind"] == "limit"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backbone", "mobilnet_v2"), "did you mean 'mobilenet_v2'"),
        (("--device", "raspbery_pi_4"), "did you mean 'raspberry_pi_4'"),
        (("--recipe", "static_int9"), "did you mean 'static_int8'"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(call, photos, arguments, message):
    assert message in refused(call("recommend", photos, "-q", *arguments))


def test_a_picture_is_refused_before_any_work(call, photos, tmp_path):
    assert "ends in .svg or .png" in refused(call("recommend", photos, "--picture", "front.pdf"), code=2)
    there = tmp_path / "front.png"
    there.write_bytes(b"old")
    assert "add --force" in refused(call("recommend", photos, "-q", "--picture", there))
    assert "no such folder" in refused(call("recommend", photos, "-q", "--picture", tmp_path / "no" / "front.svg"))
    assert "is a folder" in refused(call("recommend", photos, "-q", "--force", "--picture", _folder(tmp_path)))
    assert there.read_bytes() == b"old"


def _folder(tmp_path):
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    return folder


def test_an_unfinished_picture_leaves_the_old_one(call, photos, backbone, tmp_path):
    there = tmp_path / "front.png"
    there.write_bytes(b"old")
    options = ("--backbone", backbone, *NARROW, "--max-bytes", 100, "--picture", there, "--force")
    assert call("recommend", photos, *options).exit_code == 1
    assert there.read_bytes() == b"old"


def test_the_time_budget_and_photos_are_checked(call, photos):
    assert "--photos" in refused(call("recommend", photos, "--photos", 3), code=2)
    assert "--time-budget" in refused(call("recommend", photos, "--time-budget", 0), code=2)


def test_json_of_a_run_without_a_device_has_measured_times(call, photos, backbone):
    found = json.loads(call("recommend", photos, "--backbone", backbone, *NARROW, "--json").stdout)
    assert found["judged"][0]["latency"]["measured"] is True
