"""Small photos, every one different, written by the tests themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Photo = Callable[..., Path]


def pixels(seed: int, *, width: int = 48, height: int = 40) -> Image.Image:
    """A photo-like picture: coarse random patches, so that no two seeds are near copies."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    """Writes photo number `seed` at a path below the test's folder; the suffix gives the format."""

    def write(name: str, seed: int, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels(seed).save(path, **options)
        return path

    return write


@pytest.fixture
def classes(photo: Photo, tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder per class, below `under`, with photos numbered from `first` on; returns the root."""

    def write(under: str = "", first: int = 0, **sizes: int) -> Path:
        seed = first
        for label, size in sizes.items():
            for _ in range(size):
                photo(f"photos/{under}/{label}/{seed:04}.png", seed)
                seed += 1
        return tmp_path / "photos"

    return write


@pytest.fixture
def split_classes(classes: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the classes a and b, of `size` photos each, into split folders; returns the root."""

    def write(splits: str = "train val test", size: int = 4) -> Path:
        return [classes(split, first=100 * i, a=size, b=size) for i, split in enumerate(splits.split())][-1]

    return write


@pytest.fixture
def leaky(split_classes: Callable[..., Path], photo: Photo) -> Path:
    """Given splits with an exact and two near leaks, a photo with two labels, and one that is there twice."""
    root = split_classes()
    shutil.copy(root / "test/a/0200.png", root / "train/a/exact.png")
    photo("photos/train/b/near.jpg", 207, quality=80)  # number 207 is test/b/0207.png
    shutil.copy(root / "train/a/0000.png", root / "train/b/other label.png")
    shutil.copy(root / "train/a/0001.png", root / "train/a/twice.png")
    photo("photos/val/a/near.jpg", 201, quality=80)
    return root
