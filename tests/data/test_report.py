"""The report as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edgetransfer.data import load_dataset

Write = Callable[..., Path]


def test_the_text_shows_all_counts_and_the_first_few_of_each_list(classes: Write) -> None:
    root = classes(bottle=4, tin=9)
    for i in range(8):
        (root / f"tin/empty {i}.jpg").touch()
    text = load_dataset(root).report.as_text()
    lines = text.splitlines()
    assert lines[0].endswith("13 photos, 2 classes (train, val, test made here)")
    assert lines[1].split() == ["class", "train", "val", "test"]
    assert lines[2].split() == ["bottle", "2", "1", "1"]
    assert lines[4].split() == ["all", "8", "3", "2"]
    assert "left out: 8" in lines
    assert sum("empty file (0 bytes)" in line for line in lines) == 5
    assert "  and 3 more" in lines
    assert lines[-1] == "All of them: --json."


def test_the_json_has_everything(leaky: Path) -> None:
    report = load_dataset(leaky).report
    data = json.loads(json.dumps(report.to_json()))
    assert data["report"] == "data"
    assert data["counts"]["test"] == {"a": 4, "b": 4}
    assert data["leaks"][0] == {
        "kind": "exact",
        "path": "train/a/exact.png",
        "split": "train",
        "other_path": "test/a/0200.png",
        "other_split": "test",
        "same_label": True,
        "dropped": False,
    }
    assert {tuple(c["paths"]) for c in data["copies"]} >= {("train/a/0001.png", "train/a/twice.png")}
