"""From transfer.toml to a run folder, and from there to a bundle, on the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from edgetransfer.spec.preprocess import Normalisation

pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.spec.transfer_file import read_transfer_file

SETTINGS = """
[source]
backbone = "keras:small.keras"

[data]
path = "photos"

[transfer]
epochs = 1
unfreeze = [1]
batch_size = 8
replay = { share = 0.2 }
run = "run"

[training]
epochs = 2
float_reference = false

[output]
golden = "synthetic"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_keras, photo_patches):
    """A folder with a backbone, photos, photos of an old task, and a transfer.toml."""
    folder = tmp_path_factory.mktemp("project")
    facts = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")
    write_backbone(folder / "small.keras", small_keras, facts)
    photo_patches.write_photos(folder / "photos", each=12, size_px=(32, 32))
    photo_patches.write_photos(folder / "old", each=9, size_px=(32, 32), seed=5)
    (folder / "transfer.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def run(project, call):
    result = call("transfer", "finetune", "--config", project / "transfer.toml", "--tune-epochs", "2")
    assert result.exit_code == 0, result.stderr
    assert f"edgetransfer build --from {project / 'run'}" in result.stderr
    return project / "run"


@pytest.fixture(scope="module")
def bundle_of_run(run, call, tmp_path_factory):
    output = tmp_path_factory.mktemp("bundles") / "one.bundle"
    result = call("build", "--from", run, "--output", output)
    assert result.exit_code == 0, result.stderr
    assert "note:" not in result.stderr
    return output


def test_the_run_keeps_every_option_the_flags_first_and_defaults_too(run):
    values = read_transfer_file(run / "transfer.toml")
    assert values["tune_epochs"] == 2  # a flag
    assert (values["replay_share"], values["epochs"], values["golden"]) == (0.2, 2, "synthetic")  # the file
    assert (values["learning_rate"], values["tune_optimizer"], values["batch_norm"]) == (3e-4, "adam", "frozen")
    assert "run_folder" not in values


def test_a_bundle_of_the_run_names_its_backbone(run, bundle_of_run):
    manifest = json.loads((bundle_of_run / "manifest.json").read_text())
    about = json.loads((run / "run.json").read_text())
    assert manifest["backbone"]["weights_sha256"] == about["weights_sha256"]
    assert manifest["data"]["fingerprint"] == about["data"]


def test_building_from_a_run_twice_gives_the_same_bytes(run, bundle_of_run, call, tmp_path):
    again = tmp_path / bundle_of_run.name  # which stands in the model's metadata
    assert call("build", "--from", run, "--output", again, "--quiet").exit_code == 0
    one, two = (
        {path.relative_to(bundle).as_posix(): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
        for bundle in (bundle_of_run, again)
    )
    assert {"manifest.json", "model.tflite", "golden.npz"} <= set(one)
    assert one == two


def test_other_data_than_the_runs_is_refused_with_both_fingerprints(run, project, call, tmp_path):
    fingerprint = json.loads((run / "run.json").read_text())["data"]
    result = call("build", project / "old", "--from", run, "--output", tmp_path / "x.bundle")
    assert result.exit_code == 1
    assert f"that of the run is {fingerprint}" in result.stderr
    assert "has fingerprint" in result.stderr
    assert not (tmp_path / "x.bundle").exists()


@pytest.mark.parametrize("more", [(), ("--split",)])
def test_a_flag_beside_the_run_comes_first_and_is_said_and_other_splits_are_other_data(more, run, call, tmp_path):
    result = call("build", "--from", run, "--seed", "9", *more, "--output", tmp_path / "x.bundle")
    assert f"note: --seed is taken from the command line, not from {run}" in result.stderr
    assert result.exit_code == 1
    assert "--seed makes other splits" in result.stderr


def test_another_backbone_than_the_runs_is_refused_with_both_hashes(run, call, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "backbone.keras").write_bytes(b"another")
    result = call("build", "--from", copy, "--output", tmp_path / "x.bundle")
    assert result.exit_code == 1
    assert "has sha256" in result.stderr
    assert "that of the run is" in result.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--backbone", "mobilenet_v2"), "--backbone: --from has a backbone of its own"),
        (("--alpha", "0.5"), "--alpha: --from has a backbone of its own"),
    ],
)
def test_options_of_a_backbone_do_not_go_with_a_run(more, told, run, call, tmp_path):
    result = call("build", "--from", run, *more, "--output", tmp_path / "x.bundle")
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_file_of_options_does_not_go_with_a_run(run, project, call, tmp_path):
    config = project / "transfer.toml"
    result = call("build", "--from", run, "--config", config, "--output", tmp_path / "x.bundle")
    assert result.exit_code == 2
    assert "both say what options are" in result.stderr


