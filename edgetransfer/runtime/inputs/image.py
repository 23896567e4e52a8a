"""Images: files are decoded and turned upright, pixels resized with integers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.runtime.image import prepare
from edgetransfer.spec.preprocess import ImageInput


def open_reader(spec: ImageInput, files: Callable[[str], bytes]) -> ImageReader:
    """Return the reader for images; it needs no file of the bundle."""
    return ImageReader(spec)


class ImageReader:
    """See `InputReader`; one image is one window."""

    def __init__(self, spec: ImageInput) -> None:
        self._spec = spec

    def read(self, source: Any) -> NDArray[Any]:
        """Return (H, W, 3) uint8 RGB of an array, a path, a file's content or a PIL image.

        Raises:
            InputError: a file that is no image.
        """
        if isinstance(source, np.ndarray):
            return source
        from edgetransfer.runtime.files import read_image  # here, for arrays need no Pillow

        return read_image(Path(source) if isinstance(source, os.PathLike) else source)

    def prepare(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return (1, height_px, width_px, 3) uint8 RGB.

        Raises:
            InputError: no (H, W, 3) uint8.
        """
        return prepare(raw, self._spec)[None]
