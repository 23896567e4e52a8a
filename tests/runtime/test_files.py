"""Every kind of photo becomes upright RGB; every kind of bad file becomes one clear line."""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from edgetransfer.errors import InputError
from edgetransfer.runtime import files
from edgetransfer.runtime.files import read_file, read_image, read_thumbnail

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")


def noise(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """Red, green, blue and white quarters: every turn of it is different."""
    image = np.zeros((height, width, 3), np.uint8)
    top, left = height // 2, width // 2
    image[:top, :left, 0] = image[:top, left:, 1] = image[top:, :left, 2] = 255
    image[top:, left:] = 255
    return image


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_same_pixels(kind: str) -> None:
    image = noise()
    got = read_image(encode(image, kind))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, image)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_from_a_path_a_string_bytes_and_an_open_image(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.bin"  # the name does not count
    path.write_bytes(encode(noise(), kind))
    want = read_image(path)
    assert want.shape == (48, 64, 3)
    np.testing.assert_array_equal(read_image(str(path)), want)
    np.testing.assert_array_equal(read_image(path.read_bytes()), want)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_image(opened), want)


def test_the_array_belongs_to_the_caller() -> None:
    got = read_image(encode(noise()))
    got[:] = 7
    assert got.flags.c_contiguous
    assert (got == 7).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_made_upright(kind: str, orientation: int) -> None:
    upright = quadrants()
    # What a camera stores so that a viewer who turns it by the tag sees `upright`: the inverse of that turn.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    content = encode(np.ascontiguousarray(stored), kind, exif=exif, **options)
    got = read_image(content)
    assert got.shape == upright.shape
    corners = np.ix_([4, -4], [4, -4])  # far from the borders, where JPEG blurs colours
    np.testing.assert_allclose(got[corners], upright[corners], atol=8)
    thumbnail = read_thumbnail(content, 16)
    assert (thumbnail.width_px, thumbnail.height_px) == (64, 48)
    np.testing.assert_array_equal(read_image(Image.open(io.BytesIO(content))), got)


@pytest.mark.parametrize("order", [b"II*\x00", b"MM\x00*"])
def test_an_orientation_is_found_in_either_byte_order(order: bytes) -> None:
    mark = "<" if order.startswith(b"II") else ">"
    body = order + struct.pack(mark + "IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    assert read_image(encode(quadrants(), "JPEG", exif=b"Exif\x00\x00" + body)).shape == (64, 48, 3)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00",
        b"Exif\x00\x00rubbish that is no TIFF",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x12\x01\x02\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHIHH", 0x0112, 3, 1, 99, 0),
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHII", 0x011A, 5, 1, 0xFFFFFF),
    ],
)
def test_damaged_exif_is_passed_over_in_silence(exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = read_image(encode(quadrants(), "JPEG", quality=95, exif=exif))
    np.testing.assert_allclose(got[4, 4], [255, 0, 0], atol=8)


def test_grey_and_two_colour_images_become_rgb() -> None:
    grey = noise()[:, :, 0]
    np.testing.assert_array_equal(read_image(encode(grey)), np.repeat(grey[:, :, None], 3, axis=2))
    bits = Image.fromarray(grey > 127)
    assert bits.mode == "1"
    np.testing.assert_array_equal(read_image(encode(bits))[:, :, 1], (grey > 127) * np.uint8(255))


def test_a_palette_image_gets_its_colours() -> None:
    palette = Image.fromarray(quadrants()).quantize(4)
    assert palette.mode == "P"
    np.testing.assert_array_equal(read_image(encode(palette)), quadrants())


def test_transparent_pixels_are_laid_on_white() -> None:
    rgba = np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32] = (10, 20, 30, 0)
    rgba[24:, :32] = (0, 0, 0, 128)
    want = quadrants()
    want[:24, :32] = 255
    want[24:, :32] = 127
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        np.testing.assert_allclose(read_image(encode(rgba, kind, **options)), want, atol=1)
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert (read_image(encode(grey_alpha))[:24, :32] == 255).all()


