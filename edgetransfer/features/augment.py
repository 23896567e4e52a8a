"""Further views of a training image: the same thing seen otherwise.

A view is a function of the image's content, the seed and the view's number, so it can be cached and repeated.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from edgetransfer.runtime.image import prepare
from edgetransfer.spec.preprocess import ImageInput

LEAST_AREA = 0.5  # of the image that a crop keeps
COLOUR = 0.25  # brightness, contrast and saturation change by at most this factor
ERASE_CHANCE = 0.25  # of the views have a rectangle painted over (random erasing, Zhong et al. 2017)
ERASE_AREA = (0.02, 0.2)  # of the image, as in that paper's lower half


def augmented(image: NDArray[np.uint8], spec: ImageInput, *, sha256: str, seed: int, view: int) -> NDArray[np.uint8]:
    """Return view number `view` (1, 2, ...) of `image` as the model takes it, (H, W, channels) uint8.

    Brightness and contrast change in all channels alike, saturation in the colours of a photo that has some.

    Args:
        image: (H, W, channels) uint8 as read.
        spec: The model's input; the view is prepared as every image is, after the crop.
        sha256: Of the image file, so that a view does not depend on the file's name or place in a list.
        seed: The build's seed.
        view: Which view.
    """
    digest = hashlib.sha256(f"{sha256}:{seed}:{view}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    view_of = prepare(_crop(image, rng), spec)
    if rng.random() < 0.5:
        view_of = view_of[:, ::-1]
    view_of = _recolour(view_of, rng)
    if rng.random() < ERASE_CHANCE:
        view_of = _erase(view_of, rng)
    return np.ascontiguousarray(view_of)


def _crop(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    area, aspect = rng.uniform(LEAST_AREA, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    rows = min(height, max(1, round(height * np.sqrt(area / aspect))))
    columns = min(width, max(1, round(width * np.sqrt(area * aspect))))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def _recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    brightness, contrast, saturation = rng.uniform(1 - COLOUR, 1 + COLOUR, 3)
    real = image.astype(np.float32) * brightness
    real = (real - real.mean()) * contrast + real.mean()
    colours = real[:, :, :3]  # a fourth channel is no colour
    grey = colours.mean(axis=2, keepdims=True)
    real[:, :, :3] = grey + (colours - grey) * saturation
    out: NDArray[np.uint8] = np.clip(np.rint(real), 0, 255).astype(np.uint8)
    return out


def _erase(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    side = np.sqrt(rng.uniform(*ERASE_AREA))
    rows, columns = max(1, int(height * side)), max(1, int(width * side))
    top, left = int(rng.integers(0, height - rows + 1)), int(rng.integers(0, width - columns + 1))
    out = image.copy()
    out[top : top + rows, left : left + columns] = rng.integers(0, 256, (1, 1, image.shape[2]), dtype=np.uint8)
    return out
