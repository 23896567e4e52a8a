"""Bad files, copies and leaks: what is left out, kept together or only reported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetransfer.data import Dataset, load_dataset
from edgetransfer.errors import DataError

Write = Callable[..., Path]


def placed(data: Dataset) -> dict[str, str]:
    return {sample.path.name: sample.split for sample in data.samples}


def test_bad_files_are_left_out_and_listed_with_their_reasons(classes: Write, photo: Write) -> None:
    root = classes(a=4, b=4)
    whole = photo("photos/a/cut.jpg", 77).read_bytes()
    (root / "a/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "a/nearly.jpg").write_bytes(whole[: int(0.98 * len(whole))])
    (root / "a/empty.png").touch()
    photo("photos/b/funny.gif", 78)
    (root / "b/text.jpg").write_text("hello")
    (root / "b/Thumbs.db").touch()
    data = load_dataset(root)
    assert len(data.samples) == 8
    assert {f.path: f.reason.split(":")[0] for f in data.report.left_out} == {
        "a/cut.jpg": "truncated or damaged JPEG",
        "a/empty.png": "empty file (0 bytes)",
        "a/nearly.jpg": "truncated or damaged JPEG",
        "b/funny.gif": "GIF is not a photo format",
        "b/text.jpg": "expected JPEG, PNG, WebP, BMP or TIFF, got a file that begins with b'hello'",
    }
    assert [f.path for f in data.report.ignored] == ["b/Thumbs.db"]


def test_exact_copies_are_used_once_in_splits_made_here(classes: Write) -> None:
    root = classes(a=5, b=5)
    shutil.copy(root / "a/0000.png", root / "a/copy.png")
    data = load_dataset(root)
    assert len(data.samples) == 10
    assert [(f.path, f.reason) for f in data.report.left_out] == [("a/copy.png", "same bytes as a/0000.png")]
    (copies,) = data.report.copies
    assert (copies.kind, copies.paths, copies.action) == ("exact", ("a/0000.png", "a/copy.png"), "a/0000.png is used")


def test_one_photo_with_two_labels_is_left_out_altogether(classes: Write) -> None:
    root = classes(a=5, b=5)
    shutil.copy(root / "a/0000.png", root / "b/copy.png")
    data = load_dataset(root)
    assert len(data.samples) == 9
    assert {f.path for f in data.report.left_out} == {"a/0000.png", "b/copy.png"}
    (conflict,) = data.report.conflicts
    assert conflict.labels == ("a", "b")
    assert "left out" in conflict.action


@pytest.mark.parametrize("seed", range(6))
def test_near_copies_stay_on_one_side_of_splits_made_here(seed: int, classes: Write, photo: Write) -> None:
    root = classes(a=6, b=6)
    for i in range(6):
        photo(f"photos/a/again {i}.jpg", i, quality=80)
    data = load_dataset(root, seed=seed)
    where = placed(data)
    assert len(where) == 18
    assert all(where[f"{i:04}.png"] == where[f"again {i}.jpg"] for i in range(6))
    assert len([c for c in data.report.copies if c.kind == "near" and c.action == "all in one split"]) == 6
    assert data.report.leaks == ()


def test_leaks_between_given_splits_are_reported_and_nothing_is_dropped(leaky: Path) -> None:
    data = load_dataset(leaky)
    assert len(data.samples) == 29
    assert [(k.kind, k.path, k.other_path, k.same_label, k.dropped) for k in data.report.leaks] == [
        ("exact", "train/a/exact.png", "test/a/0200.png", True, False),
        ("near", "train/b/near.jpg", "test/b/0207.png", True, False),
        ("near", "val/a/near.jpg", "test/a/0201.png", True, False),
    ]
    assert [c.paths for c in data.report.conflicts] == [("train/a/0000.png", "train/b/other label.png")]
    assert all(c.action == "kept as given" for c in data.report.copies)
    assert data.report.left_out == ()


def test_leaks_are_dropped_from_train_on_request_and_only_from_there(leaky: Path) -> None:
    data = load_dataset(leaky, near_duplicates="drop")
    assert len(data.samples) == 25
    assert [(f.path, f.reason) for f in data.report.left_out] == [
        ("train/a/0000.png", "labelled a and b"),
        ("train/a/exact.png", "exact copy of test/a/0200.png in test"),
        ("train/b/near.jpg", "near copy of test/b/0207.png in test"),
        ("train/b/other label.png", "labelled a and b"),
    ]
    assert [(k.path, k.dropped) for k in data.report.leaks] == [
        ("train/a/exact.png", True),
        ("train/b/near.jpg", True),
        ("val/a/near.jpg", False),
    ]
    assert "val/a/near.jpg (val) = test/a/0201.png (test): kept" in data.report.as_text()


def test_a_class_that_leaks_altogether_cannot_be_dropped(split_classes: Write) -> None:
    root = split_classes()
    shutil.rmtree(root / "train/a")
    shutil.copytree(root / "test/a", root / "train/a")
    assert len(load_dataset(root).report.leaks) == 4
    with pytest.raises(DataError, match="split 'train': no photo left of class 'a'"):
        load_dataset(root, near_duplicates="drop")


def test_near_copies_stay_together_also_when_only_val_is_made(photo: Write, split_classes: Write) -> None:
    root = split_classes("train test", size=6)
    for i in range(6):
        photo(f"photos/train/a/again {i}.jpg", i, quality=80)
    shutil.copy(root / "test/a/0100.png", root / "train/a/leak.png")
    for seed in range(5):
        data = load_dataset(root, seed=seed)
        where = placed(data)
        assert all(where[f"{i:04}.png"] == where[f"again {i}.jpg"] for i in range(6))
        assert [(k.path, k.other_split) for k in data.report.leaks] == [("train/a/leak.png", "test")]


def test_a_leak_into_the_made_val_is_not_dropped_but_one_into_the_made_train_is(split_classes: Write) -> None:
    root = split_classes("train test", size=8)
    for path in sorted((root / "test/a").iterdir()):
        shutil.copy(path, root / "train/a" / path.name)
    kept = load_dataset(root)
    dropped = load_dataset(root, near_duplicates="drop")
    leaks = {k.path: k.split for k in kept.report.leaks}
    assert set(leaks.values()) == {"train", "val"}
    assert {f.path for f in dropped.report.left_out} == {path for path, split in leaks.items() if split == "train"}