def test_transparency_of_a_palette_and_of_a_colour_key_is_white() -> None:
    palette = Image.fromarray(quadrants()).quantize(4)
    red = palette.getpixel((0, 0))
    keyed = encode(palette, transparency=red)
    assert (read_image(keyed)[:24, :32] == 255).all()
    by_colour = encode(quadrants(), transparency=(255, 0, 0))
    assert (read_image(by_colour)[:24, :32] == 255).all()
    np.testing.assert_array_equal(read_image(by_colour)[:24, 32:], quadrants()[:24, 32:])


def test_cmyk_jpegs_and_tiffs_become_rgb() -> None:
    cmyk = Image.fromarray(quadrants()).convert("CMYK")
    np.testing.assert_array_equal(read_image(encode(cmyk, "TIFF")), quadrants())
    got = read_image(encode(cmyk, "JPEG", quality=95))
    corners = np.ix_([4, -4], [4, -4])
    np.testing.assert_allclose(got[corners], quadrants()[corners], atol=8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (48, 64), np.uint16)
    got = read_image(encode(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(got, np.repeat((deep >> 8).astype(np.uint8)[:, :, None], 3, axis=2))


def test_sixteen_bit_grey_is_read_in_either_byte_order() -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (4, 6), np.uint16)
    image = Image.frombytes("I;16B", (6, 4), deep.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(image)[:, :, 0], deep >> 8)


def test_sixteen_bit_rgb_keeps_its_high_bytes() -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (3, 5, 3), np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in deep)
    content = png_of(header=struct.pack(">IIBBBBB", 5, 3, 16, 2, 0, 0, 0), data=zlib.compress(rows))
    np.testing.assert_array_equal(read_image(content), deep >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_images_are_refused(mode: str) -> None:
    image = Image.new(mode, (4, 4), 1000)
    with pytest.raises(InputError, match="8 or 16 bits"):
        read_image(image)
    with pytest.raises(InputError, match="8 or 16 bits"):
        read_image(encode(image, "TIFF"))


def test_the_first_picture_of_a_camera_with_several_is_read() -> None:
    content = encode(quadrants(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=95)
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert read_image(content).shape == (48, 64, 3)


def test_draft_makes_jpegs_smaller_but_not_too_small() -> None:
    content = encode(quadrants(480, 640), "JPEG", quality=95)
    assert read_image(content, draft_px=100).shape == (120, 160, 3)
    assert read_image(content, draft_px=121).shape == (240, 320, 3)
    assert read_image(content, draft_px=481).shape == (480, 640, 3)
    assert read_image(encode(quadrants(480, 640)), draft_px=100).shape == (480, 640, 3)
    small = read_image(content, draft_px=60)
    np.testing.assert_allclose(small[5, 5], [255, 0, 0], atol=8)


def test_a_thumbnail_is_grey_and_knows_the_size_of_the_photo() -> None:
    thumbnail = read_thumbnail(encode(quadrants(480, 640), "JPEG", quality=95), 16)
    assert (thumbnail.width_px, thumbnail.height_px) == (640, 480)
    assert thumbnail.grey.shape == (16, 16)
    np.testing.assert_allclose(thumbnail.grey[[2, 2, 13, 13], [2, 13, 2, 13]], [76, 150, 29, 255], atol=3)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_truncated_image_is_refused_in_full_in_draft_and_as_thumbnail(
    kind: str, part: float, progressive: bool
) -> None:
    content = encode(noise(480, 640), kind, **({"progressive": progressive} if kind == "JPEG" else {}))
    cut = content[: int(part * len(content))]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(InputError, match=r"truncated"):
        read_image(cut)
    with pytest.raises(InputError, match=r"truncated"):
        read_image(cut, draft_px=64)
    warnings.simplefilter("ignore")  # what the scan does: a cut TIFF warns before it fails (pytest undoes it)
    with pytest.raises(InputError, match=r"truncated"):
        read_thumbnail(cut, 16)


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bytes_never_give_anything_but_a_photo_or_one_clear_error(kind: str) -> None:
    content = encode(noise(40, 40), kind)
    rng = np.random.default_rng(5)
    for _ in range(60):
        hurt = bytearray(content)
        for at in rng.integers(0, min(len(hurt), 400), 3):
            hurt[at] = rng.integers(0, 256)
        outcome: object
        try:
            outcome = read_image(bytes(hurt)).ndim
        except InputError as error:
            outcome = str(error)[:7]
        assert outcome in (3, "image: ")


def test_a_gif_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "funny.jpg"
    path.write_bytes(encode(noise(), "GIF"))
    with pytest.raises(InputError, match=r"funny\.jpg: GIF is not a photo format: convert to JPEG or PNG"):
        read_image(path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    content = encode(quadrants(), kind, save_all=True, append_images=[Image.fromarray(noise())])
    with pytest.raises(InputError, match="animated"):
        read_image(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"hello", r"expected JPEG, PNG, WebP, BMP or TIFF, got a file that begins with b'hello'"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(30), "HEIC is not read here"),
        (b"\x00\x00\x00\x18ftypavif" + bytes(30), "AVIF is not read here"),
        (b"%PDF-1.4", "PDF is not read here"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "expected JPEG"),
        (b"RIFF\x00\x00\x00\x00WEBP", "truncated or damaged WebP"),
        (b"\xff\xd8\xff", "truncated"),
        (b"BM", "truncated or damaged BMP"),
    ],
)
def test_what_is_no_photo_is_named(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_image(content)


def png_of(header: bytes, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header_without_a_warning() -> None:
    before = Image.MAX_IMAGE_PIXELS
    png = png_of(struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0), zlib.compress(bytes(1000)))
    jpeg = bytearray(encode(noise(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    bmp = bytearray(encode(noise(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    webp = bytearray(encode(noise(), "WEBP", lossless=True))
    at = webp.index(b"VP8L") + 9
    webp[at : at + 4] = struct.pack("<I", 16_382 | (16_382 << 14))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for content in (png, bytes(jpeg), bytes(bmp), bytes(webp)):
            for read in (read_image, lambda c: read_thumbnail(c, 16)):
                with pytest.raises(InputError, match="expected at most 100,000,000 pixels"):
                    read(content)
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_image_between_pillows_limit_and_ours_gives_no_warning() -> None:
    # 90 million pixels: above Image.MAX_IMAGE_PIXELS, where Image.open warns, below MAX_PIXELS.
    rows = zlib.compressobj()
    data = b"".join(rows.compress(bytes(1 + 9_000 // 8)) for _ in range(10_000)) + rows.flush()
    content = png_of(struct.pack(">IIBBBBB", 9_000, 10_000, 1, 0, 0, 0, 0), data)
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 90_000_000 < files.MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thumbnail = read_thumbnail(content, 16)
    assert (thumbnail.width_px, thumbnail.height_px) == (9_000, 10_000)


def test_a_png_whose_text_unpacks_to_gigabytes_is_refused() -> None:
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(20_000_000))
    good = png_of(struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0), zlib.compress(b"\x00\x00"))
    chunk = struct.pack(">I", len(bomb)) + b"zTXt" + bomb + struct.pack(">I", zlib.crc32(b"zTXt" + bomb))
    with pytest.raises(InputError, match="truncated or damaged PNG"):
        read_image(good[:33] + chunk + good[33:])


def test_missing_files_folders_and_odd_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg: no such file"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="expected a file, got a folder or a device"):
        read_image(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(InputError, match="expected a file, got a folder or a device"):
            read_image("/dev/zero")
    with pytest.raises(InputError):
        read_image("zero\x00byte.jpg")


def test_huge_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.bmp"
    with path.open("wb") as file:
        file.truncate(files.MAX_FILE_BYTES + 1)  # sparse: takes no room
    with pytest.raises(InputError, match=r"at most 1,073,741,824 bytes"):
        read_file(path)


def test_what_is_neither_path_nor_image_is_refused() -> None:
    with pytest.raises(InputError, match="expected a path, bytes or a PIL image, got list"):
        read_image([1, 2, 3])  # type: ignore[arg-type]


def test_without_pillow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(noise())
    files._pil.cache_clear()
    files._plugin.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "PIL.Image", None)
        with pytest.raises(InputError, match=r"pip install 'edgetransfer\[image\]'"):
            read_image(content)
    assert read_image(content).shape == (48, 64, 3)
