"""A backbone tuned, fused and compared with itself, from patches of photographs."""

from __future__ import annotations

import functools

import pytest


@pytest.fixture
def run(run_example):
    return functools.partial(run_example, "tune_and_fuse/tune.py")


@pytest.mark.slow
def test_three_bundles_come_out_and_are_compared(run, photos, small_backbone, tmp_path):

    data = photos.write_photos(tmp_path / "photos", each=16, size_px=(32, 32))
    done = run(data, tmp_path / "out", "--backbone", f"keras:{small_backbone}", "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        *("tuned.keras", "fused.keras"),
        *("frozen.bundle", "tuned.bundle", "fused.bundle"),
    }
    assert "frozen.bundle against tuned.bundle" in done.stdout
    assert "tuned.bundle against fused.bundle" in done.stdout


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    pytest.importorskip("keras", reason="building needs the extra 'train'")
    done = run(tmp_path / "none", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
