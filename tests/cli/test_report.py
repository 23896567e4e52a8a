from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from edgetransfer.spec.report import EvalReport, ProfileReport

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def own(bundle, tmp_path):
    """A copy of the bundle in a folder of its own, so that pages can be written beside it."""
    path = tmp_path / "waste.bundle"
    shutil.copytree(bundle, path)
    return path


@pytest.fixture
def mixed(photos, tmp_path):
    """The photos with a red one among the blue, all of them for testing."""
    folder = tmp_path / "mixed"
    shutil.copytree(photos, folder / "test")
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels).save(folder / "test" / "blue" / "not.png")
    return folder


def refused(result):
    """Return the one line that a refusal prints."""
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_the_page_is_written_beside_the_bundle_by_default(call, own):
    result = call("report", own, "--no-profile")
    assert result.exit_code == 0
    page = own.with_name("waste.html")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert result.stdout.startswith(f"page  {page}  (")
    assert "not in it: data and their cleaning" in result.stdout
    assert "edgetransfer report waste.bundle --data photos/" in result.stdout
    assert sorted(path.name for path in own.parent.iterdir()) == ["waste.bundle", "waste.html"]


def test_a_bundle_named_by_a_dot_has_its_page_beside_it(call, own, monkeypatch):
    monkeypatch.chdir(own)
    assert call("report", ".", "--no-profile", "-q").exit_code == 0
    assert own.with_name("waste.html").is_file()
    assert not (own / ".html").exists()


def test_with_photos_the_page_has_everything(call, document, own, mixed):
    result = call("report", own, "--data", mixed, "--device", "pixel_8", "--device", "raspberry_pi_5", "--json")
    assert result.exit_code == 0, result.stderr
    found = document(result)
    report = EvalReport.from_json(found["evaluation"]["report"])
    assert report.samples == 25
    assert [(one["name"], one["answer"]) for one in found["evaluation"]["mistakes"]] == [("test/blue/not.png", "red")]
    assert ProfileReport.from_json({k: v for k, v in found["profiles"][0].items() if k != "source"}).bundle == "tiny"
    expected = [row for row in found["latencies"] if not row["measured"]]
    assert [row["device"] for row in expected] == ["Raspberry Pi 5"]  # of the Pixel's speed nothing is known
    assert expected[0]["basis"].startswith("predicted, unvalidated for LiteRT")
    assert expected[0]["low_ms"] < expected[0]["ms"] < expected[0]["high_ms"]
    assert [one["slug"] for one in found["devices"]] == ["pixel_8", "raspberry_pi_5"]
    assert [one["section"] for one in found["missing"]] == ["metrics", "speed"]
    page = Path(found["page"])
    assert page.stat().st_size == found["page_bytes"]
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in ("Google Pixel 8", "Raspberry Pi 5", "test/blue/not.png", "measured here"))
    assert "measuring here" in result.stderr
    assert "evaluating the bundle (test split)" in result.stderr


def test_heads_outside_of_the_graph_are_measured_each_on_its_own_data(call, document, split_bundle, mixed, tmp_path):
    output = tmp_path / "page.html"
    for given in (("--data", mixed), ("--head", f"colour={mixed}")):
        options = (*given, "--no-profile", "--no-learning-curve", "--worst", 1, "--json", "--output", output)
        found = document(call("report", split_bundle, *options))
        (head,) = found["heads"]
        assert (head["name"], head["evaluation"]["report"]["samples"]) == ("colour", 25)
        assert head["evaluation"]["mistakes"][0]["name"] == "test/blue/not.png"
        assert head["curve"] is None
    assert "Head colour" in output.read_text(encoding="utf-8")
    result = call("report", split_bundle, "--no-profile", "--output", output)
    assert "not in it: measurements of head colour: no photos were given for it" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--head", "color=photos"), "did you mean 'colour'"),
        (("--data", "photos", "--strangers", "photos"), "no head that turns inputs away"),
        (("--data", "photos", "--head", "colour=photos"), "got data twice for colour"),
        (("--float-run", "some.run"), "leave it out"),
    ],
)
def test_a_mistake_about_heads_is_one_line(options, message, call, split_bundle, tmp_path):
    output = tmp_path / "page.html"
    assert message in refused(call("report", split_bundle, "--no-profile", "-q", "--output", output, *options))
    assert not output.exists()


def test_a_head_without_data_is_a_wrong_option(call, split_bundle):
    result = call("report", split_bundle, "--head", "colour")
    assert result.exit_code == 2
    assert "expected NAME=DATA" in result.stderr


