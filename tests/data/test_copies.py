"""Near copies are found, look-alikes are not."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data as photographs

from edgetransfer.data import copies
from edgetransfer.data.copies import find_leaks, group_copies
from edgetransfer.data.scan import Scanned, scan
from edgetransfer.runtime.files import read_thumbnail


def grey_of(image: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return read_thumbnail(buffer.getvalue(), 16).grey


def random_grey(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16), np.uint8)


def names(count: int) -> list[str]:
    return [f"{i:04}" for i in range(count)]


CHANGES: dict[str, Callable[[Image.Image], np.ndarray]] = {
    "JPEG 75": lambda image: grey_of(image, "JPEG", quality=75),
    "JPEG 30": lambda image: grey_of(image, "JPEG", quality=30),
    "WebP": lambda image: grey_of(image, "WEBP", quality=60),
    "half the size": lambda image: grey_of(image.resize((image.width // 2, image.height // 2))),
    "a third of the size": lambda image: grey_of(image.resize((image.width // 3, image.height // 3)), "JPEG"),
    "twice the size": lambda image: grey_of(image.resize((image.width * 2, image.height * 2)), "JPEG"),
    "grey": lambda image: grey_of(image.convert("L")),
    "4 % brighter": lambda image: grey_of(ImageEnhance.Brightness(image).enhance(1.04)),
    "5 % more contrast": lambda image: grey_of(ImageEnhance.Contrast(image).enhance(1.05)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_photo_saved_another_way_is_a_near_copy(name: str, change: str) -> None:
    image = Image.fromarray(getattr(photographs, name)())
    grey = np.stack([grey_of(image), *random_grey(3), CHANGES[change](image)])
    assert group_copies(names(5), grey).tolist().count(0) == 2
    assert find_leaks(names(5), grey, ["train"] * 4 + ["test"]) == [(0, 4, "near")]


def test_a_mirrored_a_cropped_and_a_different_photo_are_not_near_copies() -> None:
    image = Image.fromarray(photographs.coffee())
    others = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.crop((60, 40, 560, 380))]
    others += [Image.fromarray(photographs.chelsea()), Image.fromarray(photographs.rocket())]
    grey = np.stack([grey_of(other) for other in (image, *others)])
    assert len(set(group_copies(names(5), grey).tolist())) == 5


def test_a_small_thing_in_the_same_scene_is_not_a_copy() -> None:
    scene = Image.fromarray(photographs.coffee())
    with_thing = scene.copy()
    with_thing.paste((0, 0, 0), (400, 20, 460, 70))
    grey = np.stack([grey_of(scene), grey_of(with_thing)])
    assert len(set(group_copies(names(2), grey).tolist())) == 2


@pytest.mark.parametrize(("cells", "step", "near"), [(1, 10, True), (1, 14, False), (256, 2, True), (256, 3, False)])
def test_the_limits_are_where_they_are_said_to_be(cells: int, step: int, near: bool) -> None:
    one = np.clip(random_grey(1), 20, 235)
    other = one.astype(int)
    signs = np.random.default_rng(1).permutation(np.resize([-1, 1], 256))  # no change of brightness in all
    other.reshape(-1)[:cells] += step * signs[:cells]
    grey = np.concatenate([one, other.astype(np.uint8)])
    assert len(set(group_copies(names(2), grey).tolist())) == (1 if near else 2)


def test_blank_pictures_are_copies_only_if_their_bytes_are() -> None:
    grey = np.zeros((4, 16, 16), np.uint8)
    grey[2:] = 255
    assert len(set(group_copies(names(4), grey).tolist())) == 4
    assert group_copies(["x", "y", "x", "z"], grey).tolist() == [0, 1, 0, 3]


def test_a_copy_of_a_copy_is_in_the_group() -> None:
    grey = random_grey(1).repeat(4, axis=0)
    grey[1:, 0] = np.clip(grey[1:, 0].astype(int) + 8, 0, 255)
    grey[2:, 5] = np.clip(grey[2:, 5].astype(int) + 8, 0, 255)
    grey[3] = 255 - grey[0]
    assert group_copies(names(4), grey).tolist()[3] == 3
    assert len(set(group_copies(names(3), grey[:3]).tolist())) == 1


def test_the_quick_search_finds_what_comparing_all_pairs_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    base = random_grey(40).repeat(3, axis=0).astype(int)
    noisy = np.clip(base + rng.normal(0, rng.choice([0.5, 2, 3, 4], (120, 1, 1)), base.shape), 0, 255).astype(np.uint8)
    cells = noisy.reshape(120, 256).astype(float)
    want = {(i, j) for i in range(120) for j in range(i + 1, 120) if copies._are_near(cells[i], cells[j : j + 1])[0]}
    assert 20 < len(want) < 120  # some of the 120 pairs, not all
    monkeypatch.setattr(copies, "_BLOCK_PAIRS", 1000)  # several blocks
    got = {(i, j) for i, found in copies._near(noisy, lambda _, others: others) for j in found.tolist()}
    assert got == want


def test_a_leak_is_listed_once_for_each_later_split() -> None:
    same = random_grey(1).repeat(5, axis=0)
    splits = ["train", "val", "test", "test", "train"]
    found = find_leaks(names(5), same, splits)
    assert {(i, splits[j]) for i, j, _ in found} == {(0, "test"), (0, "val"), (1, "test"), (4, "test"), (4, "val")}
    assert len(found) == 5


def test_exact_copies_are_called_exact_and_within_a_split_nothing_leaks() -> None:
    grey = random_grey(4)
    assert find_leaks(["a", "b", "a", "b"], grey, ["train", "val", "test", "val"]) == [(0, 2, "exact")]
    assert find_leaks(["a", "a"], grey[:2], ["train", "train"]) == []


def test_a_series_of_equal_frames_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    plain = copies._are_near
    monkeypatch.setattr(copies, "_are_near", lambda one, others: compared.append(len(others)) or plain(one, others))
    grey = random_grey(1).repeat(400, axis=0)
    assert set(group_copies(names(400), grey).tolist()) == {0}
    assert sum(compared) < 500  # of 79,800 pairs
    compared.clear()
    assert len(find_leaks(names(400), grey, ["train"] * 300 + ["test"] * 100)) == 300
    assert sum(compared) < 1000  # of 30,000


def test_among_2527_photos_on_one_table_only_the_three_true_copies_are_found(shared: Path) -> None:
    root = shared / "data/datasets/trashnet-256"
    with (root / "splits.csv").open(newline="") as file:
        paths = [root / row["path"] for row in csv.DictReader(file)]
    found = [result for result in scan(paths) if isinstance(result, Scanned)]
    assert len(found) == 2527
    # Names instead of hashes: the thumbnails alone must do it.
    groups = group_copies(names(2527), np.stack([f.grey for f in found]))
    _, sizes = np.unique(groups, return_counts=True)
    assert sorted(sizes.tolist())[-4:] == [1, 2, 2, 2]
    pairs = [{paths[i].stem for i in np.flatnonzero(groups == g)} for g in np.unique(groups) if (groups == g).sum() > 1]
    assert {"glass176", "plastic152"} in pairs
