from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from PIL import Image

from edgetransfer.spec.preprocess import ImageInput

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[1] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


@pytest.fixture(scope="module")
def copy(bundle, tmp_path_factory):
    """A bundle equal to `bundle`."""
    path = tmp_path_factory.mktemp("copies") / "copy.bundle"
    shutil.copytree(bundle, path)
    return path


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A bundle that calls red what the others call blue."""
    return tiny.make_bundle(tmp_path_factory.mktemp("mixed") / "mixed.bundle", labels=tiny.LABELS[::-1]).path


def size_of(picture):
    with Image.open(picture) as image:
        return image.size


def test_equal_bundles_exit_with_0_and_nothing_differs(call, document, bundle, copy, photos):
    result = call("parity", bundle, copy, "--data", photos, "--json")
    assert result.exit_code == 0
    report = document(result)
    assert (report["report"], report["passed"], report["reference"]) == ("parity", True, "tiny.bundle")
    assert report["pixels"][0]["bits"] == 0
    assert report["outputs"][0]["steps_max"] == 0
    assert report["worst"] == []
    assert "comparing 2 artifacts" in result.stderr


def test_the_text_has_the_figures_and_the_checks(call, bundle, mixed, photos):
    result = call("parity", bundle, mixed, "--data", photos, "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "answers differ on" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("ok")


def test_too_little_agreement_exits_with_1_and_still_reports(call, document, bundle, mixed, photos):
    result = call("parity", bundle, mixed, "--data", photos, "--min-agreement", 0.99, "--json")
    assert result.exit_code == 1
    assert document(result)["passed"] is False
    assert call("parity", bundle, mixed, "--data", photos, "--min-agreement", 0).exit_code == 0


def test_another_preprocessing_is_told_and_not_refused(call, bundle, photos, tmp_path):
    tiny.make_bundle(tmp_path / "crop.bundle", preprocess=ImageInput(tiny.SIDE_PX, tiny.SIDE_PX, "crop"))
    result = call("parity", bundle, tmp_path / "crop.bundle", "--data", photos)
    assert result.exit_code == 0
    assert "other fit crop (reference squash)" in result.stdout


def test_the_worst_images_are_drawn_where_asked_and_nothing_is_replaced(call, bundle, mixed, photos, tmp_path):
    picture = tmp_path / "worst.png"
    options = ("parity", bundle, mixed, "--data", photos, "--grid", picture)
    result = call(*options, "--worst", 2)
    assert result.exit_code == 0
    assert "2 images drawn" in result.stderr
    first = size_of(picture)
    again = call(*options)
    assert again.exit_code == 1
    assert "exists already; choose another name or add --force" in again.stderr
    assert "reading the data" not in again.stderr  # refused before any work
    assert call(*options, "--worst", 3, "--force").exit_code == 0
    assert size_of(picture) > first
    assert [path.name for path in tmp_path.iterdir()] == ["worst.png"]


def test_no_picture_is_drawn_of_no_difference(call, bundle, copy, photos, tmp_path):
    result = call("parity", bundle, copy, "--data", photos, "--grid", tmp_path / "worst.png")
    assert "no sample differs" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("worst.jpg", 2, "expected a name that ends in .png"),
        ("nowhere/worst.png", 1, "no such folder"),
        ("folder.png", 1, "is a folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_first(name, code, message, call, bundle, copy, photos, tmp_path):
    (tmp_path / "folder.png").mkdir()
    result = call("parity", bundle, copy, "--data", photos, "--grid", tmp_path / name, "--force")
    assert result.exit_code == code
    assert message in result.stderr
    assert "reading the data" not in result.stderr


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_artifacts_are_refused(count, call, bundle, photos):
    result = call("parity", *[bundle] * count, "--data", photos)
    assert result.exit_code == (1 if count else 2)
    assert ("at least two artifacts" if count else "Missing argument") in result.stderr


def test_other_labels_are_one_line(call, bundle, photos, tmp_path):
    tiny.make_bundle(tmp_path / "other.bundle", labels=("red", "green", "violet"))
    result = call("parity", bundle, tmp_path / "other.bundle", "--data", photos, "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "only 'other.bundle' has 'violet'" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_that_is_no_artifact_is_one_line(call, bundle, photos):
    result = call("parity", bundle, photos, "--data", photos)
    assert result.exit_code == 1
    assert "expected a bundle" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_photo_that_went_away_is_named(call, bundle, copy, photos, tmp_path, monkeypatch):
    from edgetransfer import data

    shutil.copytree(photos, tmp_path / "photos")
    genuine = data.load_dataset

    def then_lost(*arguments, **options):
        found = genuine(*arguments, **options)
        found.split("test")[0].path.unlink()
        return found

    monkeypatch.setattr(data, "load_dataset", then_lost)
    result = call("parity", bundle, copy, "--data", tmp_path / "photos")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
