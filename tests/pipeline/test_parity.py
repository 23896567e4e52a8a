from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.errors import BundleError, DataError, InputError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline.parity import parity, reference_first
from edgetransfer.pipeline.parity_artifacts import open_artifact
from edgetransfer.pipeline.parity_grid import draw_grid
from edgetransfer.pipeline.parity_report import Answer
from edgetransfer.spec.bundle import Bundle, write_bundle
from edgetransfer.spec.preprocess import ImageInput

LABELS = ("cat", "coffee", "rocket")


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder)


@pytest.fixture
def bundle(tmp_path, tiny_bundle):
    """Writes a tiny bundle for the photos, with changes, and returns its folder."""

    def make(name="one", **changes):
        return tiny_bundle.make_bundle(tmp_path / f"{name}.bundle", **{"labels": LABELS, **changes}).path

    return make


def checks_of(report):
    return {check.name: check.passed for check in report.checks}


# === Preprocessing, alone ===


def test_a_copy_of_a_bundle_is_no_bit_and_no_step_away(bundle, dataset, tmp_path):
    one = bundle()
    shutil.copytree(one, tmp_path / "two.bundle")
    report = parity([one, tmp_path / "two.bundle"], dataset)
    (pixels,), (outputs,) = report.pixels, report.outputs
    assert (pixels.other_fields, pixels.images, pixels.pixels, pixels.bits) == ((), 0, 0, 0)
    assert (outputs.steps_max, outputs.steps_p99, outputs.cosine_min) == (0, 0, pytest.approx(1, abs=1e-12))
    assert (outputs.agreement, outputs.disagreements, outputs.mcnemar_p) == (1, (), 1)
    assert report.worst == ()
    assert report.passed
    assert report.samples == len(dataset.split("test"))


def test_another_way_to_meet_the_square_is_found_and_named(bundle, dataset):
    report = parity([bundle(), bundle("two", preprocess=ImageInput(16, 16, "crop"))], dataset)
    (pixels,) = report.pixels
    assert pixels.other_fields == ("fit crop (reference squash)",)
    assert pixels.images == report.samples
    assert pixels.bits > pixels.pixels > 0
    assert report.passed  # two ways on purpose: told, not refused
    assert "other fit crop" in report.as_text()


def test_differing_pixels_are_counted_by_bits(bundle, dataset, monkeypatch):
    from edgetransfer.pipeline import parity_artifacts

    one, two = bundle(), bundle("two")
    genuine = parity_artifacts.BundleArtifact.pixels

    def altered(self, sample):
        pixels = genuine(self, sample)
        if self.about.name == "two.bundle":
            pixels[3, 4] ^= np.array([1, 0, 3], np.uint8)
        return pixels

    monkeypatch.setattr(parity_artifacts.BundleArtifact, "pixels", altered)
    report = parity([one, two], dataset)
    n = report.samples
    assert (report.pixels[0].images, report.pixels[0].pixels, report.pixels[0].bits) == (n, n, 3 * n)
    assert checks_of(report) == {"prepared pixels": False, "recorded pixels": True, "outputs": True}
    assert not report.passed


def test_pixels_unlike_the_recorded_ones_fail(bundle, dataset):
    one, two = bundle(), bundle("two")
    whole = Bundle.load(two)
    golden = whole.golden()
    wrong = replace(golden, input_sha256=("0" * 64, *golden.input_sha256[1:]))
    files = {name: (two / name).read_bytes() for name in whole.manifest.files if name != "labels.txt"}
    write_bundle(two, whole.manifest, files | {"golden.npz": wrong.to_bytes()}, force=True)
    report = parity([one, two], dataset)
    assert checks_of(report)["recorded pixels"] is False
    assert "two.bundle: golden samples [0]" in report.as_text()


# === Labels ===


def test_labels_are_matched_by_name_whatever_their_order(bundle, dataset, tiny_bundle, monkeypatch):
    one = bundle()
    genuine = tiny_bundle.weights
    turned = LABELS[::-1]
    monkeypatch.setattr(tiny_bundle, "weights", lambda classes=3: genuine(classes)[::-1])
    report = parity([one, bundle("two", labels=turned)], dataset)
    assert (report.outputs[0].steps_max, report.outputs[0].agreement) == (0, 1)
    assert report.artifacts[0].right == report.artifacts[1].right


def test_the_same_outputs_under_other_names_are_disagreements(bundle, dataset):
    report = parity([bundle(), bundle("two", labels=LABELS[::-1])], dataset)
    (outputs,) = report.outputs
    assert outputs.agreement < 1
    assert set(outputs.disagreements) <= {str(sample.path) for sample in dataset.split("test")}
    assert len(outputs.disagreements) == round((1 - outputs.agreement) * report.samples)
    sides = (outputs.only_reference_right, outputs.only_artifact_right)
    assert report.artifacts[1].right == report.artifacts[0].right - sides[0] + sides[1]
    worst = report.worst[0]
    assert worst.answers["one.bundle"].label != worst.answers["two.bundle"].label
    assert worst.distance == max(one.distance for one in report.worst)


