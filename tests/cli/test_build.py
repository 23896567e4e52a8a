from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from edgetransfer.cli import extras
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.preprocess import Normalisation

pytest.importorskip("keras", reason="building needs the extra 'train'")
pipeline = importlib.import_module("edgetransfer.pipeline.build")
pipeline_demo = importlib.import_module("edgetransfer.pipeline.demo")


class Report:
    def to_json(self):
        return {"report": "told"}

    def as_text(self):
        return "told"


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the stages: keeps what they are asked, makes noise as Keras does, and reports."""
    calls = []

    def stage(name):
        def take(*arguments, **options):
            print("Saved artifact at '/somewhere'")
            calls.append((name, arguments, options))
            if "watcher" in options:
                options["watcher"].stage("working")
            return Report()

        return take

    for name in ("build", "train", "plan_build"):
        monkeypatch.setattr(pipeline, name, stage(name))
    monkeypatch.setattr(pipeline_demo, "demo", stage("demo"))
    return calls


def test_without_options_a_build_is_asked_for_with_the_defaults(call, asked):
    assert call("build", "photos", "--output", "x.bundle").exit_code == 0
    ((name, (options, output), others),) = asked
    assert name == "build"
    assert options == BuildOptions(Path("photos"), BackboneChoice("efficientnet_lite0"))
    assert output == Path("x.bundle")
    assert (others["run"], others["how"]) == (None, ExportOptions())


def test_every_option_of_a_build_gets_there(call, asked, tmp_path):
    weights = tmp_path / "w.h5"
    weights.touch()
    result = call(
        *("build", "photos", "--output", "x.bundle", "--run", "y.run", "--scores-in-graph", "--force"),
        *("--dynamic-batch", "--allow", "size", "--allow", "labels", "--format", "onnx"),
        *("--max-drop", 0.5, "--max-evaluations", 9),
        *("--backbone", "keras:m.h5", "--alpha", 0.5, "--input-size", 96, "--weights", weights),
        *("--normalise", "1/127,127", "--recipe", "float16", "--device", "pixel_8", "--fit", "pad", "--augment", 2),
        *("--head-on", "float", "--hidden", 64, "--dropout", 0.1, "--dropout", 0.2, "--weight-decay", 0.01),
        *(
            "--label-smoothing",
            0.2,
            "--balance",
            "--ensemble",
            "--epochs",
            7,
            "--drop-near-duplicates",
            "--golden",
            "none",
        ),
        *("--no-float-reference", "--seed", 3, "--workers", 1),
    )
    assert result.exit_code == 0, result.stderr
    ((_, (options, _), others),) = asked
    assert options == BuildOptions(
        data=Path("photos"),
        backbone=BackboneChoice("keras:m.h5", 0.5, 96, weights, Normalisation(1 / 127, 127)),
        recipe="float16",
        format="onnx",
        max_drop=0.5,
        max_evaluations=9,
        device="pixel_8",
        fit="pad",
        augment=2,
        head_on="float",
        hidden=64,
        dropouts=(0.1, 0.2),
        weight_decays=(0.01,),
        label_smoothing=0.2,
        balance=True,
        ensemble=True,
        epochs=7,
        drop_near_duplicates=True,
        golden="none",
        float_reference=False,
        seed=3,
        workers=1,
    )
    how = ExportOptions(scores_in_graph=True, dynamic_batch=True, allow=("size", "labels"), force=True)
    assert (others["run"], others["how"]) == (Path("y.run"), how)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("build", ["build", "photos", "--output", "x.bundle"]),
        ("train", ["train", "photos", "--run", "x.run"]),
        ("plan_build", ["plan", "photos"]),
        ("demo", ["demo", "folder"]),
    ],
)
def test_json_is_one_document_whatever_libraries_print(name, arguments, call, document, asked):
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert document(result) == {"report": "told"}
    assert [called for called, _, _ in asked] == [name]
    assert "Saved artifact" in result.stderr
    assert call(*arguments).stdout == "told\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "photos", "--output", "x.bundle"],
        ["train", "photos", "--run", "x.run"],
        ["export", "x.run", "--output", "x.bundle"],
        ["demo"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_the_train_extra_nothing_is_begun(arguments, call, asked, monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "train", (extras.Package("no_such_keras", ("no-such-keras",)),))
    result = call(*arguments, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no-such-keras is missing: pip install 'edgetransfer[train]'\n"
    assert asked == []


def test_build_without_an_output_asks_for_one(call, asked):
    result = call("build", "photos")
    assert result.exit_code == 2
    assert "--output" in result.stderr
    assert asked == []


@pytest.mark.parametrize("value", ["1", "1/0,0", "0,127", "0.1,300", "a,b", "1/127,-1"])
def test_a_normalisation_that_makes_no_sense_is_refused(value, call, asked):
    result = call("build", "photos", "--output", "x.bundle", "--normalise", value)
    assert result.exit_code == 2
    assert "such as 1/127,127" in result.stderr
    assert asked == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("--fit", "zoom"), ("--golden", "mine"), ("--dropout", "1"), ("--epochs", "0"), ("--seed", "-1")],
)
def test_values_out_of_range_are_refused_before_anything_is_done(option, value, call, asked):
    assert call("plan", "photos", option, value).exit_code == 2
    assert asked == []


def test_a_missing_weight_file_is_one_line(call, asked):
    result = call("plan", "photos", "--weights", "nowhere.h5")
    assert result.exit_code == 1
    assert result.stderr == "Error: weights file 'nowhere.h5': no such file\n"


def test_the_help_says_that_own_golden_samples_ship_the_users_images(call):
    text = " ".join(call("build", "--help").stdout.split())
    assert "a few of YOUR images, EXIF stripped" in text


@pytest.mark.parametrize("kind", ["output", "run"])
def test_an_output_that_exists_is_refused_before_the_photos_are_read(kind, call, tmp_path):
    existing = tmp_path / "there"
    existing.mkdir()
    arguments = {
        "output": ["build", tmp_path / "no_photos", "--output", existing],
        "run": ["train", tmp_path / "no_photos", "--run", existing],
    }[kind]
    result = call(*arguments, "-q")
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert result.stderr.count("\n") == 1


def test_export_tells_where_the_bundle_is_and_what_it_weighs(call, document, bundle, monkeypatch):
    asked = []

    def export(run, output, how, **others):
        asked.append((run, output, how, others["format"]))
        return Bundle.load(bundle)

    monkeypatch.setattr(pipeline, "export", export)
    report = document(call("export", "x.run", "--output", "y.bundle", "--golden", "synthetic", "--json"))
    assert asked == [(Path("x.run"), Path("y.bundle"), ExportOptions(golden="synthetic"), None)]
    assert report["bytes"]["model.tflite"] == (bundle / "model.tflite").stat().st_size
    assert report["sha256"] == Bundle.load(bundle).sha256
    assert f"edgetransfer verify {bundle}" in call("export", "x.run", "--output", "y.bundle").stdout


def test_exporting_what_is_no_run_is_one_line(call, tmp_path):
    result = call("export", tmp_path, "--output", tmp_path / "y.bundle", "-q")
    assert result.exit_code == 1
    assert "expected a run" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interrupted_build_says_what_is_kept(call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "build", interrupted)
    result = call("build", "photos", "--output", "x.bundle", "-q")
    assert result.exit_code == 130
    assert "Interrupted: features that were computed are in the cache" in result.stderr
    assert "run the same command again" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "near"),
    [
        ("--backbone", "efficientnet_lit0", "efficientnet_lite0"),
        ("--recipe", "static_int", "static_int8"),
        ("--device", "raspbery_pi_4", "raspberry_pi_4"),
    ],
)
def test_a_misspelt_name_in_a_plan_is_answered_with_the_nearest(option, value, near, call, photos):
    result = call("plan", photos, option, value, "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"did you mean {near!r}?" in result.stderr
    assert result.stderr.count("\n") == 1
