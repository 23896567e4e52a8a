"""The runtime in an app, as a process of its own: raw frames in, one line a frame out."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "examples" / "embed_runtime" / "app.py"
WIDTH_PX, HEIGHT_PX = 64, 48

# The app's environment in small: what an `edgetransfer[litert]` installation does not have cannot be imported.
GUARDED = f"""
import runpy, sys
for name in ("PIL", "keras", "tensorflow", "click", "flatbuffers", "h5py"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path({str(APP)!r}, run_name="__main__")
"""


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = load("tiny_bundle", ROOT / "tests" / "tiny_bundle.py")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.make_bundle(tmp_path_factory.mktemp("app") / "tiny.bundle").path


@pytest.fixture(scope="module")
def frames():
    """Red, green and blue frames, four of each."""
    rng = np.random.default_rng(5)
    found = rng.integers(0, 120, (12, HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8)
    for number, frame in enumerate(found):
        frame[..., number // 4] += 120
    return found


def app(*arguments, stdin: bytes = b""):
    return subprocess.run(
        [sys.executable, "-c", GUARDED, "app.py", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_every_raw_frame_from_standard_input_gets_its_answer(bundle, frames):
    done = app(bundle, "--size", f"{WIDTH_PX}x{HEIGHT_PX}", "--every", stdin=frames.tobytes())
    assert done.returncode == 0, done.stderr.decode()
    *lines, summary = done.stdout.decode().splitlines()
    answers = [line.split()[2] for line in lines]
    assert answers == [label for label in tiny.LABELS for _ in range(4)]
    assert summary.startswith("12 answers, 0 frames dropped, p50 ")


def test_frames_come_from_a_file_too_and_an_incomplete_last_one_is_left_out(bundle, frames, tmp_path):
    file = tmp_path / "frames.rgb"
    file.write_bytes(frames[:2].tobytes() + b"cut")
    done = app(bundle, "--size", f"{WIDTH_PX}x{HEIGHT_PX}", "--every", "--source", file)
    assert done.stdout.decode().splitlines()[-1].startswith("2 answers")


def test_when_frames_come_too_fast_the_newest_is_answered_and_the_rest_counted(bundle, frames):
    done = app(bundle, "--size", f"{WIDTH_PX}x{HEIGHT_PX}", stdin=frames.tobytes())
    *lines, summary = done.stdout.decode().splitlines()
    answered, dropped = (int(part.split()[0]) for part in summary.split(",")[:2])
    assert answered + dropped == len(frames)
    assert len(lines) == answered
    assert lines[-1].startswith("frame 11: blue")


def test_a_bundle_that_was_changed_stops_the_app_at_the_start(bundle, tmp_path):
    changed = tmp_path / "changed.bundle"
    changed.mkdir()
    for path in bundle.rglob("*"):
        target = changed / path.relative_to(bundle)
        target.parent.mkdir(exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
    model = changed / "model.tflite"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(bytes(content))
    done = app(changed, "--size", "8x8")
    assert done.returncode == 1
    assert "model.tflite was changed" in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_missing_bundle_and_a_missing_source_are_one_line(bundle, tmp_path):
    for arguments in ((tmp_path / "none.bundle",), (bundle, "--source", tmp_path / "none.rgb")):
        done = app(*arguments, "--size", "8x8")
        assert done.returncode == 1
        lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("INFO")]
        assert len(lines) == 1
        assert lines[0].startswith("Error: ")


@pytest.mark.parametrize("size", ["640", "0x480", "ax b"])
def test_a_size_that_is_none_is_refused(size, bundle):
    done = app(bundle, "--size", size)
    assert done.returncode == 2
    assert b"expected WIDTHxHEIGHT" in done.stderr


def test_what_goes_wrong_in_the_worker_reaches_the_main_thread():
    embed = load("embed_runtime_app", APP)

    class Broken:
        def predict(self, frame):
            raise ValueError("no such luck")

    worker = embed.Worker(Broken(), lambda *_: None)
    worker.offer(0, np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="no such luck"):
        worker.close()