def test_other_labels_are_refused_and_named(bundle, dataset):
    with pytest.raises(BundleError, match=r"only 'one\.bundle' has 'rocket'; only 'two\.bundle' has 'rockets'"):
        parity([bundle(), bundle("two", labels=("cat", "coffee", "rockets"))], dataset)


def test_labels_unlike_the_datas_are_refused(bundle, dataset):
    labels = ("cat", "coffee", "dog")
    with pytest.raises(DataError, match="unknown to the bundle: 'rocket'"):
        parity([bundle(labels=labels), bundle("two", labels=labels)], dataset)


# === Outputs ===


def test_the_accuracies_are_those_of_evaluate(bundle, dataset):
    one, two = bundle(), bundle("two", preprocess=ImageInput(16, 16, "crop"))
    report = parity([one, two], dataset)
    for path, compared in zip((one, two), report.artifacts, strict=True):
        expected = evaluate_bundle(path, dataset)
        assert (compared.accuracy, compared.accuracy_95) == (expected.accuracy, expected.accuracy_95)


def test_scores_in_one_graph_are_compared_with_scores_made_of_logits(bundle, dataset):
    report = parity([bundle(), bundle("two", scores_in_graph=True)], dataset)
    (outputs,) = report.outputs
    assert (outputs.of, outputs.agreement) == ("scores", 1)
    assert 0 < outputs.steps_max < 0.01  # softmax in float32 and in float64


def test_the_agreement_that_was_asked_for_decides(bundle, dataset):
    pair = [bundle(), bundle("two", labels=LABELS[::-1])]
    agreement = parity(pair, dataset).outputs[0].agreement
    assert parity(pair, dataset, min_agreement=agreement).passed
    failed = parity(pair, dataset, min_agreement=0.99)
    assert checks_of(failed)["same answers"] is False
    assert f"two.bundle {agreement:.2%}" in failed.as_text()


def test_fewer_images_are_drawn_by_content(bundle, dataset):
    pair = [bundle(), bundle("two", labels=LABELS[::-1])]
    few = [parity(pair, dataset, images=5, worst=99) for _ in range(2)]
    assert few[0] == few[1]
    assert few[0].samples == 5
    first = sorted(dataset.split("test"), key=lambda sample: sample.sha256)[:5]
    assert {one.path for one in few[0].worst} <= {str(sample.path) for sample in first}


def test_any_number_of_threads_and_blocks_gives_the_same_report(bundle, dataset, monkeypatch):
    pair = [bundle(), bundle("two", preprocess=ImageInput(16, 16, "crop"))]
    reports = [parity(pair, dataset, workers=1)]
    monkeypatch.setattr("edgetransfer.pipeline.parity.BLOCK", 5)
    reports.append(parity(pair, dataset, workers=3))
    assert reports[0] == reports[1]


def test_a_bundle_that_gives_no_numbers_fails_and_is_still_reported(bundle, dataset, monkeypatch):
    from edgetransfer.pipeline import parity_artifacts

    one, two = bundle(scores_in_graph=True), bundle("two", scores_in_graph=True)
    genuine = parity_artifacts.BundleArtifact.outputs

    def broken(self, inputs, threads):
        found = genuine(self, inputs, threads)
        if self.about.name == "two.bundle":
            found[0] = np.nan
        return found

    monkeypatch.setattr(parity_artifacts.BundleArtifact, "outputs", broken)
    report = parity([one, two], dataset)
    assert checks_of(report)["outputs"] is False
    assert "two.bundle: 1 images with NaN" in report.as_text()
    assert report.worst[0].answers["two.bundle"] == Answer(None, None)
    json.dumps(report.to_json(), allow_nan=False)
    assert Image.open(io.BytesIO(draw_grid(report.worst))).format == "PNG"


# === What cannot be compared ===


def test_one_artifact_is_not_enough_and_none_may_come_twice(bundle):
    one = bundle()
    with pytest.raises(InputError, match="at least two artifacts to compare, got 1"):
        reference_first([one])
    with pytest.raises(InputError, match="one twice"):
        reference_first([one, one / ".." / one.name])


def test_a_run_is_the_reference_wherever_it_stands_and_there_is_one_at_most(bundle, tmp_path):
    for name in ("a.run", "b.run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    one, runs = bundle(), [tmp_path / "a.run", tmp_path / "b.run"]
    assert reference_first([one, runs[0]]) == [runs[0], one]
    with pytest.raises(InputError, match=r"at most one run.*a\.run.*b\.run"):
        reference_first([*runs, one])


def test_what_is_neither_bundle_nor_run_is_named(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"empty.*expected a bundle .* or a run"):
        reference_first([bundle(), tmp_path / "empty"])
    with pytest.raises(BundleError, match=r"nowhere.*no such folder"):
        open_artifact(tmp_path / "nowhere", "nowhere")


def test_a_damaged_bundle_and_a_damaged_run_are_refused(bundle, dataset, tmp_path):
    one, two = bundle(), bundle("two")
    with (two / "model.tflite").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=r"model\.tflite has"):
        parity([one, two], dataset)
    (tmp_path / "a.run").mkdir()
    (tmp_path / "a.run" / "run.json").write_text('{"run_schema": "seven"}')
    with pytest.raises(BundleError, match="damaged"):
        parity([one, tmp_path / "a.run"], dataset)


