"""Answers that are no single label: several labels and values, from CSV and JSON lines, by their lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.data import TASKS, load_dataset, targets_of
from edgetransfer.data.table import list_table
from edgetransfer.data.table_rows import task_of
from edgetransfer.data.targets import labels_in, read_labels, read_value
from edgetransfer.data.text_table import list_sentences
from edgetransfer.errors import DataError

Photo = Callable[..., Path]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def sentences(path: Path, *answers: str, column: str) -> Path:
    return write(path, f"text,{column}", *(f"sentence number {i},{answer}" for i, answer in enumerate(answers)))


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as found:
        list_sentences(path)
    return found.value.problems


def test_labels_stand_between_bars_in_any_order_and_none_is_an_answer_too():
    assert read_labels(" glass|cap ") == ("cap", "glass")
    assert read_labels("") == read_labels("  ") == read_labels([]) == ()
    assert read_labels(["b", "a, or so"]) == ("a, or so", "b")
    assert labels_in("cap|glass", ("cap", "glass")) == ("cap", "glass")
    assert labels_in("", ()) == ()
    assert labels_in("2.5", 2.5) == ()
    assert labels_in("cap", None) == ("cap",)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [("a||b", "empty label"), ("a|a", "'a' stands twice"), (["a|b"], "none may hold it"), ("a\x07", "control")],
)
def test_labels_that_are_none_are_refused(cell, problem):
    with pytest.raises(ValueError, match=problem):
        read_labels(cell)


@pytest.mark.parametrize("cell", ["", "two", "1,5", "1_000", "nan", "inf", "1e999", 10**400])
def test_values_that_are_no_finite_numbers_are_refused(cell):
    with pytest.raises(ValueError, match=r"expected a number such as 12\.5"):
        read_value(cell)


def test_bad_answers_of_a_table_are_named_by_their_lines(tmp_path):
    assert problems(sentences(tmp_path / "a.csv", "a|b", "a||b", "", "c|c", column="labels")) == (
        "line 3: empty label",
        "line 5: label 'c' stands twice",
    )
    assert problems(sentences(tmp_path / "b.csv", "1.5", "tall", "-2", "", column="value")) == (
        "line 3: value: expected a number such as 12.5, got 'tall'",
        "line 5: value: expected a number such as 12.5, got ''",
    )


def test_json_lines_hold_lists_and_numbers_and_say_what_else_they_got(tmp_path):
    several = write(
        tmp_path / "a.jsonl",
        '{"text": "x", "labels": ["b", "a"]}',
        '{"text": "y", "labels": []}',
        '{"text": "z", "labels": "a|b"}',
        '{"text": "z", "label": "a"}',
    )
    assert problems(several) == ('line 3: labels: expected a list of texts, got "a|b"', "line 4: no 'labels'")
    values = write(tmp_path / "b.jsonl", '{"text": "x", "value": 2}', '{"text": "y", "value": true}')
    assert problems(values) == ("line 2: value: expected a number, got true",)
    good = write(tmp_path / "c.jsonl", '{"text": "x", "value": 2}', '{"text": "y", "value": -0.5}')
    assert [entry.target for entry in list_sentences(good).entries] == [2.0, -0.5]


def test_a_table_with_two_kinds_of_answers_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "text,label,value", "x,a,1")
    with pytest.raises(DataError, match=r"got 'text,label,value'; labels \(several, with | between\) or value"):
        list_sentences(path)


def test_photos_are_listed_in_json_lines_as_in_csv(photo: Photo, tmp_path):
    for number in range(2):
        photo(f"{number}.png", number)
    rows = [{"path": "0.png", "labels": ["b", "a"], "split": "train"}, {"path": "1.png", "labels": [], "split": "val"}]
    listing = list_table(write(tmp_path / "a.jsonl", *map(json.dumps, rows)))
    assert [(e.name, e.label, e.target, e.split) for e in listing.entries] == [
        ("0.png", "a|b", ("a", "b"), "train"),
        ("1.png", "", (), "val"),
    ]
    assert (listing.kind, listing.task) == ("image", "multi_label")


def test_the_column_says_the_kind_of_task(tmp_path, photo: Photo):
    photo("0.png", 0)
    assert task_of(write(tmp_path / "a.csv", "path,Value", "0.png,1")) == "regression"
    assert task_of(write(tmp_path / "a.jsonl", '{"text": "x", "labels": []}')) == "multi_label"
    assert task_of(write(tmp_path / "b.csv", "path,label", "0.png,a")) == "single_label"
    assert task_of(tmp_path) == task_of(tmp_path / "nothing.csv") == "single_label"


def test_several_labels_are_split_counted_and_told_apart(tmp_path):
    answers = ["a|b" if i % 4 == 0 else "b" if i % 2 else "" for i in range(60)]
    dataset = load_dataset(sentences(tmp_path / "a.csv", *answers, column="labels"), tasks=TASKS)
    assert (dataset.task, dataset.labels) == ("multi_label", ("a", "b"))
    assert {split: len(dataset.split(split)) for split in ("train", "val", "test")} == dataset.report.samples
    assert sum(dataset.report.samples.values()) == 60
    assert dataset.class_counts("train") == dataset.report.counts["train"]
    assert sum(dataset.class_counts(split)["b"] for split in ("train", "val", "test")) == 45
    table = targets_of(dataset.samples, "multi_label", dataset.labels)
    assert table.shape == (60, 2)
    assert table.sum(axis=0).tolist() == [15, 45]
    assert "60 sentences, 2 labels" in dataset.report.as_text()


def test_values_are_split_over_the_whole_scale(tmp_path):
    values = [str(i / 2) for i in range(100)]
    dataset = load_dataset(sentences(tmp_path / "a.csv", *values, column="value"), tasks=TASKS)
    assert (dataset.task, dataset.labels) == ("regression", ())
    found = {split: targets_of(dataset.split(split), "regression", ()) for split in ("train", "val", "test")}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 70, "val": 15, "test": 15}
    for rows in found.values():
        assert rows.dtype == np.float64
        assert rows.min() < 10
        assert rows.max() > 40
    lines = dataset.report.as_text().splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["value", "least", "median", "greatest", "all"]
    assert json.loads(json.dumps(dataset.report.to_json()))["values"]["train"][0] == found["train"].min()


def test_equal_answers_have_equal_fingerprints_and_others_do_not(tmp_path):
    def fingerprint(*answers, column="labels"):
        return load_dataset(sentences(tmp_path / "a.csv", *answers, column=column), tasks=TASKS).fingerprint

    some = ["a|b", "a", "", "b"] * 3
    assert fingerprint(*some) == fingerprint("b|a", *some[1:])
    assert fingerprint(*some) != fingerprint("b", *some[1:])
    assert fingerprint("1", "2", "3", column="value") == fingerprint("1.0", "2e0", "3", column="value")


def test_a_sentence_of_which_two_answers_are_given_is_left_out(tmp_path):
    rows = [f"number {i},{i}" for i in range(8)]
    path = write(tmp_path / "a.csv", "text,value", *rows, "same,1", "same,2", "equal,3", "equal,3.0")
    report = load_dataset(path, tasks=TASKS).report
    assert sum(report.samples.values()) == 9
    assert [copies.labels for copies in report.conflicts] == [("1.0", "2.0")]


def test_who_can_do_nothing_with_an_answer_is_told_which_command_can(tmp_path):
    path = sentences(tmp_path / "a.csv", "1", "2", "3", column="value")
    with pytest.raises(DataError, match=r"has the column 'value', expected label; .* edgetransfer build --split"):
        load_dataset(path)


def test_each_label_must_be_in_a_given_train_split_but_not_in_the_others(tmp_path):
    rows = ["x,a|b,train", "y,a,train", "z,a,val"]
    assert load_dataset(write(tmp_path / "a.csv", "text,labels,split", *rows), tasks=TASKS).labels == ("a", "b")
    with pytest.raises(DataError, match="split 'train': no sentence of class 'c'"):
        load_dataset(write(tmp_path / "b.csv", "text,labels,split", *rows, "u,c,val"), tasks=TASKS)


def test_too_few_values_for_three_splits_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected at least 3 sentences that are no copies of one another"):
        load_dataset(sentences(tmp_path / "a.csv", "1", "2", column="value"), tasks=TASKS)


def test_classes_of_one_and_two_samples_are_taken_where_few_will_do_and_train_comes_first(tmp_path):
    answers = ["a"] * 9 + ["b"] * 2 + ["c"]
    path = sentences(tmp_path / "a.csv", *answers, column="label")
    dataset = load_dataset(path, few=True)
    assert dataset.class_counts("train")["c"] == dataset.class_counts("train")["b"] == 1
    assert dataset.class_counts("val") == {"a": 2, "b": 1, "c": 0}
    assert load_dataset(path, for_training=False).fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="class 'b': expected at least 3 sentences"):
        load_dataset(path)
    enough = sentences(tmp_path / "b.csv", *(["a"] * 9 + ["b"] * 3), column="label")
    assert load_dataset(enough, few=True).fingerprint == load_dataset(enough).fingerprint
