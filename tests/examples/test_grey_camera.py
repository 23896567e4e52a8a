"""A backbone moved to a grey camera, from patches of photographs in colour."""

from __future__ import annotations

import functools
import re

import pytest


@pytest.fixture
def run(run_example):
    return functools.partial(run_example, "grey_camera/grey_camera.py")


@pytest.mark.slow
def test_the_grey_camera_answers_a_sensors_frames_and_is_compared_with_the_one_in_colour(
    run, photos, small_backbone, tmp_path
):
    from edgetransfer.spec.bundle import Bundle

    data = photos.write_photos(tmp_path / "photos", each=20, size_px=(32, 32))
    done = run(data, tmp_path / "out", "--backbone", f"keras:{small_backbone}")
    assert done.returncode == 0, done.stderr
    assert "stem: takes grey now; of grey pictures it computes what it did" in done.stdout
    figures = {re.split(r"\s{2,}", line)[0]: line for line in done.stdout.splitlines()}
    assert re.search(r"921,600 +307,200$", figures["bytes of a frame"])
    assert re.search(r"3,072 +1,024$", figures["bytes of the model's input"])
    right, of = map(int, re.search(r"(\d+) of (\d+)$", figures["right of the sensor's frames"]).groups())
    assert right > of / 2  # of three classes
    assert any(line.startswith("grey on the device, predicted: ") for line in done.stdout.splitlines())
    manifest = Bundle.load(tmp_path / "out" / "grey.bundle").manifest
    assert (manifest.image.channels, manifest.recipe.name, manifest.device) == (
        1,
        "static_int8",
        "raspberry_pi_zero_2w",
    )


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    pytest.importorskip("keras", reason="building needs the extra 'train'")
    done = run(tmp_path / "none", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