def test_an_empty_split_is_refused(bundle, dataset):
    without = replace(dataset, samples=tuple(s for s in dataset.samples if s.split != "test"))
    with pytest.raises(DataError, match="'test' split, got none"):
        parity([bundle(), bundle("two")], without)


def test_bundles_of_one_name_are_told_apart_by_their_folders(bundle, dataset, tmp_path):
    one = bundle()
    shutil.copytree(one, tmp_path / "other" / one.name)
    report = parity([one, tmp_path / "other" / one.name], dataset, images=3)
    assert [artifact.name for artifact in report.artifacts] == [str(one), str(tmp_path / "other" / one.name)]


def test_bundles_can_be_compared_where_nothing_of_the_build_side_is(bundle, folder):
    code = """
import sys
from pathlib import Path
for name in ("keras", "tensorflow", "onnx", "ai_edge_quantizer", "flatbuffers", "h5py"):
    sys.modules[name] = None
from edgetransfer.data import load_dataset
from edgetransfer.pipeline.parity import parity
report = parity([Path(path) for path in sys.argv[1:3]], load_dataset(sys.argv[3]), images=3)
assert report.passed, report.as_text()
"""
    command = [sys.executable, "-c", code, str(bundle()), str(bundle("two")), str(folder)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr


# === Keras ===


@pytest.fixture(scope="module")
def float_pair(tmp_path_factory, options_for):
    """A run and its float32 bundle."""
    from edgetransfer.pipeline.build import build

    path = tmp_path_factory.mktemp("float") / "small.bundle"
    build(options_for(recipe="float32"), path)
    return path.with_name("small.run"), path


@pytest.mark.slow
def test_a_float_bundle_answers_as_keras_with_its_head(float_pair, dataset):
    run, path = float_pair
    report = parity([path, run], dataset)
    assert [one.name for one in report.artifacts] == ["small.run", "small.bundle"]
    assert (report.pixels[0].bits, report.outputs[0].agreement) == (0, 1)
    assert report.outputs[0].steps_max < 0.05
    assert report.outputs[0].cosine_min > 0.999999
    assert report.artifacts[0].accuracy > 0.6


@pytest.mark.slow
def test_one_head_answers_alike_in_keras_litert_and_onnx(float_pair, dataset, tmp_path):
    pytest.importorskip("onnx", reason="writing ONNX needs the package onnx")
    from edgetransfer.pipeline.build import export

    run, path = float_pair
    other = export(run, tmp_path / "onnx.bundle", format="onnx").path
    report = parity([run, path, other], dataset)
    assert [(one.bits, one.images) for one in report.pixels] == [(0, 0), (0, 0)]
    assert [one.disagreements for one in report.outputs] == [(), ()]
    assert max(one.steps_max for one in report.outputs) < 0.05
    assert report.artifacts[2].what.startswith("onnx float32 (onnx ")


def test_an_int8_bundle_is_measured_against_keras_with_the_head_that_it_ships(built, dataset):
    report = parity([built.bundle.path, built.train.run], dataset)
    (outputs,) = report.outputs
    assert report.passed
    assert 0 < outputs.steps_mean < outputs.steps_p99 <= outputs.steps_max
    assert outputs.cosine_mean > 0.95
    assert outputs.agreement >= 0.9
    assert "Keras float32" in report.as_text()


def test_training_that_prepares_other_pixels_than_the_device_is_found(built, dataset, monkeypatch):
    from edgetransfer.features import extract

    genuine = extract.prepare

    def altered(image, spec):
        pixels = genuine(image, spec)
        pixels[0, 0, 0] ^= 1
        return pixels

    monkeypatch.setattr(extract, "prepare", altered)
    report = parity([built.train.run, built.bundle.path], dataset, images=4)
    assert (report.pixels[0].images, report.pixels[0].bits) == (4, 4)
    assert checks_of(report)["prepared pixels"] is False


def test_a_backbone_that_changed_since_the_run_is_refused(built, dataset, tmp_path, small_keras):
    import keras

    shutil.copytree(built.train.run, tmp_path / "moved.run")
    other = keras.models.clone_model(small_keras)
    other.save(tmp_path / "other.keras")
    local = json.loads((tmp_path / "moved.run" / "local.json").read_text())
    local["name"] = f"keras:{tmp_path / 'other.keras'}"
    (tmp_path / "moved.run" / "local.json").write_text(json.dumps(local))
    with pytest.raises(BundleError, match="was trained on backbone weights"):
        parity([tmp_path / "moved.run", built.bundle.path], dataset)
