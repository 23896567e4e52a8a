from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import BundleError, DataError, IntegrityError, OutputError, RecipeError, UnknownNameError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline.split import build_split, train_head
from edgetransfer.pipeline.split_head import HeadWish
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.heads import add_head, heads_folder, load_heads, read_head, remove_head
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.head import Head
from edgetransfer.verify import verify


@pytest.fixture(scope="module")
def tables(tmp_path_factory, folder):
    """Two more questions about the same photos: is it alive, and the subjects without one of them."""
    root = tmp_path_factory.mktemp("tables")
    photos = sorted(folder.glob("*/*.png"))
    alive = [f"{path},{'alive' if path.parent.name == 'cat' else 'thing'}" for path in photos]
    two = [f"{path},{path.parent.name}" for path in photos if path.parent.name != "coffee"]
    (root / "alive.csv").write_text("\n".join(["path,label", *alive]) + "\n")
    (root / "two.csv").write_text("\n".join(["path,label", *two]) + "\n")
    return root


@pytest.fixture(scope="module")
def split(tmp_path_factory, options_for, folder, tables):
    """A split bundle with two heads on one backbone."""
    wishes = [HeadWish("subject", folder), HeadWish("alive", tables / "alive.csv")]
    return build_split(options_for(), wishes, tmp_path_factory.mktemp("split") / "photos.bundle", reject=0.1)


@pytest.fixture
def copy(split, tmp_path):
    return Bundle.load(shutil.copytree(split.bundle.path, tmp_path / "photos.bundle"))


def test_one_backbone_answers_for_all_heads(split, folder):
    photos = sorted(folder.glob("*/*.png"))
    with Predictor.load(split.bundle.path) as predictor:
        assert [head.name for head in predictor.heads] == ["alive", "subject"]
        found = [predictor.predict(path) for path in photos]
    right = [one["subject"].label == path.parent.name for one, path in zip(found, photos, strict=True)]
    assert np.mean(right) > 0.6
    assert set(found[0]) == {"alive", "subject"}
    assert set(json.loads(json.dumps(found[0].to_json()))) == {"alive", "subject"}
    with pytest.raises(UnknownNameError, match="did you mean 'subject'"):
        found[0]["subjct"]


def test_the_bundle_verifies_and_its_report_tells_each_heads_figures(split):
    assert split.verified.passed
    assert verify(split.bundle).golden_samples == 8
    about = json.loads(json.dumps(split.to_json()))
    assert [row["name"] for row in about["heads"]] == ["subject", "alive"]
    text = split.as_text()
    for part in ("head subject: single_label, 3 labels", "float32", "static_int8", "few examples", "rejects"):
        assert part in text


def test_the_metrics_of_each_head_are_what_evaluate_finds(split, folder, tables):
    from edgetransfer.data import load_dataset

    for info, data in zip(split.bundle.manifest.heads, (folder, tables / "alive.csv"), strict=True):
        again = evaluate_bundle(split.bundle, load_dataset(data), "test", head=info.name)
        assert info.metrics["test"].accuracy == again.accuracy
    with pytest.raises(Exception, match="name one with --head"):
        evaluate_bundle(split.bundle, load_dataset(folder), "test")


def test_a_head_is_a_few_kilobytes_and_reads_back_as_it_was(split):
    content = split.bundle.content(split.bundle.manifest.heads[0].file)
    assert len(content) < 64_000
    head = Head.from_bytes(content)
    assert head.to_bytes() == content
    assert head.rounded().layers[0].kernel.tobytes() == head.layers[0].kernel.tobytes()


def test_a_golden_head_that_answers_otherwise_fails_verification(copy):
    """A head is hashed like every file; one that was exchanged is found before it answers."""
    info = copy.manifest.heads[0]
    head = Head.from_bytes(copy.content(info.file))
    other = replace(head, layers=(replace(head.layers[0], bias=head.layers[0].bias + 1), *head.layers[1:]))
    (copy.path / info.file).write_bytes(other.to_bytes())
    assert not verify(copy).passed
    with pytest.raises(IntegrityError, match="copy it again"):
        Predictor.load(copy)


