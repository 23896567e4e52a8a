"""Heads of every kind on one backbone: what they learn from, what is told of them, and what they answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import TASKS, load_dataset
from edgetransfer.errors import DataError, RecipeError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline.split import build_split, train_head
from edgetransfer.pipeline.split_head import HeadWish
from edgetransfer.runtime.decoders.multi_label import MultiLabelResult
from edgetransfer.runtime.decoders.ordinal import OrdinalResult
from edgetransfer.runtime.decoders.regression import RegressionResult
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.learning_curve import LearningCurve
from edgetransfer.spec.task_report import MultiLabelReport, OrdinalReport, RegressionReport

ORDER = ("coffee", "cat", "rocket")


def brightness(path):
    return float(np.asarray(Image.open(path)).mean())


@pytest.fixture(scope="module")
def tables(tmp_path_factory, folder):
    """What else is asked of the same photos: which of two things they have, and how bright they are."""
    root = tmp_path_factory.mktemp("tables")
    photos = sorted(folder.glob("*/*.png"))
    things = {"cat": "alive|warm", "coffee": "warm", "rocket": ""}
    (root / "things.csv").write_text("path,labels\n" + "".join(f"{p},{things[p.parent.name]}\n" for p in photos))
    (root / "light.csv").write_text("path,value\n" + "".join(f"{p},{brightness(p):.2f}\n" for p in photos))
    return root


@pytest.fixture(scope="module")
def quick(options_for):
    """One candidate for each head, for it is not the choice that is tested here."""
    return options_for(dropouts=(0.3,), weight_decays=(1e-3,))


@pytest.fixture(scope="module")
def built(tmp_path_factory, quick, folder, tables):
    wishes = [
        HeadWish("subject", folder, order=ORDER),
        HeadWish("things", tables / "things.csv"),
        HeadWish("light", tables / "light.csv", unit="grey levels"),
    ]
    return build_split(quick, wishes, tmp_path_factory.mktemp("kinds") / "kinds.bundle")


def test_each_kind_has_its_own_figures_beside_those_of_the_float_model(built):
    assert built.verified.passed
    kinds = {"subject": OrdinalReport, "things": MultiLabelReport, "light": RegressionReport}
    for row in built.heads:
        expected = kinds[row.trained.head.name]
        for reports in (row.exported, row.trained.floats):
            assert set(reports) == {"val", "test"}
            assert all(isinstance(report, expected) for report in reports.values())
    figures = {row.trained.head.name: row.exported["test"] for row in built.heads}
    assert figures["subject"].mean_absolute_error.value < 0.6  # of labels; who always says "cat" is two thirds off
    assert figures["things"].mean_average_precision.value > 0.8
    assert figures["light"].r2.value > 0.5


def test_the_report_tells_them_in_words_and_in_json(built):
    text = built.as_text()
    for part in (
        "head subject: ordinal, 3 labels, coffee < cat < rocket",
        "mean error, labels",
        "head things: multi_label, 2 labels",
        "mean average precision",
        "head light: regression, light in grey levels",
        "root mean square error, grey levels",
        "data of light:",
    ):
        assert part in text
    rows = {row["name"]: row for row in json.loads(json.dumps(built.to_json()))["heads"]}
    assert rows["light"]["exported"]["test"]["report"] == "evaluate_regression"
    assert rows["things"]["float"]["val"]["micro_f1"].keys() == {"value", "low", "high"}


def test_the_predictor_gives_the_typed_result_of_each_kind(built, folder):
    photo = sorted(folder.glob("cat/*.png"))[0]
    with Predictor.load(built.bundle) as predictor:
        found = predictor.predict(photo)
    assert isinstance(found["subject"], OrdinalResult)
    assert isinstance(found["things"], MultiLabelResult)
    assert isinstance(found["light"], RegressionResult)
    assert found["light"].unit == "grey levels"
    assert abs(found["light"].value - brightness(photo)) < 40


def test_a_heads_file_keeps_the_figures_that_evaluate_finds(built, folder, tables):
    sources = {"subject": folder, "things": tables / "things.csv", "light": tables / "light.csv"}
    with Predictor.load(built.bundle) as predictor:
        heads = {head.name: head for head in predictor.heads}
    for name, source in sources.items():
        report = evaluate_bundle(built.bundle, load_dataset(source, tasks=TASKS), "test", head=name)
        row = next(row for row in built.heads if row.trained.head.name == name)
        assert report.to_json() == row.exported["test"].to_json()
        assert heads[name].metrics["test"]["samples"] == report.samples
    assert heads["light"].metrics["test"]["r2"] == pytest.approx(row.exported["test"].r2.value)
    accuracies = {info.name: set(info.metrics) for info in built.bundle.manifest.heads}
    assert accuracies == {"subject": {"val", "test"}, "things": set(), "light": set()}


def test_data_of_another_kind_or_with_other_labels_are_refused(built, folder, tables, tmp_path):
    light = load_dataset(tables / "light.csv", tasks=TASKS)
    with pytest.raises(DataError, match="expected the column 'label', for a task of the kind ordinal"):
        evaluate_bundle(built.bundle, light, "test", head="subject")
    with pytest.raises(DataError, match="expected the column 'labels'"):
        evaluate_bundle(built.bundle, load_dataset(folder), "test", head="things")
    text = (tables / "things.csv").read_text()
    (tmp_path / "other.csv").write_text(text.replace("alive", "moving"))
    with pytest.raises(DataError, match="unknown to the bundle: 'moving'"):
        evaluate_bundle(built.bundle, load_dataset(tmp_path / "other.csv", tasks=TASKS), "test", head="things")
    (tmp_path / "fewer.csv").write_text(text.replace("alive|warm", "warm"))
    assert evaluate_bundle(built.bundle, load_dataset(tmp_path / "fewer.csv", tasks=TASKS), "test", head="things")


def test_the_accuracy_gate_looks_at_the_head_that_lost_the_most(built):
    gate = next(gate for gate in built.gates if gate.name == "accuracy")
    assert gate.passed
    assert any(part in gate.detail for part in ("mean average precision", "R2", "of the scale"))


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ({"order": ("coffee", "cat")}, "'rocket' is missing"),
        ({"order": ("coffee", "cat", "rocket", "tea", "cat")}, "'cat' stands twice; 'tea' is no label of the data"),
        ({"unit": "kg"}, "the unit 'kg' is for values"),
        ({"data": "light.csv", "order": ORDER}, "an order is for labels"),
        ({"data": "things.csv", "order": ("alive", "warm")}, "one label of several"),
    ],
)
def test_what_contradicts_the_data_is_refused_before_any_work(quick, folder, tables, tmp_path, wish, problem):
    data = tables / wish["data"] if "data" in wish else folder
    asked = HeadWish("x", data, wish.get("order", ()), wish.get("unit", ""))
    with pytest.raises(DataError, match=problem):
        build_split(quick, [asked], tmp_path / "x.bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extra", [{"reject": 0.1}, {"teachable": True}])
def test_rejection_and_teaching_are_for_one_label_of_several(quick, tables, tmp_path, extra):
    with pytest.raises(RecipeError, match=f"--{next(iter(extra))} is for heads of one label"):
        build_split(quick, [HeadWish("light", tables / "light.csv")], tmp_path / "x.bundle", **extra)


def test_photos_have_no_windows_to_pool(built, quick, folder, tmp_path):
    with pytest.raises(RecipeError, match="image has one window only"):
        train_head(built.bundle, HeadWish("x", folder), tmp_path / "x.head", replace(quick, pooling="auto"))


def test_validation_samples_that_suffice_give_scores_a_temperature(built, quick, tables, tmp_path):
    lines = (tables / "things.csv").read_text().splitlines()
    splits = ["split", *(("train", "val", "val")[number % 3] for number in range(len(lines) - 1))]
    table = tmp_path / "given.csv"
    table.write_text("\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)) + "\n")
    report = train_head(built.bundle, HeadWish("warm", table), tmp_path / "warm.head", quick)
    assert report.data.samples["val"] == 60
    assert report.row.trained.head.task.temperature != 1
    assert f"temperature {report.row.trained.head.task.temperature:.2f}, fitted on validation" in report.as_text()


# === Few examples ===


def some(folder, each, to):
    for label in ORDER:
        (to / label).mkdir(parents=True)
        for path in sorted((folder / label).iterdir())[:each]:
            (to / label / path.name).write_bytes(path.read_bytes())
    return to


def test_one_example_a_label_makes_a_head_and_nothing_is_said_to_be_measured(built, options_for, folder, tmp_path):
    report = train_head(
        built.bundle, HeadWish("one", some(folder, 1, tmp_path / "one")), tmp_path / "one.head", options_for()
    )
    assert report.row.exported == {}
    assert report.row.trained.head.metrics == {}
    assert report.row.trained.few.accuracy is None
    assert "nothing measured" in report.as_text()
    with Predictor.load(built.bundle, heads=[report.path]) as predictor:
        right = [predictor.predict(path).label == path.parent.name for path in sorted(folder.glob("*/*.png"))]
    assert np.mean(right) > 0.5  # a third by chance


def test_few_examples_are_all_trained_on_and_each_is_left_out_in_turn(built, options_for, folder, tmp_path):
    options = options_for(learning_curve=True)
    report = train_head(built.bundle, HeadWish("few", folder), tmp_path / "few.head", options)
    trained = report.row.trained
    assert trained.trained_on == ("train", "val")
    assert set(report.row.exported) == {"test"}
    known = sum(report.data.samples[split] for split in ("train", "val"))
    assert trained.few.left_out == known
    assert f"least loss of {known} examples left out in 5 parts" in report.as_text()
    assert "nothing was measured on them" in report.as_text()
    assert trained.head.training["few"]["accuracy"] == trained.few.accuracy > 0.6
    curve = LearningCurve.from_json(trained.head.training["learning_curve"])
    assert curve.advice in report.as_text()
    assert report.path.stat().st_size < 8000


def test_what_asks_for_a_choice_keeps_the_validation_split_out(built, options_for, folder, tmp_path):
    report = train_head(
        built.bundle, HeadWish("asked", folder), tmp_path / "asked.head", options_for(dropouts=(0.1,), epochs=2)
    )
    assert report.row.trained.few is None
    assert set(report.row.exported) == {"val", "test"}


def test_a_head_that_may_be_taught_is_not_trained_on_what_it_remembers(built, options_for, folder, tmp_path):
    report = train_head(built.bundle, HeadWish("teachable", folder), tmp_path / "t.head", options_for(), teachable=True)
    assert report.row.trained.few.left_out == report.data.samples["train"]
    assert set(report.row.exported) == {"val", "test"}
    with pytest.raises(DataError, match="--teachable needs validation samples"):
        train_head(
            built.bundle,
            HeadWish("one", some(folder, 1, tmp_path / "one")),
            tmp_path / "one.head",
            options_for(),
            teachable=True,
        )


def test_an_order_needs_validation_samples_and_says_so(built, options_for, folder, tmp_path):
    wish = HeadWish("one", some(folder, 1, tmp_path / "one"), order=ORDER)
    with pytest.raises(DataError, match="to choose a head of the kind ordinal by, got none"):
        train_head(built.bundle, wish, tmp_path / "one.head", options_for())
