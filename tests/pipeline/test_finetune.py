"""A backbone that learns from photos: from deployed graph to deployed graph, resumed after a kill to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import BackboneError, DataError, OutputError, RecipeError
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, read_facts, write_backbone
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.deployed import check_images
from edgetransfer.pipeline.finetune import Replay, checkpoint_of, finetune
from edgetransfer.transfer.tuning import TuneOptions

HOW = TuneOptions(epochs=2, unfreeze=(0.4, 1.0), learning_rate=3e-3, batch_size=8)
FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")


@pytest.fixture(scope="module")
def small(small_keras, tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "small.keras"
    write_backbone(path, small_keras, FACTS)
    return path


@pytest.fixture(scope="module")
def data(photos, tmp_path_factory):
    return photos.write_photos(tmp_path_factory.mktemp("photos"), each=14, size_px=(32, 32))


@pytest.fixture(scope="module")
def options(small, data):
    return BuildOptions(data, BackboneChoice(f"keras:{small}"), epochs=4, golden="none", float_reference=False)


@pytest.fixture(scope="module")
def tuned(options, tmp_path_factory):
    return finetune(options, HOW, tmp_path_factory.mktemp("tuned") / "tuned.keras")


def test_the_report_shows_the_deployed_backbone_before_and_after(tuned):
    assert set(tuned.before) == set(tuned.after) == {"val", "test"}
    text = tuned.as_text()
    assert "static_int8, head on deployed features" in text
    assert "as it came" in text
    assert f"--backbone keras:{tuned.output}" in text
    found = tuned.to_json()
    assert [epoch["epoch"] for epoch in found["epochs"]] == [0, 1]
    assert found["after"]["test"]["samples"] == found["before"]["test"]["samples"]


def test_what_is_written_is_a_backbone_that_remembers_where_it_comes_from(tuned, options):
    facts = read_facts(tuned.output)
    assert (facts.name, facts.licence, facts.normalisation) == ("small", "Apache-2.0", FACTS.normalisation)
    assert [step["step"] for step in facts.history] == ["finetune"]
    assert facts.history[0]["about"]["epochs"] == 2
    assert not checkpoint_of(tuned.output).exists()


def test_build_takes_it(tuned, options, tmp_path):
    report = build(replace(options, backbone=BackboneChoice(f"keras:{tuned.output}")), tmp_path / "tuned.bundle")
    assert report.verified.passed
    assert report.bundle.manifest.backbone.licence == "Apache-2.0"


def test_an_output_that_exists_is_kept(tuned, options):
    before = tuned.output.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        finetune(options, HOW, tuned.output)
    assert tuned.output.read_bytes() == before


def test_what_cannot_be_tuned_is_refused_before_any_work(options, tmp_path):
    with pytest.raises(BackboneError, match="looks at audio"):
        finetune(replace(options, backbone=BackboneChoice("yamnet")), HOW, tmp_path / "tuned.keras")
    with pytest.raises(OutputError, match=r"ends in \.keras"):
        finetune(options, HOW, tmp_path / "tuned.h5")


@pytest.mark.parametrize("split", ["train", "val"])
def test_data_without_a_split_that_tuning_needs_is_refused(split, options):
    dataset = load_dataset(options.data, seed=0)
    lacking = replace(dataset, samples=tuple(one for one in dataset.samples if one.split != split))
    with pytest.raises(DataError, match="expected images to"):
        check_images(options, lacking)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(small, data, tmp_path):
    def command(*place):
        return [
            *(sys.executable, "-m", "edgetransfer", "transfer", "finetune", str(data), "--backbone", f"keras:{small}"),
            *place,
            *("--tune-epochs", "4", "--batch-size", "8", "--learning-rate", "0.003", "--epochs", "4", "--quiet"),
        ]

    whole, run = tmp_path / "whole.keras", tmp_path / "run"
    subprocess.run(command("--output", whole), check=True, capture_output=True, timeout=300)
    running = subprocess.Popen(command("--run", run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not checkpoint_of(run / "backbone.keras").exists():
        assert running.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(timeout=60)
    assert [path.name for path in sorted(run.iterdir()) if not path.name.startswith(".part-")] == [
        "backbone.keras.checkpoint",
        "transfer.toml",
    ]
    subprocess.run(command("--run", run), check=True, capture_output=True, timeout=300)
    assert (run / "backbone.keras").read_bytes() == whole.read_bytes()
    assert (run / "run.json").is_file()
    assert not checkpoint_of(run / "backbone.keras").exists()


@pytest.mark.parametrize("asked", [{"recipe": "dynamic_int8"}, {"recipe": "static_int8_per_tensor"}])
def test_quantization_aware_tuning_for_another_recipe_is_refused(asked, options, tmp_path):
    with pytest.raises(RecipeError, match="imitates static_int8"):
        finetune(replace(options, **asked), HOW, tmp_path / "tuned.keras", quantization_aware=True)


def test_batch_norms_that_are_folded_cannot_learn(options, tmp_path):
    with pytest.raises(RecipeError, match="leave one of the two out"):
        finetune(options, replace(HOW, batch_norm="train"), tmp_path / "tuned.keras", quantization_aware=True)


@pytest.mark.slow
def test_quantization_aware_and_with_replay_both_tasks_are_measured(options, photos, tmp_path):
    old = photos.write_photos(tmp_path / "old", each=9, size_px=(40, 40), seed=5)
    (old / "rocket").rename(old / "ship")
    output = tmp_path / "tuned.keras"
    how = replace(HOW, epochs=1, unfreeze=(1.0,))
    report = finetune(options, how, output, quantization_aware=True, replay=Replay(old, 0.2, compare=True))
    assert report.replayed == round(len(load_dataset(options.data, seed=0).split("train")) / 4)
    assert list(report.others) == [
        "old task, as it came",
        "old task, tuned",
        "tuned without replay",
        "old task, tuned without replay",
    ]
    assert [one.label for one in report.others["old task, tuned"]["val"].classes] == ["cat", "coffee", "ship"]
    about = read_facts(output).history[0]["about"]
    assert about["quantization_aware"] is True
    assert about["replay_share"] == 0.2
    import keras

    layers = {type(layer).__name__ for layer in keras.models.load_model(output).layers}
    assert "BatchNormalization" not in layers
    assert not any(name.startswith("Fake") for name in layers)
    assert [path.name for path in tmp_path.glob("*.keras*")] == ["tuned.keras"]