def test_versions_that_changed_since_are_told(run, call, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    about = json.loads((copy / "run.json").read_text())
    about["versions"]["keras"] = "1.0"
    (copy / "run.json").write_text(json.dumps(about))
    result = call("build", "--from", copy, "--seed", "9", "--output", tmp_path / "x.bundle")
    assert "the run was made with 1.0" in result.stderr


def test_finetune_wants_a_place(project, call):
    result = call("transfer", "finetune", project / "photos")
    assert result.exit_code == 2
    assert "Give --output NAME.keras, --run FOLDER, or both" in result.stderr


def test_a_finished_run_is_not_run_again(run, project, call):
    before = (run / "run.json").read_bytes()
    result = call("transfer", "finetune", "--config", project / "transfer.toml")
    assert result.exit_code == 1
    assert "is finished" in result.stderr
    assert (run / "run.json").read_bytes() == before


def test_a_name_that_a_file_does_not_know_is_answered_with_the_nearest(project, call, tmp_path):
    (tmp_path / "transfer.toml").write_text("[transfer]\nlearning_rat = 1\n[transfer.replay]\nshares = 0.3\n")
    result = call("transfer", "finetune", project / "photos", "--config", tmp_path / "transfer.toml")
    assert result.exit_code == 1
    assert "did you mean 'learning_rate'" in result.stderr
    assert "did you mean 'share'" in result.stderr


def test_no_other_run_takes_the_place_of_a_transfers(run, project, call):
    before = (run / "run.json").read_bytes()
    result = call("train", project / "photos", "--run", run, "--force")
    assert result.exit_code == 1
    assert "holds the run of a transfer" in result.stderr
    assert (run / "run.json").read_bytes() == before


def test_a_run_of_a_transfer_is_nothing_to_export_and_says_what_to_type(run, call, tmp_path):
    result = call("export", run, "--output", tmp_path / "x.bundle")
    assert result.exit_code == 1
    assert f"is the run of a transfer: edgetransfer build --from {run}" in result.stderr


@pytest.mark.slow
def test_a_distilled_backbone_has_a_run_that_knows_its_teacher(project, call, tmp_path):
    folder, small = tmp_path / "distilled", f"keras:{project / 'small.keras'}"
    (tmp_path / "transfer.toml").write_text(
        f'[transfer]\ntemperature = 2\nunlabelled = "{project / "old"}"\n[transfer.teacher]\nname = "{small}"\n'
    )
    result = call(
        *("transfer", "distill", project / "photos", "--config", tmp_path / "transfer.toml", "--backbone", small),
        *("--tune-epochs", "1", "--unfreeze", "1", "--views", "1", "--epochs", "2", "--run", folder),
    )
    assert result.exit_code == 0, result.stderr
    values = read_transfer_file(folder / "transfer.toml")
    assert (values["teacher"], values["temperature"], values["label_weight"]) == (small, 2.0, 0.5)
    about = json.loads((folder / "run.json").read_text())
    assert about["sources"]["teacher"]["file"] == about["sources"]["backbone"]["file"]
    assert set(about["other_data"]) == {"unlabelled"}


@pytest.mark.slow
def test_a_fused_backbone_has_a_run_of_its_own(run, project, call, tmp_path):
    arguments = ("--backbone", f"keras:{project / 'small.keras'}", "--epochs", "2", "--alphas", "0.5")
    folder = tmp_path / "fused"
    result = call(
        *("transfer", "fuse", project / "photos", *arguments, "--tuned", run / "backbone.keras", "--run", folder),
    )
    assert result.exit_code == 0, result.stderr
    values = read_transfer_file(folder / "transfer.toml")
    assert (values["alphas"], values["fused_batch_norm"]) == ("0.5", "auto")
    about = json.loads((folder / "run.json").read_text())
    tuned = json.loads((run / "run.json").read_text())["files"]["backbone.keras"]
    assert (about["step"], about["sources"]["tuned"]) == ("fuse", [tuned])
