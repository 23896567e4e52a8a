"""Writes small folders of real photographs for tests: patches of the pictures that come with scikit-image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SUBJECTS = ("cat", "coffee", "rocket")


def write_photos(folder: Path, *, each: int = 20, size_px: tuple[int, int] = (48, 40), seed: int = 0) -> Path:
    """Write `each` patches of three photographs as PNG, a folder a subject; return `folder`."""
    from skimage import data

    rng = np.random.default_rng(seed)
    for subject, photo in zip(SUBJECTS, (data.chelsea(), data.coffee(), data.rocket()), strict=True):
        (folder / subject).mkdir(parents=True, exist_ok=True)
        height, width = size_px
        for number in range(each):
            top = int(rng.integers(0, photo.shape[0] - 2 * height))
            left = int(rng.integers(0, photo.shape[1] - 2 * width))
            patch = photo[top : top + 2 * height : 2, left : left + 2 * width : 2]
            Image.fromarray(patch).save(folder / subject / f"{number:03}.png")
    return folder
