"""Sentences from CSV and JSON lines, and sounds from folders: listed, cleaned and split as photos are."""

from __future__ import annotations

import hashlib
import json
import unicodedata
import wave
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.data.text_table import list_sentences
from edgetransfer.errors import DataError, UnknownNameError


def write_csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_json(path: Path, *values: object) -> Path:
    path.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")
    return path


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(DataError) as found:
        list_sentences(path)
    return found.value.problems or (str(found.value),)


@pytest.fixture
def intents(tmp_path: Path) -> Path:
    rows = [f"sentence number {n} of {label},{label}" for label in ("refund", "card") for n in range(10)]
    return write_csv(tmp_path / "intents.csv", "text,label", *rows)


def test_sentences_are_told_by_the_columns_and_split_as_photos_are(intents):
    dataset = load_dataset(intents)
    assert dataset.kind == "text"
    assert dataset.labels == ("card", "refund")
    assert dataset.report.counts["train"] == {"card": 7, "refund": 7}
    assert sum(sum(by_label.values()) for by_label in dataset.report.counts.values()) == 20
    sample = dataset.samples[0]
    assert sample.source == sample.text
    assert sample.path == intents
    assert sample.sha256 == hashlib.sha256(sample.text.encode()).hexdigest()
    assert "20 sentences, 2 classes" in dataset.report.as_text()
    assert dataset.report.to_json()["kind"] == "text"


def test_json_lines_give_the_same_data_set_as_csv(intents, tmp_path):
    rows = [line.rsplit(",", 1) for line in intents.read_text().splitlines()[1:]]
    lines = write_json(tmp_path / "intents.jsonl", *({"label": label, "text": text} for text, label in rows))
    assert load_dataset(lines).fingerprint == load_dataset(intents).fingerprint


def test_columns_stand_in_any_order_and_quoted_sentences_may_have_commas_and_line_breaks(tmp_path):
    listing = list_sentences(
        write_csv(tmp_path / "a.csv", "\ufeffsplit,Label,TEXT", 'train,a,"one, two\nthree"', "", "test,b,四")
    )
    assert [(e.name, e.label, e.split, e.text) for e in listing.entries] == [
        ("line 3", "a", "train", "one, two\nthree"),
        ("line 5", "b", "test", "四"),
    ]


def test_every_problem_of_a_csv_file_is_told_with_its_line(tmp_path):
    path = write_csv(
        tmp_path / "a.csv", "text,label,split", "fine,a,train", " ,a,train", "x,,train", "x,a,tomorrow", "x,y,a,train",
        "late,a,",
    )  # fmt: skip
    assert problems(path) == (
        "line 3: empty text",
        "line 4: empty label",
        "line 5: unknown split 'tomorrow', expected train, val or test",
        "line 6: expected 3 fields, got 4; a sentence with a comma must be quoted",
        "line 7: empty split, while other lines have one",
    )


def test_every_problem_of_json_lines_is_told_with_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "fine", "label": "a"}\n\n{"text": "x"}\n["x"]\n{"text": 3, "label": "a"}\n{oops\n'
        '{"text": "x", "label": "a", "weight": 1}\n{"text": "\\ud800", "label": "a", "split": null}\n'
    )
    found = problems(path)
    assert found[:4] == (
        "line 3: no 'label'",
        'line 4: expected {"text": ..., "label": ...}, got ["x"]',
        "line 5: text: expected a text, got 3",
        "line 6: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
    )
    assert found[4] == "line 7: unknown key 'weight', expected text, label and split"
    assert found[5].startswith("line 8: text with half of a surrogate pair")


@pytest.mark.parametrize("header", ["text", "text,label,more", "text,text,label"])
def test_other_columns_are_refused_with_those_that_are_wanted(tmp_path, header):
    path = write_csv(tmp_path / "a.csv", header, "x,y,z")
    assert "line 1: expected the columns text,label or text,label,split, got" in problems(path)[0]


def test_a_table_with_a_text_but_no_label_is_told_what_tables_of_sentences_have(tmp_path):
    path = write_csv(tmp_path / "a.csv", "text,category", "x,y")
    with pytest.raises(DataError, match=r"got 'text,category'; for sentences text,label or text,label,split"):
        load_dataset(path)


