from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, ExportError, OutputError, RecipeError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline import build as building
from edgetransfer.pipeline.build import build, evaluate_float, export, plan_build, train
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.verify import verify


def test_a_folder_becomes_a_verified_bundle_that_knows_the_photos(built, folder):
    assert built.verified.passed
    assert built.bundle.manifest.task.labels == ("cat", "coffee", "rocket")
    assert built.exported["test"].accuracy > 0.6
    with Predictor.load(built.bundle.path) as predictor:
        right = [predictor.predict(path).label == path.parent.name for path in sorted(folder.glob("*/*.png"))]
    assert np.mean(right) > 0.6


def test_the_manifest_carries_the_bundles_own_figures(built, folder):
    dataset = load_dataset(folder)
    metric = built.bundle.manifest.metrics["test"]
    again = evaluate_bundle(built.bundle, dataset, "test")
    assert (metric.accuracy, metric.samples) == (again.accuracy, again.samples)
    assert built.bundle.manifest.data.fingerprint == dataset.fingerprint


def test_the_report_is_json_and_text_with_both_models_side_by_side(built):
    about = json.loads(json.dumps(built.to_json()))
    assert about["exported"]["test"]["accuracy"] == built.exported["test"].accuracy
    assert about["float"]["test"]["samples"] == about["exported"]["test"]["samples"]
    text = built.as_text()
    for part in ("float32", "static_int8", "95 % interval", "bytes", "latency here", "Predictor.load"):
        assert part in text


def test_scores_in_the_graph_give_the_scores_of_the_decoder(built, tmp_path, folder):
    run = built.train.run
    scored = export(run, tmp_path / "scored.bundle", ExportOptions(scores_in_graph=True))
    photo = read_image(next(iter(sorted(folder.glob("*/*.png")))))
    with Predictor.load(built.bundle.path) as plain, Predictor.load(scored.path) as other:
        one, two = plain.predict(photo), other.predict(photo)
    assert one.label == two.label
    assert all(abs(one.scores[label] - two.scores[label]) < 1e-4 for label in one.scores)
    assert verify(scored).passed


def test_the_same_build_gives_the_same_bundle_cold_warm_and_elsewhere(built, options_for, tmp_path, monkeypatch):
    warm = build(options_for(), tmp_path / "warm" / "small.bundle")
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "fresh"))
    cold = build(options_for(), tmp_path / "cold" / "small.bundle")
    assert built.bundle.sha256 == warm.bundle.sha256 == cold.bundle.sha256