def test_a_head_is_added_replaced_and_removed_while_the_bundle_stays(copy, tables, tmp_path, options_for):
    before = {path: path.read_bytes() for path in sorted(copy.path.rglob("*")) if path.is_file()}
    report = train_head(copy, HeadWish("two", tables / "two.csv"), tmp_path / "two.head", options_for())
    assert report.row.exported["test"].accuracy > 0.6
    add_head(copy, read_head(report.path))
    assert heads_folder(copy).joinpath("two.head").stat().st_size == report.row.size_bytes
    with Predictor.load(copy.path) as predictor:
        photo = np.zeros((48, 40, 3), np.uint8)
        assert set(predictor.predict(photo)) == {"alive", "subject", "two"}
    own = next(head for head in load_heads(copy) if head.name == "alive")
    add_head(copy, replace(own, task=replace(own.task, temperature=9.0)))
    assert next(head for head in load_heads(copy) if head.name == "alive").task.temperature == 9.0
    remove_head(copy, "alive")
    assert next(head for head in load_heads(copy) if head.name == "alive").task == own.task
    assert {path: path.read_bytes() for path in sorted(copy.path.rglob("*")) if path.is_file()} == before
    assert verify(copy).passed
    with pytest.raises(UnknownNameError, match="added head"):
        remove_head(copy, "alive")


def test_a_head_of_another_backbone_or_recipe_is_refused(split, copy, options_for, folder, tmp_path):
    wish = [HeadWish("subject", folder)]
    floats = build_split(options_for(recipe="float32"), wish, tmp_path / "floats.bundle")
    foreign = load_heads(floats.bundle)[0]
    with pytest.raises(BundleError, match=r"another backbone or recipe.*edgetransfer heads train DATA --bundle"):
        add_head(copy, foreign)
    with pytest.raises(BundleError, match="another backbone or recipe"):
        Predictor.load(copy, heads=[foreign])


def test_given_heads_answer_and_no_others(split):
    head = next(head for head in load_heads(split.bundle) if head.name == "alive")
    with Predictor.load(split.bundle, heads=[head]) as predictor:
        assert predictor.labels == ("alive", "thing")
        assert predictor.predict(np.zeros((9, 9, 3), np.uint8)).scores.keys() == {"alive", "thing"}
    with Predictor.load(split.bundle, heads=[]) as predictor:
        found = predictor.predict(np.zeros((9, 9, 3), np.uint8))
        assert found.embedding.shape == (split.bundle.manifest.backbone.feature_size,)
        assert (found.embedding == predictor.embed(np.zeros((9, 9, 3), np.uint8))).all()


def test_a_bundle_with_its_head_inside_takes_no_others_and_has_no_embedding(
    built, split, tables, options_for, tmp_path
):
    head = load_heads(split.bundle)[0]
    with pytest.raises(BundleError, match="inside the graph"):
        Predictor.load(built.bundle, heads=[head])
    with pytest.raises(BundleError, match="build it with --split"):
        add_head(built.bundle, head)
    with Predictor.load(built.bundle) as predictor, pytest.raises(BundleError, match="not in features"):
        predictor.embed(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(BundleError, match="built with --split"):
        train_head(built.bundle, HeadWish("x", tables / "two.csv"), tmp_path / "x.head", options_for())


def test_what_is_unlike_the_training_photos_gets_no_label_and_a_reason(split):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    with Predictor.load(split.bundle) as predictor:
        found = predictor.predict(noise)["subject"]
    assert found.label is None
    assert found.reason
    assert abs(sum(found.scores.values()) - 1) < 1e-6


def test_its_answers_are_those_of_the_head_inside_the_graph_but_for_rounding(split, built, folder):
    photos = [read_image(path) for path in sorted(folder.glob("*/*.png"))[::5]]
    with Predictor.load(split.bundle) as apart, Predictor.load(built.bundle) as joined:
        scores = [apart.predict(photo)["subject"].scores for photo in photos]
        labels = [joined.predict(photo).label for photo in photos]
    same = [max(found, key=found.get) == label for found, label in zip(scores, labels, strict=True)]
    assert np.mean(same) > 0.85


def test_wishes_that_cannot_be_are_refused_before_any_work(options_for, folder, tmp_path, split):
    twice = [HeadWish("a", folder), HeadWish("a", folder)]
    with pytest.raises(DataError, match="name of its own"):
        build_split(options_for(), twice, tmp_path / "x.bundle")
    with pytest.raises(RecipeError, match="--max-drop"):
        build_split(options_for(max_drop=1.0), twice[:1], tmp_path / "x.bundle")
    with pytest.raises(RecipeError, match="--head-on float"):
        build_split(options_for(head_on="float"), twice[:1], tmp_path / "x.bundle")
    with pytest.raises(OutputError, match="exists already"):
        build_split(options_for(), twice[:1], split.bundle.path)
    assert list(tmp_path.iterdir()) == []


def test_a_second_build_gives_the_same_hash(split, options_for, folder, tables, tmp_path):
    wishes = [HeadWish("subject", folder), HeadWish("alive", tables / "alive.csv")]
    again = build_split(options_for(), wishes, tmp_path / "photos.bundle", reject=0.1)
    assert again.bundle.sha256 == split.bundle.sha256
