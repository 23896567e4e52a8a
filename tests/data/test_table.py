"""CSV files: what is read, and that every mistake is told at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetransfer.data.table import list_table
from edgetransfer.errors import DataError

HEAD = "path,label,split\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("1.jpg", "2.jpg", "3.jpg", "with, comma.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, content: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(folder: Path, content: str | bytes) -> list[tuple[str, str, str | None]]:
    return [(entry.name, entry.label, entry.split) for entry in list_table(table(folder, content)).entries]


def problems(folder: Path, content: str | bytes) -> tuple[str, ...]:
    with pytest.raises(DataError) as caught:
        list_table(table(folder, content))
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.problems


def test_paths_are_relative_to_the_files_folder_and_columns_come_in_any_order(folder: Path) -> None:
    want = [("1.jpg", "a", "train"), ("2.jpg", "b", "val")]
    assert rows(folder, HEAD + "1.jpg,a,train\n2.jpg,b,val\n") == want
    assert rows(folder, "Split, LABEL ,path\ntraining,a,1.jpg\nVALID,b,2.jpg") == want
    assert list_table(folder / "labels.csv").entries[0].path == folder / "1.jpg"


def test_without_splits_the_split_is_none(folder: Path) -> None:
    want = [("1.jpg", "a", None), ("2.jpg", "b", None)]
    assert rows(folder, "path,label\n1.jpg,a\n2.jpg,b\n") == want
    assert rows(folder, HEAD + "1.jpg,a,\n2.jpg,b,\n") == want


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_blank_lines_and_any_line_ending_are_fine(bom: bytes, ending: str, folder: Path) -> None:
    content = ending.join(["path,label", "1.jpg,стекло", "", " , ", "2.jpg,普通"])
    assert rows(folder, bom + content.encode()) == [("1.jpg", "стекло", None), ("2.jpg", "普通", None)]


def test_quoted_commas_are_part_of_labels_and_paths(folder: Path) -> None:
    assert rows(folder, 'path,label\n1.jpg,"glass, clear"\n"with, comma.jpg","say ""cheese"""\n') == [
        ("1.jpg", "glass, clear", None),
        ("with, comma.jpg", 'say "cheese"', None),
    ]


def test_an_unquoted_comma_in_a_label_names_the_line(folder: Path) -> None:
    assert problems(folder, "path,label\n1.jpg,a\n2.jpg,glass, clear\n") == (
        "line 3: expected 2 fields, got 3; a label or path with a comma must be quoted",
    )


def test_every_problem_is_told_at_once(folder: Path) -> None:
    content = HEAD + (
        "1.jpg,a,train\n"
        "missing.jpg,a,train\n"
        "2.jpg,,val\n"
        "3.jpg,b,dev\n"
        "./1.jpg,b,train\n"
        "2.jpg\n"
        ",a,train\n"
        "sub\\1.jpg,a,train\n"
        "1.jpg,a,test\n"
        "3.jpg,a,\n"
    )
    assert problems(folder, content) == (
        "line 3: no such file: missing.jpg",
        "line 4: empty label",
        "line 5: unknown split 'dev', expected train, val or test",
        "line 6: ./1.jpg is 'b' here and 'a' in line 2",
        "line 7: expected 3 fields, got 1",
        "line 8: empty path",
        "line 9: no such file: sub\\1.jpg; write paths with /",
        "line 10: 1.jpg is in test here and in train in line 2",
        "line 11: empty split, while other lines have one",
    )


def test_one_row_can_have_several_problems(folder: Path) -> None:
    assert len(problems(folder, HEAD + "missing.jpg,,dev\n")) == 3


def test_a_row_that_repeats_another_is_ignored_and_listed(folder: Path) -> None:
    listing = list_table(table(folder, "path,label\n1.jpg,a\n2.jpg,b\n1.jpg,a\n"))
    assert len(listing.entries) == 2
    assert [(f.path, f.reason) for f in listing.ignored] == [("1.jpg", "line 4 repeats line 2")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: expected the columns path,label or path,label,split, got ''"),
        ("1.jpg,a\n2.jpg,b\n", "line 1: expected the columns path,label or path,label,split, got '1.jpg,a'"),
        ("path;label\n1.jpg;a\n", "got 'path;label'"),
        ("path,label,split,width\n", "got 'path,label,split,width'"),
        ("path,path,label\n", "got 'path,path,label'"),
        ("path,label\n", "lists no photo"),
        ('path,label\n1.jpg,"a\n', "line 2: not CSV"),
        (b"path,label\n1.jpg,gl\xe4s\n", "line 2: expected UTF-8, got the byte 0xe4"),
        ("path,label\n".encode("utf-16"), "expected UTF-8, got UTF-16"),
        ("path,label\n1.jpg," + "a" * 200_000, "line 2: not CSV: field larger"),
    ],
)
def test_files_that_are_no_such_table_are_refused(content: str | bytes, message: str, folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_table(table(folder, content))
    assert message in str(caught.value)


def test_paths_that_no_file_system_takes_are_missing_files(folder: Path) -> None:
    assert problems(folder, "path,label\n" + "x" * 5000 + ",a\n")[0].startswith("line 2: no such file: xxx")
    with pytest.raises(DataError):
        list_table(table(folder, "path,label\n1\x00.jpg,a\n"))