def test_another_seed_gives_another_bundle(built, options_for, tmp_path):
    assert build(options_for(seed=1), tmp_path / "small.bundle").bundle.sha256 != built.bundle.sha256


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.0, 0.6])
def test_a_build_that_was_killed_goes_on_to_the_same_bundle(after_s, built, options_for, tmp_path):
    """SIGKILL at two places: as the features begin, and a little later; the next run ends in the same bytes."""
    options = options_for()
    program = f"""
import sys
from pathlib import Path
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.options import BuildOptions, Silent
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation
class Loud(Silent):
    def stage(self, title):
        print(title, flush=True)
choice = BackboneChoice({options.backbone.name!r}, normalisation=Normalisation(1 / 128, 127))
options = BuildOptions(data=Path({str(options.data)!r}), backbone=choice, epochs=10)
build(options, Path(sys.argv[1]), watcher=Loud())
"""
    output = tmp_path / "small.bundle"
    environment = os.environ | {"EDGETRANSFER_CACHE": str(tmp_path / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", program, str(output)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as one:
        for line in one.stdout:
            if line.startswith("computing features"):
                break
        time.sleep(after_s)
        one.send_signal(signal.SIGKILL)
    assert not output.exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert Bundle.load(output).sha256 == built.bundle.sha256


def test_an_interrupted_export_leaves_the_old_bundle_whole_and_can_be_repeated(options_for, tmp_path, monkeypatch):
    output = tmp_path / "a.bundle"
    first = build(options_for(float_reference=False), output)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "evaluate_bundle", stop)
    with pytest.raises(KeyboardInterrupt):
        build(options_for(float_reference=False, seed=1), output, how=ExportOptions(force=True))
    assert Bundle.load(output).sha256 == first.bundle.sha256
    assert verify(output).passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bundle", "a.run"]
    other = tmp_path / "b.bundle"
    with pytest.raises(KeyboardInterrupt):
        build(options_for(float_reference=False), other)
    monkeypatch.undo()
    assert build(options_for(float_reference=False), other).verified.passed  # though b.run is there


def test_what_exists_is_refused_before_any_work(built, options_for, tmp_path, monkeypatch):
    monkeypatch.setattr(building.training, "Training", None)  # any work would fail otherwise
    with pytest.raises(OutputError, match="--force"):
        build(options_for(), built.bundle.path)
    (tmp_path / "a.bundle").mkdir()
    (tmp_path / "a.bundle" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"has no manifest\.json, so --force does not replace it"):
        build(options_for(), tmp_path / "a.bundle", how=ExportOptions(force=True))
    with pytest.raises(OutputError, match="the run would go there too"):
        build(options_for(), tmp_path / "b.run", run=tmp_path / "b.run")


def test_a_full_disk_leaves_the_old_bundle_whole(built, options_for, tmp_path, monkeypatch):
    output = tmp_path / "a.bundle"
    first = export(built.train.run, output)
    import errno

    from edgetransfer.spec import bundle_writer

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_writer.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        export(built.train.run, output, ExportOptions(golden="none", force=True))
    monkeypatch.undo()
    assert Bundle.load(output).sha256 == first.sha256
    assert verify(output).passed


def test_the_float_keras_model_is_scored_beside_the_bundle(built, folder):
    report = evaluate_float(built.train.run, load_dataset(folder), "test")
    assert report.artifact == "float Keras model"
    assert report.samples == built.floats["test"].samples
    # Keras and its LiteRT export round differently: at most one image may change sides.
    assert abs(report.accuracy - built.floats["test"].accuracy) <= 1.01 / report.samples


def test_training_on_float_features_is_another_head(built, options_for, tmp_path):
    report = train(options_for(head_on="float", float_reference=False), tmp_path / "a.run")
    bundle = export(tmp_path / "a.run", tmp_path / "a.bundle")
    assert report.chosen["val_accuracy"] > 0.5
    assert bundle.sha256 != built.bundle.sha256
    assert verify(bundle).passed


def test_augmented_views_multiply_the_training_features_only(options_for, tmp_path):
    seen = []

    class Counting(building.Silent):
        def step(self, done, total):
            seen.append(total)

    report = train(options_for(augment=2, float_reference=False, fit="squash"), tmp_path / "a.run", watcher=Counting())
    counts = report.data_report.counts
    assert 3 * sum(counts["train"].values()) + sum(counts["val"].values()) in seen


@pytest.mark.parametrize("kind", ["own", "synthetic", "none"])
def test_golden_samples_are_what_was_asked_for(kind, built, tmp_path):
    bundle = export(built.train.run, tmp_path / "a.bundle", ExportOptions(golden=kind))
    golden = bundle.golden()
    assert (bundle.manifest.golden.kind if golden else "none") == kind
    assert verify(bundle).passed


def test_own_golden_samples_cannot_be_asked_for_afterwards(options_for, tmp_path):
    train(options_for(golden="synthetic", float_reference=False), tmp_path / "a.run")
    with pytest.raises(RecipeError, match="trained with --golden synthetic"):
        export(tmp_path / "a.run", tmp_path / "a.bundle", ExportOptions(golden="own"))


def test_a_head_that_int8_cannot_keep_is_refused(built, tmp_path, monkeypatch):
    from edgetransfer.pipeline import export as exporting

    monkeypatch.setattr(exporting, "HEAD_STEPS", 0)
    with pytest.raises(ExportError, match="steps from the float head"):
        export(built.train.run, tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"head_on": "float"}, "leave --head-on float out"), ({"format": "tflm"}, "has no room for")],
)
def test_a_budget_that_cannot_be_searched_for_is_refused_before_any_work(
    changes, why, options_for, tmp_path, monkeypatch
):
    monkeypatch.setattr(building.training, "load_dataset", None)  # any work would fail otherwise
    with pytest.raises(RecipeError, match=why):
        build(options_for(max_drop=1.0, **changes), tmp_path / "a.bundle")


def test_the_plan_is_made_without_training(options_for):
    report = plan_build(options_for(device="raspberry_pi_4"))
    assert report.plan.device == "raspberry_pi_4"
    assert report.to_json()["plan"]["recipe"]["name"] == "static_int8"
    assert "90 photos" in report.as_text()


def test_bad_data_is_refused_before_training(options_for, tmp_path):
    with pytest.raises(DataError, match="no such"):
        build(options_for(data=Path("nowhere")), tmp_path / "a.bundle")
    assert list(tmp_path.iterdir()) == []


def test_no_path_or_time_is_in_the_bundle(built, folder):
    for path in built.bundle.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(folder).encode() not in content
            assert str(built.bundle.path).encode() not in content
