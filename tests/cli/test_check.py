from __future__ import annotations

import importlib
import shutil
import subprocess
import sys

import pytest

from edgetransfer.spec.report import EvalReport, ProfileReport


@pytest.fixture
def changed(bundle, tmp_path):
    path = tmp_path / "changed.bundle"
    shutil.copytree(bundle, path)
    with (path / "labels.txt").open("ab") as stream:
        stream.write(b"x")
    return path


def test_verify_exits_with_0_for_a_whole_bundle(call, bundle):
    result = call("verify", bundle)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "verified"


def test_verify_exits_with_1_and_still_reports_on_a_changed_bundle(call, document, changed):
    result = call("verify", changed, "--json")
    assert result.exit_code == 1
    report = document(result)
    assert report["passed"] is False
    assert "labels.txt" in report["checks"][0]["detail"]


def test_verify_can_use_the_plain_kernels(call, document, bundle):
    assert "reference" in document(call("verify", bundle, "--kernels", "reference", "--json"))["engine"]


def test_evaluate_gives_one_document_with_the_accuracy_on_top(call, document, bundle, photos):
    result = call("evaluate", bundle, "--data", photos, "--json")
    assert result.exit_code == 0
    report = document(result)
    assert report["accuracy"] == 1.0
    assert report["split"] == "test"
    assert "float" not in report
    assert EvalReport.from_json(report).samples >= 3
    assert "evaluating the bundle" in result.stderr


def test_evaluate_warns_when_the_splits_are_not_those_of_the_build(call, bundle, photos):
    assert "note: the splits made here" in call("evaluate", bundle, "--data", photos).stderr
    assert call("evaluate", bundle, "--data", photos, "--quiet").stderr == ""


def test_evaluate_puts_the_float_model_beside_the_bundle(call, document, bundle, photos, monkeypatch, tmp_path):
    pytest.importorskip("keras", reason="the float model needs the extra 'train'")
    pipeline = importlib.import_module("edgetransfer.pipeline.build")
    asked = []

    def evaluate_float(run, dataset, split, *, watcher):
        asked.append((run, len(dataset.split(split)), split))
        return EvalReport.from_json(document(call("evaluate", bundle, "--data", photos, "--split", "val", "--json")))

    monkeypatch.setattr(pipeline, "evaluate_float", evaluate_float)
    options = ("evaluate", bundle, "--data", photos, "--split", "val", "--float", tmp_path)
    report = document(call(*options, "--json"))
    assert report["float"]["accuracy"] == report["accuracy"] == 1.0
    assert asked[0][0] == tmp_path
    assert asked[0][2] == "val"
    assert "bundle minus float: +0.00 points" in call(*options).stdout


def test_evaluate_on_other_labels_names_them(call, bundle, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "more")
    (tmp_path / "more" / "red").rename(tmp_path / "more" / "rot")
    result = call("evaluate", bundle, "--data", tmp_path / "more", "-q")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "'rot'" in result.stderr


def test_evaluate_on_no_such_folder_is_one_line(call, bundle, tmp_path):
    result = call("evaluate", bundle, "--data", tmp_path / "nowhere", "-q", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert "nowhere" in result.stderr
    assert result.stderr.count("\n") == 1


def test_profile_gives_one_document(call, document, bundle):
    report = ProfileReport.from_json(document(call("profile", bundle, "--runs", 5, "--seconds", 1, "--json")))
    assert report.one_thread.runs == 5
    assert report.model_bytes == (bundle / "model.tflite").stat().st_size


def test_profile_keeps_a_choice_of_threads_and_run_takes_it(call, document, bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRANSFER_CONFIG", str(tmp_path))
    chosen = document(call("profile", bundle, "--choose", "--runs", 5, "--seconds", 1, "--json"))
    assert (tmp_path / "threads.json").is_file()
    again = document(call("profile", bundle, "--runs", 5, "--seconds", 1, "--json"))
    assert again["threads"] == chosen["threads"]
    assert str(tmp_path) in again["threads_because"]


@pytest.mark.parametrize("options", [["--port", 22], ["--identity", "k"], ["--keep"], ["--ssh-option", "A=b"]])
def test_what_is_for_another_machine_needs_one(call, bundle, options):
    result = call("profile", bundle, *options)
    assert result.exit_code == 2
    assert f"{options[0]}: only with --ssh" in result.stderr


@pytest.mark.parametrize("destination", ["-oProxyCommand=touch x", "pi@-oProxyCommand=x", "pi@h;ls"])
def test_a_destination_that_could_be_an_option_is_one_line(call, bundle, destination):
    result = call("profile", bundle, f"--ssh={destination}")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: --ssh ")


def test_profile_here_imports_nothing_of_what_measures_elsewhere(bundle):
    code = (
        "import sys\nfrom edgetransfer.cli.main import main\n"
        f"sys.argv = ['edgetransfer', 'profile', {str(bundle)!r}, '--runs', '3']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "loaded = {'edgetransfer.pipeline', 'keras', 'tensorflow', 'onnx'} & set(sys.modules)\n"
        "sys.stdout.write(f'\\n{sorted(loaded)}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
