"""A student taught by EfficientNet-Lite2, on patches of photographs."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.fixture
def run(run_example):
    return functools.partial(run_example, "teach_a_small_one/teach.py")


@pytest.mark.slow
def test_a_student_is_taught_built_and_compared_with_itself(run, photos, small_backbone, tmp_path):
    from edgetransfer.models.backbone_file import read_facts

    data = photos.write_photos(tmp_path / "photos", each=16, size_px=(32, 32))
    done = run(
        *(data, tmp_path / "out", "--student", small_backbone, "--teacher-size", 64, "--epochs", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "teacher efficientnet_lite2" in done.stdout
    assert "untaught.bundle against taught.bundle" in done.stdout
    assert read_facts(tmp_path / "out/taught.keras").history[-1]["about"]["teacher"] == "efficientnet_lite2"


@pytest.mark.slow
def test_a_wider_network_is_cut_down_to_the_student(run, photos, shared, tmp_path):
    from edgetransfer.models.backbone_file import read_facts

    wide = shared / "data/backbones/mobilenetv2-1.0-imagenet/mobilenetv2_1.0_224_dequant.keras"
    data = photos.write_photos(tmp_path / "photos", each=16, size_px=(64, 64))
    small = ("--input-size", 96, "--teacher-size", 64, "--epochs", 1, "--alpha", 0.75)
    done = run(data, tmp_path / "out", "--source", wide, *small)
    assert done.returncode == 0, done.stderr
    steps = [step["step"] for step in read_facts(tmp_path / "out/taught.keras").history]
    assert steps == ["transfer_weights", "distill"]


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    done = run(tmp_path / "none", tmp_path / "out", "--student", tmp_path / "none.keras")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
