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
        """Return (H, W, channels) uint8 of a path, a file's content or a PIL image; an array as it is.

        Files are read as `read_image` says, in colour or grey as the model wants; arrays are never converted.

        Raises:
            InputError: a file that is no image, or has no fourth channel where the model wants one.
        """
        if isinstance(source, np.ndarray):
            return source
        from edgetransfer.runtime.files import read_image  # here, for arrays need no Pillow

        source = Path(source) if isinstance(source, os.PathLike) else source
        return read_image(source, channels=self._spec.channels)

    def prepare(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return (1, height_px, width_px, channels) uint8.

        Raises:
            InputError: another dtype, shape or number of channels.
        """
        return prepare(raw, self._spec)[None]
