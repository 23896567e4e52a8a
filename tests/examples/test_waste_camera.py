"""The waste camera: built at the desk from patches of photographs, then shown frames."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "waste_camera"


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = load("tiny_bundle", ROOT / "tests" / "tiny_bundle.py")
camera = load("waste_camera", FOLDER / "camera.py")


@pytest.fixture
def run(run_example):
    return lambda script, *arguments: run_example(f"waste_camera/{script}", *arguments)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, small_keras):
    """A small model that says itself what it expects of a pixel, as users' models do."""
    import keras

    pixels = keras.Input((32, 32, 3), name="pixels_raw")
    scaled = keras.layers.Rescaling(1 / 128, -127 / 128, name="rescaling")(pixels)
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    keras.Model(pixels, small_keras(scaled), name="with_front").save(path)
    return path


@pytest.mark.slow
def test_a_folder_of_photos_becomes_a_camera_that_opens_the_right_flap(run, backbone, photos, tmp_path):
    folder = photos.write_photos(tmp_path / "photos", each=30)
    built = run("build.py", folder, tmp_path / "waste.bundle", "--backbone", f"keras:{backbone}", "--at-least", 0.5)
    assert built.returncode == 0, built.stderr
    assert "verified       yes" in built.stdout
    assert "training the head" in built.stderr
    watched = run("camera.py", tmp_path / "waste.bundle", folder / "rocket")
    assert watched.returncode == 0, watched.stderr
    lines = watched.stdout.splitlines()
    assert sum(" rocket " in line for line in lines) > 15
    again = run("build.py", folder, tmp_path / "waste.bundle", "--backbone", f"keras:{backbone}", "--at-least", 1.01)
    assert again.returncode == 1
    assert "more photos help most" in again.stderr


def test_the_camera_says_what_is_wrong_in_one_line(run, tmp_path):
    done = run("camera.py", tmp_path / "none.bundle", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_frame_that_cannot_be_read_is_skipped(run, tmp_path):
    bundle = tiny.make_bundle(tmp_path / "tiny.bundle").path
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "0.png").write_bytes(b"half")
    for number in (1, 2, 3):
        write_red(frames / f"{number}.png")
    done = run("camera.py", bundle, frames)
    assert "skipped: " in done.stderr
    assert done.stdout.splitlines()[-2].startswith("3.png: red ")
    assert done.stdout.splitlines()[-1] == "open the flap for red"


def write_red(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), (250, 10, 10)).save(path)


def test_the_flap_opens_once_when_three_frames_agree():
    flap = camera.Flap()
    answers = [("glass", 0.9), ("glass", 0.9), ("paper", 0.9), ("glass", 0.9), ("glass", 0.9), ("glass", 0.9)]
    assert [flap.look(*answer) for answer in answers] == [None, None, None, None, None, "glass"]
    assert [flap.look("glass", 0.9) for _ in range(3)] == [None, None, None]
    assert [flap.look("paper", 0.7) for _ in range(3)] == [None, None, "paper"]


def test_the_flap_stays_shut_when_the_camera_is_not_sure():
    flap = camera.Flap()
    assert [flap.look("glass", 0.59) for _ in range(5)] == [None] * 5


def test_frames_are_the_photos_of_a_folder_by_name(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in camera.frames(tmp_path, follow=False)] == ["a.PNG", "b.jpg"]
