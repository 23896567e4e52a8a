"""Wrong labels among photos are found, written to a table, and what they cost is measured."""

import csv
import json

import pytest

from edgetransfer.errors import OutputError
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation

pytest.importorskip("keras", reason="building needs the extra 'train'")

from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.pipeline.clean import clean

pytestmark = pytest.mark.slow

WRONG = ("wrong_0.png", "wrong_1.png", "wrong_2.png")
"""Photos of the rocket in the folder of the cat."""


@pytest.fixture(scope="module")
def options(small_keras, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    path = folder / "small.keras"
    write_backbone(path, small_keras, BackboneFacts("small", Normalisation(1 / 127.5, 127), "Apache-2.0", "", "photos"))
    data = photos.write_photos(folder / "photos", each=30, size_px=(32, 32))
    for number, name in enumerate(WRONG):
        (data / "rocket" / f"{number:03}.png").rename(data / "cat" / name)
    return BuildOptions(data, BackboneChoice(f"keras:{path}"), epochs=3, dropouts=(0.3,), weight_decays=(1e-3,))


@pytest.fixture(scope="module")
def found(options, tmp_path_factory):
    output = tmp_path_factory.mktemp("issues") / "issues.csv"
    return clean(options, output), output


def test_wrong_labels_are_found_and_the_right_one_is_suggested(found):
    report, _ = found
    labels = {one.sample.path.name: one for one in report.issues if one.kind == "label"}
    seen = set(WRONG) & set(labels)
    assert seen  # not all of them: a class must be as sure of them as it is of its own
    assert {labels[name].suggested for name in seen} == {"rocket"}
    assert len(labels) - len(seen) <= 2  # of 87, by features of an untrained network
    assert report.issues[0].sample.path.name in WRONG  # the clearest
    assert "labels that are probably wrong" in report.as_text()
    assert "cat: rocket?" in report.as_text()


def test_the_table_has_every_issue_the_clearest_label_first(found):
    report, output = found
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [str(one.sample.path) for one in report.issues]
    amounts = [float(row["amount"]) for row in rows if row["issue"] == "label"]
    assert amounts == sorted(amounts, reverse=True)
    assert [row["issue"] for row in rows] == sorted(row["issue"] for row in rows)  # labels, then outliers
    assert [one["path"] for one in json.loads(json.dumps(report.to_json()))["issues"]] == [row["path"] for row in rows]


def test_heads_with_and_without_are_measured_on_the_same_images(found):
    report, _ = found
    first, second = list(report.rows)[:2]
    assert first == "all training images"
    assert second.startswith("without suspected labels (")
    assert report.rows[first]["val"].samples == report.rows[second]["val"].samples


def test_a_table_that_exists_is_kept(found, options):
    _, output = found
    before = output.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        clean(options, output)
    assert output.read_bytes() == before
