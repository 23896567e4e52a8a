"""Photos of 1 and of 4 channels: what becomes grey, and how; what has a fourth channel, and what only seems to."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetransfer.errors import InputError
from edgetransfer.runtime import files
from edgetransfer.runtime.files import read_image, read_thumbnail

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


def noise(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def four_bands(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (height, width, 4), np.uint8)


def tiff_of(pixels: np.ndarray, *extra: str, **options: object) -> bytes:
    """A TIFF whose channels beside RGB are said to be `extra`: "unspecified", "unassalpha", "assocalpha"."""
    tifffile = pytest.importorskip("tifffile", reason="comes with scikit-image")
    content = io.BytesIO()
    tifffile.imwrite(content, pixels, photometric="rgb", extrasamples=list(extra), **options)
    return content.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_photo_in_colour_becomes_grey_by_its_luminance(kind: str) -> None:
    content = encode(noise(), kind)
    want = np.asarray(Image.fromarray(read_image(content)).convert("L"))
    got = read_image(content, channels=1)
    assert got.shape == (48, 64, 1)
    np.testing.assert_array_equal(got[:, :, 0], want)


def test_grey_photos_stay_as_they_are_for_a_grey_model() -> None:
    grey = noise()[:, :, 0]
    np.testing.assert_array_equal(read_image(encode(grey), channels=1)[:, :, 0], grey)
    np.testing.assert_array_equal(read_image(Image.fromarray(grey), channels=1)[:, :, 0], grey)
    np.testing.assert_array_equal(read_image(encode(grey)), np.repeat(grey[:, :, None], 3, axis=2))


def test_of_a_grey_photo_with_16_bits_the_high_bytes_are_taken() -> None:
    deep = (np.arange(48 * 64, dtype=np.uint32) * 21 % 65536).astype(np.uint16).reshape(48, 64)
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(deep)), channels=1)[:, :, 0], deep >> 8)


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "LA", "1"])
def test_every_kind_of_photo_is_as_grey_as_it_is_in_colour(mode: str) -> None:
    image = Image.fromarray(np.dstack([noise(), noise()[::-1, :, 0]])).convert(mode)
    content = encode(image, "TIFF" if mode == "CMYK" else "PNG")
    want = np.asarray(Image.fromarray(read_image(content)).convert("L"))
    np.testing.assert_array_equal(read_image(content, channels=1)[:, :, 0], want)


def test_a_grey_photo_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(noise()), "JPEG", exif=exif, quality=95)
    assert read_image(content, channels=1).shape == (64, 48, 1)


def test_four_channels_are_taken_as_they_stand_in_the_file() -> None:
    pixels = four_bands()
    pixels[:5, :, 3] = 0  # where alpha is 0, readers that see alpha forget colours
    for content in (encode(pixels), encode(pixels, "TIFF"), Image.fromarray(pixels)):
        np.testing.assert_array_equal(read_image(content, channels=4), pixels)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("extra", ["unspecified", "unassalpha"])
def test_a_tiffs_fourth_channel_is_found_whatever_it_is_called(extra: str, options: dict[str, str]) -> None:
    pixels = four_bands()
    np.testing.assert_array_equal(read_image(tiff_of(pixels, extra, **options), channels=4), pixels)
    np.testing.assert_array_equal(
        read_image(tiff_of(pixels.astype(np.uint16) * 257, extra), channels=4), pixels
    )  # of 16 bits the high bytes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encode(noise()), r"got 3 \(mode RGB\); the fourth cannot be guessed"),
        (encode(noise(), "JPEG"), "the fourth cannot be guessed"),
        (encode(noise()[:, :, 0]), r"got 1 \(mode L\)"),
        (encode(Image.fromarray(noise()).convert("P")), r"got 1 \(mode P\)"),
        (encode(Image.fromarray(four_bands()).convert("LA")), r"got 2 \(mode LA\)"),
        (encode(Image.fromarray(noise()).convert("CMYK"), "TIFF"), r"got inks \(CMYK\)"),
        (encode(Image.fromarray(noise()).convert("CMYK"), "JPEG"), r"got inks \(CMYK\)"),
        (encode(four_bands(), "WEBP", lossless=True), "got a WEBP, whose fourth is transparency"),
        (Image.fromarray(four_bands()).convert("RGBa"), "multiplied by the fourth"),
    ],
)
def test_a_fourth_channel_that_is_not_there_is_not_made_up(content: bytes | Image.Image, words: str) -> None:
    with pytest.raises(InputError, match=f"expected 4 channels, RGB and a fourth, in a PNG or TIFF, {words}|{words}"):
        read_image(content, channels=4)


def test_colours_multiplied_by_the_fourth_channel_and_a_fifth_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"ExtraSamples 1\); write it as unspecified"):
        read_image(tiff_of(four_bands(), "assocalpha"), channels=4)
    five = np.dstack([four_bands(), four_bands()[:, :, :1]])
    for extra in ("unspecified", "unassalpha"):
        with pytest.raises(InputError, match="in a PNG or TIFF, got 5"):
            read_image(tiff_of(five, extra, "unspecified"), channels=4)


def test_a_thumbnail_of_four_channels_does_not_take_the_fourth_for_transparency() -> None:
    pixels = four_bands()
    pixels[:, :, 3] = 0
    plain, laid_on_white = (read_thumbnail(encode(pixels), 8, channels=channels).grey for channels in (4, 3))
    assert (laid_on_white == 255).all()
    np.testing.assert_array_equal(plain, read_thumbnail(encode(pixels[:, :, :3]), 8).grey)


def test_people_are_shown_what_the_model_looks_at(tmp_path: Path) -> None:
    pixels = four_bands()
    (tmp_path / "four.png").write_bytes(encode(pixels))
    np.testing.assert_array_equal(files.shown_pixels(tmp_path / "four.png", 4), pixels[:, :, :3])
    (tmp_path / "rgb.png").write_bytes(encode(pixels[:, :, :3]))
    grey = files.shown_pixels(tmp_path / "rgb.png", 1)
    assert grey.shape == (20, 30, 3)
    assert (grey[:, :, :1] == grey).all()
