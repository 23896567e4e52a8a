"""Folders: a class each, splits, hidden files, odd names."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetransfer.data.sources import clean_label, list_folder, shown
from edgetransfer.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(root: Path) -> list[tuple[str, str, str | None]]:
    return [(entry.name, entry.label, entry.split) for entry in list_folder(root).entries]


def test_each_folder_is_a_class_and_folders_in_it_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "a/1.jpg", "a/monday/3.png")
    assert listed(tmp_path) == [
        ("a/1.jpg", "a", None),
        ("a/monday/3.png", "a", None),
        ("b/2.JPG", "b", None),
    ]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("Training", "validation", "TESTING"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("train",), {"train"}),
        (("test",), {"test"}),
    ],
)
def test_split_folders_are_known_by_their_usual_names(names: tuple[str, ...], splits: set[str], tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{label}/1.jpg" for name in names for label in "ab"))
    got = listed(tmp_path)
    assert {split for _, _, split in got} == splits
    assert {label for _, label, _ in got} == {"a", "b"}


def test_a_class_of_trains_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "bus/2.jpg")
    assert listed(tmp_path) == [("bus/2.jpg", "bus", None), ("train/1.jpg", "train", None)]


def test_splits_beside_classes_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "b/2.jpg")
    with pytest.raises(DataError, match="the split 'train' beside 'b'"):
        list_folder(tmp_path)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    with pytest.raises(DataError, match="folders 'val' and 'valid' are both the split 'val'"):
        list_folder(tmp_path)


def test_hidden_files_are_skipped_and_files_that_are_no_photos_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/.2.jpg", "a/Thumbs.db", "a/notes.txt", "a/.cache/3.jpg", "a/README", "b/4.gif")
    touch(tmp_path, ".git/config", "__MACOSX/a/5.jpg", "stray.jpg", ".DS_Store")
    listing = list_folder(tmp_path)
    assert [entry.name for entry in listing.entries] == ["a/1.jpg", "b/4.gif"]
    assert {finding.path: finding.reason for finding in listing.ignored} == {
        "a/README": "not a photo by its name (no suffix)",
        "a/Thumbs.db": "not a photo by its name (.db)",
        "a/notes.txt": "not a photo by its name (.txt)",
        "stray.jpg": "not in a class folder",
    }


def test_linked_photos_and_class_folders_are_followed_but_no_circle_of_links(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/1.jpg")
    elsewhere = touch(tmp_path / "elsewhere", "2.jpg")
    (root / "b").symlink_to(elsewhere)
    (root / "a" / "linked.jpg").symlink_to(elsewhere / "2.jpg")
    (root / "a" / "circle").symlink_to(root)
    assert [name for name, _, _ in listed(root)] == ["a/1.jpg", "a/linked.jpg", "b/2.jpg"]


def test_a_class_folder_without_a_photo_is_refused_with_all_others(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/readme.txt")
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError) as caught:
        list_folder(tmp_path)
    assert caught.value.problems == (
        "class folder 'b': holds no photo; fill it or take it away",
        "class folder 'c': holds no photo; fill it or take it away",
    )
    assert "2 problems: class folder 'b'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_loose_photos_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(DataError, match="expected a folder for each class, got none"):
        list_folder(tmp_path)
    touch(tmp_path, "labels.csv")
    with pytest.raises(DataError, match=r"if labels\.csv lists the photos, give that file"):
        list_folder(tmp_path)


LABELS = ["普通垃圾", "стекло", "ガラス", "زجاج", "काँच", "Ünïcode", "🍌", "A b-c_d.e,f"]


def test_labels_may_be_in_any_script(tmp_path: Path, classes: Callable[..., Path]) -> None:
    root = classes(**dict.fromkeys(LABELS, 1))
    assert sorted(entry.label for entry in list_folder(root).entries) == sorted(
        unicodedata.normalize("NFC", label) for label in LABELS
    )


def test_the_same_label_in_two_normal_forms_is_one_class(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFC", "é") + "/1.jpg", unicodedata.normalize("NFD", "é") + "/2.jpg")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system has one normal form only")
    assert {label for _, label, _ in listed(tmp_path)} == {"\u00e9"}


def test_case_makes_another_class(tmp_path: Path) -> None:
    assert clean_label("Glass") != clean_label("glass")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\u2028b", "a\x00b", "a\udcffb"])
def test_labels_that_would_break_a_line_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        clean_label(name)


@pytest.mark.parametrize("name", ["", "  ", "\u00a0"])
def test_empty_labels_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="empty label"):
        clean_label(name)


def test_names_that_are_not_utf8_are_shown_and_refused_as_labels(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/a\xff"
    try:
        os.mkdir(raw)  # noqa: PTH102
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    touch(tmp_path, "b/1.jpg")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        list_folder(tmp_path)
    str(caught.value).encode()
    assert shown("a\udcff") == "a\ufffd"