def test_an_empty_table_is_refused(tmp_path):
    assert problems(write_csv(tmp_path / "a.csv", "text,label")) == ("lists no sentence",)


def test_sentences_that_differ_in_blanks_or_in_how_unicode_writes_them_are_copies(tmp_path):
    composed, apart = unicodedata.normalize("NFC", "café au lait"), unicodedata.normalize("NFD", "café  au lait ")
    assert composed.encode() != apart.encode()
    rows = [f"{text},{label}" for label in "ab" for text in (f"one {label}", f"two {label}", f"three {label}")]
    path = write_csv(tmp_path / "a.csv", "text,label", *rows, f"{composed},a", f"{apart},a", "same,a", "same,b")
    report = load_dataset(path).report
    found = {frozenset(copies.paths): (copies.kind, copies.labels) for copies in report.copies}
    assert found == {
        frozenset({"line 8", "line 9"}): ("exact", ("a",)),
        frozenset({"line 10", "line 11"}): ("exact", ("a", "b")),
    }
    reasons = {finding.path: finding.reason for finding in report.left_out}
    assert {"labelled a and b"} == {reasons.pop("line 10"), reasons.pop("line 11")}
    ((path_left, reason),) = reasons.items()
    assert reason == f"same text as {'line 9' if path_left == 'line 8' else 'line 8'}"
    assert "same sentence under different labels: 1" in report.as_text()


def test_leaks_between_given_splits_are_told_and_dropped_on_demand(tmp_path):
    rows = [
        f"{n} {label} {split},{label},{split}" for split in ("train", "val", "test") for label in "ab" for n in "xy"
    ]
    path = write_csv(tmp_path / "a.csv", "text,label,split", *rows, "x  a  test,a,train")
    (leak,) = load_dataset(path).report.leaks
    assert (leak.kind, leak.path, leak.other_path, leak.dropped) == ("exact", "line 14", "line 10", False)
    dropped = load_dataset(path, near_duplicates="drop")
    assert [sample.text for sample in dropped.split("train")].count("x  a  test") == 0
    assert dropped.report.leaks[0].dropped


def test_a_class_with_too_few_sentences_is_told_in_sentences(tmp_path):
    path = write_csv(tmp_path / "a.csv", "text,label", "one,a", "two,a", "three,a", "four,b")
    with pytest.raises(DataError, match=r"class 'b': expected at least 3 sentences, for train and val and test, got 1"):
        load_dataset(path)


def test_a_folder_is_no_table_of_sentences(tmp_path):
    with pytest.raises(DataError, match=r"expected a \.csv or \.jsonl file of sentences"):
        load_dataset(tmp_path, kind="text")


def test_an_unknown_kind_is_refused(intents):
    with pytest.raises(UnknownNameError, match="no kind of input named 'video'"):
        load_dataset(intents, kind="video")


def write_sound(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-2000, 2000, 800).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(noise.tobytes())


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for n in range(10):
        write_sound(tmp_path / "sounds" / ("bell" if n < 5 else "dog") / f"{n}.wav", n)
    return tmp_path / "sounds"


def test_a_folder_of_sounds_is_told_by_its_files(sounds):
    pytest.importorskip("soundfile", reason="sounds from files need the extra 'audio'")
    (sounds / "bell" / "broken.wav").write_bytes(b"RIFF")
    (sounds / "dog" / "again.wav").write_bytes((sounds / "dog" / "7.wav").read_bytes())
    dataset = load_dataset(sounds)
    assert dataset.kind == "audio"
    assert len(dataset.samples) == 10
    assert {finding.path for finding in dataset.report.left_out} >= {"bell/broken.wav"}
    assert [copies.kind for copies in dataset.report.copies] == ["exact"]
    assert "10 sounds, 2 classes" in dataset.report.as_text()


def test_a_table_of_sounds_is_told_by_its_paths(sounds):
    pytest.importorskip("soundfile", reason="sounds from files need the extra 'audio'")
    rows = [f"{'bell' if n < 5 else 'dog'}/{n}.wav,{'bell' if n < 5 else 'dog'}" for n in range(10)]
    assert load_dataset(write_csv(sounds / "table.csv", "path,label", *rows)).kind == "audio"
