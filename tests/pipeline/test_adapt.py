"""Heads for a domain without labels: every way is measured, and chosen without the labels that are reported on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, OutputError, RecipeError, UnknownNameError
from edgetransfer.runtime.predictor import Predictor

pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline.adapt import AdaptOutputs, adapt, chosen_way
from edgetransfer.pipeline.adapt_report import Against
from edgetransfer.transfer.adaptation import WAYS, Adaptation, AdaptOptions


def spoil(folder):
    """Make photos darker, noisier and blurred, as a cheap camera in a dim room does."""
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as photo:
            dim = 0.45 * np.asarray(photo.filter(ImageFilter.GaussianBlur(1)), np.float64)
        noisy = np.clip(dim + rng.normal(0, 6, dim.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path)


@pytest.fixture(scope="module")
def camera(photos, tmp_path_factory):
    """Spoilt photos: "unlabelled", and "judged" with folders val and test."""
    root = tmp_path_factory.mktemp("camera")
    photos.write_photos(root / "unlabelled", each=12, seed=1)
    for seed, split in enumerate(("val", "test"), start=2):
        photos.write_photos(root / "judged" / split, each=8, seed=seed)
    spoil(root)
    return root


@pytest.fixture(scope="module")
def quick(options_for):
    return options_for(hidden=0, dropouts=(0.3,), weight_decays=(1e-3,), epochs=8, float_reference=False, golden="none")


@pytest.fixture(scope="module")
def labels_file(tmp_path_factory):
    return tmp_path_factory.mktemp("labels") / "more.csv"


@pytest.fixture(scope="module")
def report(quick, camera, labels_file):
    how = AdaptOptions(rate=0.9, rounds=1)
    outputs = AdaptOutputs(labels=labels_file)
    return adapt(quick, camera / "unlabelled", judge=camera / "judged", how=how, outputs=outputs)


def test_every_way_is_measured_in_both_domains(report, quick):
    assert tuple(row.way for row in report.rows) == WAYS
    tested = len(load_dataset(quick.data).split("test"))
    for row in report.rows:
        assert (row.source.samples, row.target_val.samples, row.target.samples) == (tested, 24, 24)
    none, *others = report.rows
    assert none.against_none is None
    for row in others:
        difference = row.target.accuracy - none.target.accuracy
        assert row.against_none.difference == pytest.approx(difference)
        assert row.against_none.difference_95[0] <= difference <= row.against_none.difference_95[1]
    assert (report.photos, report.also_judged) == (36, 0)


def test_the_way_is_chosen_on_the_photos_that_were_set_apart_for_it(report):
    ahead = {row.way: row.target_val.accuracy for row in report.rows[1:] if row.val_against_none.difference_95[0] > 0}
    assert report.chosen == max(ahead, key=ahead.get, default="none")
    assert "on the target's validation photos: none " in report.because


def test_a_way_is_chosen_only_where_it_is_clearly_ahead(report):
    none, coral, importance = report.rows[:3]
    clear, unclear = Against(0.1, (0.02, 0.18), 0.02), Against(0.2, (-0.01, 0.41), 0.07)
    coral = replace(coral, target_val=replace(none.target_val, accuracy=0.7), val_against_none=clear)
    importance = replace(importance, target_val=replace(none.target_val, accuracy=0.8), val_against_none=unclear)
    assert chosen_way([none, coral, importance], WAYS)[0] == "coral"
    assert chosen_way([none, importance], WAYS)[0] == "none"


def test_what_ways_have_to_say_is_told(report):
    importance, pseudo = (next(row.about for row in report.rows if row.way == way) for way in ("importance", "pseudo"))
    assert 0.5 < importance["domains_told_apart"] <= 1
    assert 1 <= importance["effective_examples"] <= 63
    assert 0 < pseudo["pseudo_labels"] <= 36
    text = report.as_text()
    assert "the domains are told apart in" in text
    assert f"chosen: {report.chosen}, " in text
    assert [row["way"] for row in json.loads(json.dumps(report.to_json()))["ways"]] == list(WAYS)


def test_pseudo_labels_are_data_that_build_takes(report, labels_file, quick, camera):
    source, more = load_dataset(quick.data), load_dataset(labels_file)
    given = {sample.sha256: (sample.label, sample.split) for sample in source.samples}
    found = {sample.sha256: (sample.label, sample.split) for sample in more.samples}
    assert {sha256: found[sha256] for sha256 in given} == given
    new = {sha256: answer for sha256, answer in found.items() if sha256 not in given}
    assert {split for _, split in new.values()} == {"train"}
    true = {sample.sha256: sample.label for sample in load_dataset(camera / "unlabelled", for_training=False).samples}
    assert set(new) <= set(true)
    kept = report.rows[-1].about["pseudo_labels"]
    assert len(new) == kept
    right = np.mean([true[sha256] == label for sha256, (label, _) in new.items()])
    assert right > np.mean([label == "cat" for label in true.values()]) + 0.1  # better than by chance, in any domain


@pytest.mark.slow
def test_the_bundle_has_the_head_that_was_measured(quick, camera, tmp_path):
    output = tmp_path / "coral.bundle"
    judge = camera / "judged" / "test"
    outputs = AdaptOutputs(bundle=output)
    found = adapt(quick, camera, ways=("coral",), judge=judge, outputs=outputs)
    assert (found.chosen, [row.way for row in found.rows]) == ("coral", ["none", "coral"])
    assert found.also_judged == 24
    assert found.rows[1].target_val is None
    assert found.built.verified.passed
    about = TrainedModel.load(tmp_path / "coral.run").description["head"]["adaptation"]
    assert about["way"] == "coral"
    # The bundle's head is the one that was measured, on the same graph.
    samples = load_dataset(judge, for_training=False).samples
    with Predictor.load(output) as predictor:
        right = np.mean([predictor.predict(sample.path).label == sample.label for sample in samples])
    assert right == pytest.approx(found.rows[1].target.accuracy, abs=1 / 24)


def test_reported_photos_have_no_say_in_the_choice(report):
    none, coral = (replace(row, target_val=None, val_against_none=None) for row in report.rows[:2])
    better = replace(coral, target=replace(none.target, accuracy=1.0))
    way, because = chosen_way([none, better], ("none", "coral"))
    assert (way, "no labelled photos of the target were set apart" in because) == ("none", True)
    assert chosen_way([none, coral], ("coral",))[0] == "coral"


def test_labels_that_the_source_lacks_are_refused(quick, camera, photos, tmp_path):
    other = photos.write_photos(tmp_path / "other", each=3, seed=9)
    (other / "rocket").rename(other / "ship")
    with pytest.raises(DataError, match=r"expected labels of the source \(cat, coffee, rocket\), got ship"):
        adapt(quick, camera / "unlabelled", judge=other)


def test_a_judge_that_is_the_source_is_refused(quick, camera):
    with pytest.raises(DataError, match="not in the source's data"):
        adapt(quick, camera / "unlabelled", judge=quick.data)


@pytest.mark.parametrize("name", ["labels", "bundle"])
def test_what_exists_is_kept_before_any_work(name, quick, camera, tmp_path):
    path = tmp_path / "mine"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        adapt(quick, camera / "unlabelled", outputs=AdaptOutputs(**{name: path}))
    assert path.read_text() == "mine"


def test_ways_that_there_are_not_or_do_not_fit_are_refused(quick, camera, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'coral'"):
        adapt(quick, camera, ways=("corral",))
    with pytest.raises(UnknownNameError, match="no way to adapt named 'dann'"):
        Adaptation("dann", ())
    with pytest.raises(RecipeError, match="ask for it, or leave --labels out"):
        adapt(quick, camera, ways=("coral",), outputs=AdaptOutputs(labels=tmp_path / "x.csv"))


def test_a_run_remembers_the_target_by_content_and_not_by_place(camera, tmp_path):
    from edgetransfer.data.unlabelled import read_unlabelled

    samples = read_unlabelled(camera / "unlabelled").samples
    moved = tuple(replace(sample, path=tmp_path / "elsewhere.png") for sample in reversed(samples))
    one, two = (Adaptation("coral", some).to_json() for some in (samples, moved))
    assert one == two
    assert one != Adaptation("coral", samples[1:]).to_json()
