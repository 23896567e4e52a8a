"""One camera with several heads: built at the desk from patches of photographs, taught and asked at the camera."""

from __future__ import annotations

import pytest


@pytest.fixture
def run(run_example):
    return lambda script, *arguments: run_example(f"many_heads/{script}", *arguments)


@pytest.fixture
def frames(tiny_bundle, tmp_path):
    from PIL import Image

    for name, channel in (("frames", 0), ("greys", 3)):
        (tmp_path / name).mkdir()
        for number, frame in enumerate(tiny_bundle.shades(channel, 5, seed=2)):
            Image.fromarray(frame).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_the_camera_answers_and_learns_a_label_on_the_spot(run, tiny_bundle, frames):
    bundle = tiny_bundle.make_split_bundle(frames / "tiny.bundle").path
    answered = run("camera.py", bundle, frames / "frames")
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.splitlines()[0].startswith("0.png: colour red ")
    taught = run("camera.py", bundle, frames / "greys", "--teach", "grey", frames / "greys")
    assert "learned 'grey' from 5 examples" in taught.stdout
    assert sum("colour grey" in line for line in taught.stdout.splitlines()) == 5


def test_what_is_wrong_is_said_in_one_line(run, tmp_path):
    done = run("camera.py", tmp_path / "none.bundle", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_desk_builds_one_bundle_for_all_questions(run, photos, small_keras, tmp_path):
    import keras

    pixels = keras.Input((32, 32, 3), name="pixels_raw")
    scaled = keras.layers.Rescaling(1 / 128, -127 / 128, name="rescaling")(pixels)
    keras.Model(pixels, small_keras(scaled), name="with_front").save(tmp_path / "small.keras")
    folder = photos.write_photos(tmp_path / "photos", each=30)
    rows = [f"{path},{'alive' if path.parent.name == 'cat' else 'thing'}" for path in sorted(folder.glob("*/*.png"))]
    (tmp_path / "alive.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    heads = [f"what={folder}", f"alive={tmp_path / 'alive.csv'}"]
    built = run("build.py", tmp_path / "camera.bundle", *heads, "--backbone", f"keras:{tmp_path / 'small.keras'}")
    assert built.returncode == 0, built.stderr
    asked = run("camera.py", tmp_path / "camera.bundle", folder / "cat")
    assert asked.returncode == 0, asked.stderr
    assert sum("alive alive" in line for line in asked.stdout.splitlines()) > 15
