"""The folder that a transfer run leaves: complete, hashed, gone on with, never written over unasked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgetransfer.errors import BundleError, IntegrityError, OutputError
from edgetransfer.pipeline.options import Silent
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.pipeline.run_folder import Place, load_run, make_in, sources_of

FACTS = BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photographs")
VALUES = {"data": Path("photos"), "seed": 3, "tune_epochs": 2, "unfreeze": (1.0,)}


@dataclass(frozen=True)
class Report:
    """What a step ends with, as far as a folder needs it."""

    output: Path

    def to_json(self):
        return {"backbone": str(self.output), "accuracy": 0.5}


@pytest.fixture(scope="module")
def content(small_keras, tmp_path_factory):
    """A backbone's file that remembers a step."""
    path = tmp_path_factory.mktemp("made") / "small.keras"
    write_backbone(path, small_keras, FACTS.then("finetune", data="d" * 64, replay="e" * 64))
    return path.read_bytes()


@pytest.fixture
def make(content):
    """Carries out a step that writes that backbone, into a place."""

    def work(output, force):
        if output.exists() and not force:
            raise OutputError("exists already")
        output.write_bytes(content)
        return Report(output)

    def make_it(run=None, output=None, *, values=VALUES, force=False, work=work):
        place = Place(output, run, values, force)
        return make_in(place, "finetune", {"backbone": {"file": "f" * 64}}, work, Silent())

    return make_it


@pytest.fixture
def run(make, tmp_path):
    make(tmp_path / "run")
    return tmp_path / "run"


def test_a_folder_has_all_that_decided_and_is_read_as_that(run):
    assert sorted(path.name for path in run.iterdir()) == ["backbone.keras", "report.json", "run.json", "transfer.toml"]
    about = json.loads((run / "run.json").read_text())
    assert (about["step"], about["data"], about["other_data"]) == ("finetune", "d" * 64, {"replay": "e" * 64})
    assert (about["seed"], about["sources"]) == (3, {"backbone": {"file": "f" * 64}})
    assert {"edgetransfer", "keras", "numpy"} <= set(about["versions"])
    assert about["cores"] >= 1
    assert json.loads((run / "report.json").read_text())["backbone"] == "backbone.keras"
    found = load_run(run)
    assert found.data == "d" * 64
    assert found.backbone == f"keras:{run / 'backbone.keras'}"
    assert found.values["tune_epochs"] == 2
    assert found.other_versions == []


def test_another_version_is_named(run):
    found = load_run(run)
    other = replace(found, versions={**found.versions, "keras": "1.0", "gone": "2"})
    assert [line.split(":")[0] for line in other.other_versions] == ["gone", "keras"]
    assert "gone: none here, the run was made with 2" in other.other_versions


def test_with_a_file_and_a_folder_the_backbone_is_in_both(make, tmp_path, content):
    report = make(tmp_path / "run", tmp_path / "tuned.keras")
    assert report.output == tmp_path / "tuned.keras"
    assert (tmp_path / "tuned.keras").read_bytes() == (tmp_path / "run" / "backbone.keras").read_bytes() == content


def test_with_a_file_alone_nothing_else_is_written(make, tmp_path):
    make(output=tmp_path / "tuned.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.keras"]
    with pytest.raises(OutputError, match="exists already"):
        make(output=tmp_path / "tuned.keras")


def test_a_file_that_exists_is_refused_before_any_work(make, tmp_path):
    (tmp_path / "tuned.keras").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        make(tmp_path / "run", tmp_path / "tuned.keras")
    assert not (tmp_path / "run").exists()


def test_nowhere_to_write_is_refused(make):
    with pytest.raises(OutputError, match="expected a file, a run folder or both"):
        make()


def test_a_finished_run_is_replaced_only_when_that_is_asked_for(make, run):
    before = (run / "run.json").read_bytes()
    with pytest.raises(OutputError, match="is finished"):
        make(run)
    assert (run / "run.json").read_bytes() == before
    make(run, values={**VALUES, "seed": 4}, force=True)
    assert load_run(run).values["seed"] == 4


def test_an_interrupted_run_goes_on_with_the_same_options_and_no_others(make, tmp_path):
    run = tmp_path / "run"

    def killed(output, force):
        output.with_name(output.name + ".checkpoint").write_text("what was reached")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(run, work=killed)
    with pytest.raises(BundleError, match="has not ended"):
        load_run(run)
    with pytest.raises(OutputError, match="an interrupted run with other options"):
        make(run, values={**VALUES, "seed": 4})
    assert (run / "backbone.keras.checkpoint").exists()
    make(run)
    load_run(run)


def test_an_interrupted_run_that_is_begun_anew_leaves_nothing_behind(make, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "transfer.toml").write_text("")
    left = [run / "backbone.keras.checkpoint", run / "backbone.without_replay.keras"]
    for path in left:
        path.write_text("old")
    make(run, force=True)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_something_else_is_left_alone(force, make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        make(tmp_path / "run", force=force)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["backbone.keras", "transfer.toml", "report.json"])
def test_a_file_that_was_changed_is_named_with_both_hashes(name, run):
    (run / name).write_bytes((run / name).read_bytes() + b" ")
    expected = json.loads((run / "run.json").read_text())["files"][name]
    with pytest.raises(IntegrityError, match=rf"{name}: has sha256 [0-9a-f]{{64}}, that of the run is {expected}"):
        load_run(run)


def test_a_file_that_is_gone_is_named(run):
    (run / "backbone.keras").unlink()
    with pytest.raises(BundleError, match=r"backbone\.keras: cannot be read"):
        load_run(run)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"run_schema": 2}', "is for 'edgetransfer export'"),
        ('{"transfer_run_schema": 99}', "has schema 99, this version reads 1"),
        ('{"transfer_run_schema": 1}', "run.json.data: missing"),
        ("no", "expected JSON"),
    ],
)
def test_what_is_no_such_run_says_what_it_is(content, told, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(BundleError, match=told):
        load_run(tmp_path)


def test_an_empty_folder_is_no_run(tmp_path):
    with pytest.raises(BundleError, match="expected a run folder"):
        load_run(tmp_path)


def test_sources_are_told_by_their_content(content, tmp_path):
    from edgetransfer.pipeline.distill import TeacherChoice

    paths = [tmp_path / "a.keras", tmp_path / "b.keras"]
    for path in paths:
        path.write_bytes(content)
    choice = BackboneChoice(f"keras:{paths[0]}")
    found = sources_of(choice, tuned=paths, teacher=TeacherChoice(choice))
    assert found["tuned"][0] == found["tuned"][1] == found["backbone"]["file"] == found["teacher"]["file"]
