from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return tiny_bundle.make_split_bundle(tmp_path / "tiny.bundle")


@pytest.fixture
def photos(tiny_bundle, tmp_path):
    found = []
    for number, frame in enumerate(tiny_bundle.shades(3, 5)):
        path = tmp_path / f"grey_{number}.png"
        Image.fromarray(frame).save(path)
        found.append(str(path))
    return found


def test_heads_are_listed_taught_and_taken_back(call, bundle, photos):
    listed = json.loads(call("heads", "list", bundle.path, "--json").stdout)
    assert [head["name"] for head in listed["heads"]] == ["colour"]
    taught = call("heads", "teach", bundle.path, "grey", *photos)
    assert taught.exit_code == 0
    assert "learned 'grey' from 5 examples" in taught.stdout
    answered = json.loads(call("run", bundle.path, photos[0], "--json").stdout)
    assert answered["results"][0]["label"] == "grey"
    assert "3 labels" in call("heads", "undo", bundle.path).stdout
    again = call("heads", "undo", bundle.path)
    assert again.exit_code == 1
    assert "no lesson to take back" in again.stderr


def test_a_head_that_fits_is_added_and_removed_and_another_is_refused(call, tiny_bundle, bundle, tmp_path):
    other = tiny_bundle.make_split_bundle(tmp_path / "other.bundle", name="shade")
    foreign = tiny_bundle.make_split_bundle(tmp_path / "foreign.bundle", name="strange", features_sha256="0" * 64)
    assert "shade" in call("heads", "add", bundle.path, other.path / "heads" / "shade.head").stdout
    refused = call("heads", "add", bundle.path, foreign.path / "heads" / "strange.head")
    assert refused.exit_code == 1
    assert "another backbone or recipe" in refused.stderr
    assert "shade" not in call("heads", "remove", bundle.path, "shade").stdout
    missing = call("heads", "remove", bundle.path, "shade")
    assert missing.exit_code == 1
    assert "added head" in missing.stderr


def test_several_heads_answer_in_lines_of_their_own(call, tiny_bundle, bundle, tmp_path):
    other = tiny_bundle.make_split_bundle(tmp_path / "other.bundle", name="shade")
    call("heads", "add", bundle.path, other.path / "heads" / "shade.head")
    path = tmp_path / "red.png"
    Image.fromarray(tiny_bundle.shades(0, 1)[0]).save(path)
    lines = call("run", bundle.path, path).stdout.splitlines()
    assert lines[0] == f"{path}:"
    assert lines[1].startswith("  colour: red ")
    assert lines[2].startswith("  shade: red ")
    assert "head shade" in call("inspect", bundle.path).stdout


def test_evaluate_wants_the_name_of_one_of_several_heads(call, tiny_bundle, bundle, tmp_path):
    for channel, label in enumerate(tiny_bundle.LABELS):
        for number, frame in enumerate(tiny_bundle.shades(channel, 4)):
            folder = tmp_path / "data" / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(folder / f"{number}.png")
    report = json.loads(call("evaluate", bundle.path, "--data", tmp_path / "data", "--json").stdout)
    assert report["accuracy"] == pytest.approx(1.0)
    other = tiny_bundle.make_split_bundle(tmp_path / "other.bundle", name="shade")
    call("heads", "add", bundle.path, other.path / "heads" / "shade.head")
    asked = call("evaluate", bundle.path, "--data", tmp_path / "data")
    assert "name one with --head" in asked.stderr
    assert call("evaluate", bundle.path, "--data", tmp_path / "data", "--head", "shade").exit_code == 0


def test_options_of_a_joined_bundle_are_refused_for_a_split_one(call, tmp_path):
    refused = call("build", "photos", "--split", "--scores-in-graph", "--output", tmp_path / "x.bundle")
    assert refused.exit_code == 2
    assert "--scores-in-graph: is for bundles with their head inside the graph" in refused.stderr
    both = call("build", "photos", "--split", "--format", "both", "--output", tmp_path / "x.bundle")
    assert "--format both: is for bundles with their head inside the graph" in both.stderr
    unnamed = call("build", "photos", "--head", "Lid=x.csv", "--output", tmp_path / "x.bundle")
    assert unnamed.exit_code == 2
    assert "expected NAME=DATA" in unnamed.stderr


def test_a_bundle_without_heads_gives_its_features(call, tiny_bundle, bundle, tmp_path):
    import shutil

    from edgetransfer.runtime.predictor import Predictor

    with Predictor.load(bundle, heads=[]) as predictor:
        assert predictor.predict(np.zeros((9, 9, 3), np.uint8)).embedding.shape == (tiny_bundle.POOLED,)
    shutil.rmtree(bundle.path)
