"""Reads photos from files, bytes and PIL images into plain arrays of 1, 3 or 4 channels; the only user of Pillow.

JPEG, PNG, WebP, BMP and TIFF are read. Everything that can be wrong with a file ends in an InputError with
one clear line: Pillow's own settings and limits are neither changed nor relied upon.
"""

from __future__ import annotations

import importlib
import io
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

MAX_PIXELS = 100_000_000  # no camera of 2026 makes more in one photo; 300 MB as RGB
MAX_FILE_BYTES = 1 << 30  # a bitmap of MAX_PIXELS with 16 bits for each of four channels fits

_PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "WebP": "WebP", "BMP": "Bmp", "TIFF": "Tiff"}
_READ = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
)
_REFUSED = (
    (0, b"GIF8", "GIF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"jP  ", "JPEG 2000"),
    (4, b"JXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
)
_ORIENTATION_TAG = 0x0112  # EXIF 2.32, 4.6.4
_SHORT = 3  # EXIF's type of an unsigned 16-bit number
_EXTRA_SAMPLES_TAG = 338  # TIFF 6.0, section 18: what a channel beside the colours is
_UNSPECIFIED, _PREMULTIPLIED = 0, 1


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small grey version of a photo, `grey` (side, side) uint8, and the photo's own size as it is looked at."""

    grey: NDArray[np.uint8]
    width_px: int
    height_px: int


def read_image(
    source: str | Path | bytes | Image.Image, *, channels: int = 3, draft_px: int | None = None
) -> NDArray[np.uint8]:
    """Return a photo as (H, W, channels) uint8, upright.

    The EXIF orientation is applied; of 16 bits the high byte is taken; colour profiles are ignored.

    * 3, RGB: grey, palette and CMYK images become RGB; transparent pixels are laid on white.
    * 1, grey: the same, then luminance as Pillow's "L" computes it (ITU-R BT.601). Grey stays as it is.
    * 4, RGB and what the camera gives beside it: a PNG or TIFF of four channels, each as it stands in the file. The
      fourth is not taken for transparency, and never made up.

    Args:
        source: a file's path, its bytes, or an open PIL image.
        channels: 1, 3 or 4.
        draft_px: lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, which is faster, as long as both
            sides keep at least this many pixels.

    Raises:
        InputError: no such file; empty, truncated or unreadable; more than MAX_PIXELS pixels; a GIF, another
            animation, or another format; four channels are wanted and not there; or Pillow is not installed. The
            message begins with the path.
    """
    name = str(source) if isinstance(source, str | Path) else "image"
    try:
        if isinstance(source, str | Path):
            source = read_file(Path(source))
        image = _open(source, draft_px) if isinstance(source, bytes) else _given(source)
        pixels = np.array(_upright(image, channels))
        return pixels[:, :, None] if channels == 1 else pixels
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def shown_pixels(path: str | Path, channels: int) -> NDArray[np.uint8]:
    """Return the photo as (H, W, 3) uint8 RGB for people, as a model of so many channels sees it: grey is grey.

    A fourth channel is left out.

    Raises:
        InputError: as in `read_image`.
    """
    pixels = read_image(path, channels=channels)
    return pixels[:, :, :3] if channels > 1 else np.repeat(pixels, 3, axis=2)


def read_thumbnail(content: bytes, side_px: int, *, channels: int = 3) -> Thumbnail:
    """Return the photo in `content` (a file's bytes), squashed to a grey square of `side_px`.

    The whole file is decoded, JPEGs at a fraction of their size, so that damage at its end is found too. `channels`
    are those that `read_image` will be asked for; a fourth is not in the thumbnail.

    Raises:
        InputError: as in `read_image`; the message does not name the file.
    """
    image = _open(content, None)
    size = image.size
    if image.format == "JPEG":
        # Four pixels for each of the thumbnail's, so that resizing has something to average.
        image.draft("RGB", (4 * side_px, 4 * side_px))
    drafted = image.size
    upright = _upright(image, channels)
    width, height = size if upright.size == drafted else size[::-1]
    small = upright.convert("L").resize((side_px, side_px), _pil("Image").Resampling.BILINEAR)
    return Thumbnail(np.array(small), width, height)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file of at most MAX_FILE_BYTES.

    Raises:
        InputError: there is none, it is a folder or a device, it is too large, or it may not be read.
    """
    try:
        if not path.is_file():
            raise InputError("no such file" if not path.exists() else "expected a file, got a folder or a device")
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise InputError(f"expected a photo of at most {MAX_FILE_BYTES:,} bytes, got {size_bytes:,}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not a path: {error}") from error


def _open(content: bytes, draft_px: int | None) -> Any:
    """Return the image with its header read and checked, nothing decoded yet."""
    name = _format_of(content)
    try:
        # The plugin's class, not Image.open: that checks sizes against a global setting and warns.
        image = _plugin(name)(io.BytesIO(content))
    except _pil("Image").DecompressionBombError as error:
        raise InputError(f"{_too_large('its header')} ({error})") from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise InputError(f"truncated or damaged {name}: {error or type(error).__name__}") from error
    _check_size(image.size)
    if name in ("PNG", "WebP") and getattr(image, "is_animated", False):
        raise InputError(f"an animated {name} is not a photo: convert one frame to JPEG or PNG")
    if name == "JPEG" and draft_px is not None:
        image.draft("RGB", (draft_px, draft_px))
    return image


def _given(image: Any) -> Any:
    """Return a PIL image that the caller opened, after checking that it is one."""
    if not isinstance(image, _pil("Image").Image):
        raise InputError(f"expected a path, bytes or a PIL image, got {type(image).__name__}")
    _check_size(image.size)
    return image


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < 1:
        raise InputError(f"expected at least 1 x 1 px, got {width} x {height}")
    if width * height > MAX_PIXELS:
        raise InputError(_too_large(f"{width:,} x {height:,}"))


def _too_large(got: str) -> str:
    return f"expected at most {MAX_PIXELS:,} pixels, got {got}: a decompression bomb, or no photo; make it smaller"


def _format_of(content: bytes) -> str:
    """Return the format by the file's first bytes; its name does not count."""
    if not content:
        raise InputError("empty file (0 bytes)")
    for at, magic, name in _READ:
        if content.startswith(magic, at) and (name != "WebP" or content.startswith(b"RIFF")):
            return name
    for at, magic, name in _REFUSED:
        if content.startswith(magic, at):
            if name == "GIF":
                raise InputError("GIF is not a photo format: convert to JPEG or PNG")
            raise InputError(f"{name} is not read here: convert to JPEG or PNG")
    raise InputError(f"expected JPEG, PNG, WebP, BMP or TIFF, got a file that begins with {content[:8]!r}")


def _upright(image: Any, channels: int) -> Any:
    """Return `image` decoded, with so many channels, turned as its EXIF orientation says."""
    try:
        image.load()
        pixels = _four(image) if channels == 4 else _flat(image, "L" if channels == 1 else "RGB")
        # Pillow turns a TIFF itself while loading it; before 10 it kept the tag all the same.
        turn = 1 if image.format == "TIFF" else _orientation(image.info.get("exif", b""))
        transpose = _turns().get(turn)
        return pixels if transpose is None else pixels.transpose(transpose)
    except InputError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise InputError(f"truncated or damaged {image.format or 'image'}: {error or type(error).__name__}") from error


def _flat(image: Any, mode: str) -> Any:
    """Return `image` as "RGB" or "L", on white where it is transparent."""
    module = _pil("Image")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # A PNG has at most 16 bits; older Pillow gives them as 32-bit integers.
        return module.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise InputError(f"expected 8 or 16 bits for each colour, got 32 (mode {image.mode}): convert to JPEG or PNG")
    if _has_transparency(image):
        white = module.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB").convert(mode)
    # By way of RGB, so that a CMYK photo is as grey as it would be in colour.
    return image.convert(mode) if image.mode == "L" else image.convert("RGB").convert(mode)


def _four(image: Any) -> Any:
    """Return `image` with four channels as they stand in the file, as "RGBA" or "RGBX".

    Raises:
        InputError: it has others.
    """
    expected = "expected 4 channels, RGB and a fourth, in a PNG or TIFF"
    extra = getattr(image, "tag_v2", {}).get(_EXTRA_SAMPLES_TAG)
    if image.mode == "RGBa" or (extra and extra[0] == _PREMULTIPLIED):
        raise InputError(
            f"{expected}, got colours that were multiplied by the fourth (ExtraSamples 1); write it as unspecified (0)"
        )
    if image.mode == "RGB" and extra == (_UNSPECIFIED,):
        # Pillow keeps four bytes a pixel and shows three; this is how to get the fourth.
        return _pil("Image").frombytes("RGBX", image.size, image.tobytes("raw", "RGBX"))
    if image.mode not in ("RGBA", "RGBX") or (extra and len(extra) > 1):
        if extra and len(extra) > 1:
            raise InputError(f"{expected}, got {3 + len(extra)}")
        got = "inks (CMYK)" if image.mode == "CMYK" else f"{len(image.getbands())} (mode {image.mode})"
        raise InputError(f"{expected}, got {got}; the fourth cannot be guessed")
    if image.format not in (None, "PNG", "TIFF"):
        raise InputError(f"{expected}, got a {image.format}, whose fourth is transparency; convert to PNG")
    return image


def _has_transparency(image: Any) -> bool:
    known = getattr(image, "has_transparency_data", None)  # from Pillow 10.1 on; 32-bit Arm has Debian's 9.4
    if known is not None:
        return bool(known)
    palette = image.palette.mode if image.mode == "P" and image.palette is not None else ""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info or palette.endswith("A")


def _orientation(exif: object) -> int:
    """Return the orientation, 1 to 8, from a block of EXIF; 1 if it is missing or damaged.

    Pillow's own reader warns about and stumbles over damaged blocks, and pixels do not depend on them.
    """
    if not isinstance(exif, bytes):
        return 1
    body = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(body[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        for i in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", body, start + 2 + 12 * i)
            if tag == _ORIENTATION_TAG and kind == _SHORT:
                return int(value)
    except (struct.error, OverflowError):  # an offset greater than a 32-bit processor can count to
        pass
    return 1


@cache
def _turns() -> dict[int, Any]:
    turn = _pil("Image").Transpose
    return {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }


@cache
def _plugin(name: str) -> Callable[[io.BytesIO], Any]:
    stem = _PLUGINS[name]
    opener: Any = getattr(_pil(f"{stem}ImagePlugin"), f"{stem}ImageFile")
    if name != "JPEG":
        return opener  # type: ignore[no-any-return]
    empty = _pil("Image").Exif

    class QuietJpeg(opener):  # type: ignore[misc]
        """A JPEG that does not parse its EXIF on opening: Pillow wants the dpi there, and warns."""

        def getexif(self) -> Any:
            return empty()

    return QuietJpeg


@cache
def _pil(module: str) -> ModuleType:
    try:
        return importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise InputError("photos from files need Pillow: pip install 'edgetransfer[image]'") from error