def test_two_runs_write_the_same_bytes(call, own, mixed, tmp_path):
    for name in ("one.html", "two.html"):
        options = ("--data", mixed, "--no-profile", "--device", "raspberry_pi_4")
        assert call("report", own, *options, "--output", tmp_path / name).exit_code == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_an_older_page_is_replaced_and_stays_whole_when_the_command_fails(call, own, mixed, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    (mixed / "test" / "green").rename(mixed / "test" / "grün")
    line = refused(call("report", own, "--data", mixed, "--no-profile", "--output", page, "-q"))
    assert "unknown to the bundle: 'grün'" in line
    assert page.read_text() == "old"
    assert not list(tmp_path.glob(".part-*"))
    assert call("report", own, "--no-profile", "--output", page).exit_code == 0
    assert page.stat().st_size > 10_000


def test_a_measurement_from_a_device_is_shown(call, own, tmp_path):
    result = call("profile", own, "--runs", 3, "--seconds", 1, "--json")
    (tmp_path / "pi.json").write_text(result.stdout, encoding="utf-8")
    assert call("report", own, "--profile", tmp_path / "pi.json", "--no-profile").exit_code == 0
    assert "measured there (pi.json), 3 runs" in own.with_name("waste.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_float_models_figures_are_put_beside(call, document, own, mixed, monkeypatch, tmp_path):
    pytest.importorskip("keras", reason="the float model needs the extra 'train'")
    build = importlib.import_module("edgetransfer.pipeline.build")
    trained = importlib.import_module("edgetransfer.models.trained")
    evaluated = EvalReport.from_json(document(call("evaluate", own, "--data", mixed, "--json")))
    asked = []

    class Run:
        description = {  # noqa: RUF012
            "task": {"labels": ["blue", "green", "red"]},
            "data": {"fingerprint": "f" * 64},
        }

    def evaluate_float(run, dataset, split, *, watcher):
        asked.append((run, split))
        return evaluated

    monkeypatch.setattr(trained.TrainedModel, "load", lambda run: Run)
    monkeypatch.setattr(build, "evaluate_float", evaluate_float)
    options = ("--data", mixed, "--float-run", tmp_path, "--no-profile", "--json")
    found = document(call("report", own, *options))
    assert asked == [(tmp_path, "test")]
    assert found["float"]["report"]["accuracy"] == found["evaluation"]["report"]["accuracy"]
    assert found["float"]["same_data"] is True
    assert "+0.0 points" in own.with_name("waste.html").read_text(encoding="utf-8")


def test_what_cannot_be_written_is_refused_before_any_work(call, own, tmp_path):
    for output, message in (
        (tmp_path, "is a folder; give the name of a file in it"),
        (tmp_path / "photo.jpg", "expected a name that ends in .html or .htm"),
        (tmp_path / "no" / "page.html", "no such folder"),
        (own / "page.html", "is inside the bundle"),
    ):
        assert message in refused(call("report", own, "--data", tmp_path / "nowhere", "--output", output))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(call, own, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    output = tmp_path / "closed" / "page.html"
    assert "cannot be written; choose another place" in refused(call("report", own, "--output", output))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--device", "raspberry_pi_44"), "did you mean 'raspberry_pi_4'"),
        (("--profile", "nowhere.json"), "nowhere.json"),
        (("--float-run", "some.run"), "--float-run needs --data"),
    ],
)
def test_a_users_mistake_is_one_line(options, message, call, own):
    assert message in refused(call("report", own, "--no-profile", "-q", *options))
    assert not own.with_name("waste.html").exists()


def test_what_is_no_bundle_is_refused(call, photos, tmp_path):
    output = tmp_path / "page.html"
    assert "not a bundle" in refused(call("report", photos, "--output", output, "-q"))
    assert "no such folder" in refused(call("report", tmp_path / "nowhere.bundle", "--output", output, "-q"))
    assert not output.exists()


def test_without_matplotlib_the_command_that_installs_it_is_named(own):
    code = (
        "import sys\nsys.modules['matplotlib'] = None\nfrom edgetransfer.cli.main import main\n"
        f"sys.argv = ['edgetransfer', 'report', {str(own)!r}]\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: the package 'matplotlib' is not installed: pip install 'edgetransfer[train]'\n"


def test_quiet_says_nothing_on_standard_error(call, own, mixed):
    assert call("report", own, "--data", mixed, "--no-profile", "--quiet").stderr == ""
