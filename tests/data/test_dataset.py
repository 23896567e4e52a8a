"""From a folder or CSV to a data set: the whole way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgetransfer.data import DataReport, Dataset, Sample, load_dataset
from edgetransfer.errors import DataError, UnknownNameError

Write = Callable[..., Path]


def placed(data: Dataset) -> dict[str, str]:
    return {sample.path.name: sample.split for sample in data.samples}


def test_a_folder_per_class_becomes_a_split_data_set(classes: Write) -> None:
    data = load_dataset(classes(cat=20, Ant=10))
    assert data.labels == ("Ant", "cat")  # by code point
    assert data.made_splits
    assert data.report.splits_made == ("train", "val", "test")
    assert data.class_counts("train") == {"Ant": 7, "cat": 14}
    assert data.class_counts("val") == {"Ant": 2, "cat": 3}
    assert data.class_counts("test") == {"Ant": 1, "cat": 3}
    assert sum(len(data.split(name)) for name in ("train", "val", "test")) == len(data.samples) == 30
    sample = data.split("test")[0]
    assert isinstance(sample, Sample)
    assert isinstance(data.report, DataReport)
    assert sample.path.is_file()
    assert (sample.label, sample.split, sample.width_px, sample.height_px) == ("Ant", "test", 48, 40)


def test_an_unknown_split_is_refused_and_an_absent_one_is_empty(split_classes: Write) -> None:
    data = load_dataset(split_classes("train val"))
    assert data.split("test") == ()
    assert data.class_counts("test") == {"a": 0, "b": 0}
    with pytest.raises(UnknownNameError, match="did you mean 'val'"):
        data.split("vall")


def test_places_and_file_names_do_not_matter(classes: Write, tmp_path: Path) -> None:
    root = classes(a=8, b=8)
    first = load_dataset(root)
    moved = tmp_path / "elsewhere"
    for i, path in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        target = moved / path.parent.name / f"renamed {i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    second = load_dataset(moved)
    assert first.fingerprint == second.fingerprint
    assert [(s.sha256, s.label, s.split) for s in first.samples] == [
        (s.sha256, s.label, s.split) for s in second.samples
    ]


def test_the_fingerprint_tells_contents_labels_and_splits_apart(classes: Write, photo: Write) -> None:
    root = classes(a=8, b=8)
    first = load_dataset(root)
    prints = {first.fingerprint, load_dataset(root, seed=1).fingerprint}
    (root / "b").rename(root / "c")
    prints.add(load_dataset(root).fingerprint)
    photo("photos/a/0000.png", 999)
    prints.add(load_dataset(root).fingerprint)
    assert len(prints) == 4


def test_adding_files_moves_few(classes: Write) -> None:
    before = placed(load_dataset(classes(a=60, b=60)))
    after = placed(load_dataset(classes("", 1000, a=6, b=6)))
    moved = [name for name, split in before.items() if after[name] != split]
    assert len(after) == 132
    assert len(moved) <= 6
    assert all("val" in (before[name], after[name]) for name in moved)


def test_split_folders_are_taken_as_given(split_classes: Write) -> None:
    data = load_dataset(split_classes())
    assert not data.made_splits
    assert all(sample.path.parts[-3] == sample.split for sample in data.samples)
    assert data.report.counts == {name: {"a": 4, "b": 4} for name in ("train", "val", "test")}


def test_val_is_taken_from_train_if_only_test_is_given(split_classes: Write) -> None:
    data = load_dataset(split_classes("train test", size=10))
    assert data.report.splits_made == ("val",)
    assert data.class_counts("train") == {"a": 8, "b": 8}
    assert data.class_counts("val") == {"a": 2, "b": 2}
    assert {sample.path.parts[-3] for sample in data.split("test")} == {"test"}
    assert data.report.notes == ("val not given: taken from train.",)


def test_val_and_test_are_taken_from_train_if_nothing_else_is_given(split_classes: Write) -> None:
    data = load_dataset(split_classes("train", size=10))
    assert data.report.splits_made == ("val", "test")
    assert all(data.class_counts(name)["a"] for name in ("train", "val", "test"))


def test_train_and_val_need_no_test_but_the_report_says_so(split_classes: Write) -> None:
    root = split_classes("train val")
    data = load_dataset(root)
    assert not data.made_splits
    assert "No test split" in data.report.notes[0]
    shutil.rmtree(root / "val")
    made = load_dataset(root, fractions=(0.5, 0.5, 0))
    assert made.split("test") == ()
    assert made.class_counts("val") == {"a": 2, "b": 2}


def test_without_training_any_given_split_will_do(split_classes: Write) -> None:
    root = split_classes("test")
    with pytest.raises(DataError, match="expected a train split, got only test"):
        load_dataset(root)
    shutil.rmtree(root / "test" / "b")
    data = load_dataset(root, for_training=False)
    assert len(data.split("test")) == len(data.samples) == 4
    assert not data.made_splits


def test_a_csv_with_splits_in_any_script(photo: Write, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for i in range(12):
        photo(f"images/{i}.png", i)
        lines.append(f'images/{i}.png,"{("стекло, белое", "普通")[i % 2]}",{("train", "val", "test")[i % 3]}')
    (tmp_path / "data.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    data = load_dataset(str(tmp_path / "data.csv"))
    assert data.labels == ("стекло, белое", "普通")
    assert data.class_counts("val") == {"стекло, белое": 2, "普通": 2}
    json.dumps(data.report.to_json()).encode()


# --- what cannot be used ---------------------------------------------------------------------------------------


def test_no_such_folder_suggests_a_neighbour(classes: Write, tmp_path: Path) -> None:
    classes(a=3, b=3)
    with pytest.raises(DataError, match=r"photo: no such folder or CSV file; did you mean '.*photos'\?"):
        load_dataset(tmp_path / "photo")
    with pytest.raises(DataError, match=r"no such folder or CSV file$"):
        load_dataset(tmp_path / "no" / "where")


def test_a_file_that_is_no_csv_is_refused(photo: Write) -> None:
    with pytest.raises(DataError, match=r"expected a folder or a \.csv file"):
        load_dataset(photo("one.jpg", 1))


def test_one_class_is_refused(classes: Write) -> None:
    root = classes(a=5)
    with pytest.raises(DataError, match=r"expected at least 2 classes, got 1: 'a'$"):
        load_dataset(root)
    (root / "list.csv").touch()
    with pytest.raises(DataError, match=r"got 1: 'a'; if list\.csv lists the photos, give that file"):
        load_dataset(root)


def test_a_class_with_one_image_is_refused_with_all_others_before_anything_is_read(classes: Write) -> None:
    def fail(done: int, total: int) -> None:
        pytest.fail("read a file")

    with pytest.raises(DataError) as caught:
        load_dataset(classes(a=5, b=1, c=2), progress=fail)
    assert caught.value.problems == (
        "class 'b': expected at least 3 photos, for train and val and test, got 1",
        "class 'c': expected at least 3 photos, for train and val and test, got 2",
    )


def test_a_split_with_a_class_missing_is_refused(split_classes: Write) -> None:
    root = split_classes()
    shutil.rmtree(root / "val" / "b")
    shutil.rmtree(root / "test" / "a")
    with pytest.raises(DataError) as caught:
        load_dataset(root)
    assert caught.value.problems == ("split 'val': no photo of class 'b'", "split 'test': no photo of class 'a'")


def test_a_class_of_unreadable_files_is_refused_after_reading(classes: Write) -> None:
    root = classes(a=5, b=5)
    for path in sorted((root / "b").iterdir())[:3]:
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match="class 'b': expected at least 3 usable photos, for train and val and test, got 2"
    ):
        load_dataset(root)


def test_a_class_of_copies_is_refused(classes: Write, photo: Write) -> None:
    root = classes(a=5)
    for quality in (90, 80, 70, 60):
        photo(f"photos/b/{quality}.jpg", 50, quality=quality)
    with pytest.raises(
        DataError, match="class 'b': expected at least 3 photos that are no copies of one another"
    ) as caught:
        load_dataset(root)
    assert str(caught.value).startswith(str(root))


def test_odd_arguments_are_refused(split_classes: Write) -> None:
    root = split_classes()
    with pytest.raises(DataError, match=r"near_duplicates: expected one of \('report', 'drop'\), got 'keep'"):
        load_dataset(root, near_duplicates="keep")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="fractions"):
        load_dataset(root, fractions=(1, 1, 1))


def test_progress_reaches_the_number_of_files(classes: Write) -> None:
    calls: list[tuple[int, int]] = []
    load_dataset(classes(a=4, b=4), progress=lambda done, total: calls.append((done, total)), workers=1)
    assert calls == [(i, 8) for i in range(1, 9)]


def test_an_official_split_of_real_photos_is_kept_with_its_flaws_reported(shared: Path) -> None:
    data = load_dataset(shared / "data/datasets/trashnet-256/splits.csv")
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [1768, 328, 431]
    assert data.labels == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    assert not data.made_splits
    assert [(k.kind, Path(k.path).stem, Path(k.other_path).stem, k.same_label) for k in data.report.leaks] == [
        ("exact", "glass176", "plastic152", False),
        ("exact", "glass389", "plastic332", False),
    ]
    assert len(data.report.conflicts) == len(data.report.copies) == 3


def test_the_same_photos_without_splits_are_split_alike_in_every_class(shared: Path) -> None:
    data = load_dataset(shared / "data/datasets/trashnet-256/images")
    assert len(data.samples) == 2521  # 2527 less three photos under two labels each
    for label in data.labels:
        counts = [data.class_counts(name)[label] for name in ("train", "val", "test")]
        for got, share in zip(counts, (0.7, 0.15, 0.15), strict=True):
            assert abs(got - share * sum(counts)) <= 1


def test_given_splits_of_which_no_photo_can_be_read_have_no_samples_and_a_reason_for_each(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "test" / label).mkdir(parents=True)
        (tmp_path / "test" / label / "1.jpg").write_bytes(b"\xff\xd8\xff truncated " + label.encode())
    dataset = load_dataset(tmp_path, for_training=False)
    assert dataset.samples == ()
    assert len(dataset.report.left_out) == 2
