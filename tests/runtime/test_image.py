from __future__ import annotations

import hashlib
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import InputError
from edgetransfer.runtime import image as image_code
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.preprocess import ImageInput


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def reference_axis(size: int, target: int) -> list[tuple[list[int], list[int], int]]:
    """For every output: the source pixels of its two boxes, and the weight of the second in 128ths."""
    factor = max(1, size // target)
    boxes = size // factor
    dropped = (size - boxes * factor) // 2
    found = []
    for j in range(target):
        position = (Fraction(2 * j + 1, 2) * size / target - dropped) / factor - Fraction(1, 2)
        steps = min(max(half_up(position * 128), 0), (boxes - 1) * 128)
        low, weight = divmod(steps, 128)
        high = min(low + 1, boxes - 1)
        found.append(
            (
                [dropped + low * factor + k for k in range(factor)],
                [dropped + high * factor + k for k in range(factor)],
                weight,
            )
        )
    return found


def reference_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The docstring of image.py, pixel by pixel, in Python's integers."""
    across, down = reference_axis(image.shape[1], width), reference_axis(image.shape[0], height)
    pixels = image.tolist()

    def box(rows: list[int], columns: list[int], channel: int) -> int:
        area = len(rows) * len(columns)
        return (sum(pixels[r][c][channel] for r in rows for c in columns) + area // 2) // area

    def blend(one: int, other: int, weight: int) -> int:
        return (one * (128 - weight) + other * weight + 64) >> 7

    result = np.zeros((height, width, image.shape[2]), np.uint8)
    for y, (upper, lower, down_weight) in enumerate(down):
        for x, (left, right, across_weight) in enumerate(across):
            for channel in range(image.shape[2]):
                above = blend(box(upper, left, channel), box(upper, right, channel), across_weight)
                below = blend(box(lower, left, channel), box(lower, right, channel), across_weight)
                result[y, x, channel] = blend(above, below, down_weight)
    return result


def reference(image: np.ndarray, spec: ImageInput) -> np.ndarray:
    height, width = image.shape[:2]
    if spec.fit == "crop":
        if Fraction(width, height) >= Fraction(spec.width_px, spec.height_px):
            part = height, min(width, max(1, half_up(Fraction(height * spec.width_px, spec.height_px))))
        else:
            part = min(height, max(1, half_up(Fraction(width * spec.height_px, spec.width_px)))), width
        top, left = (height - part[0]) // 2, (width - part[1]) // 2
        image = image[top : top + part[0], left : left + part[1]]
    if spec.fit != "pad":
        return reference_resize(image, spec.height_px, spec.width_px)
    if Fraction(width, height) >= Fraction(spec.width_px, spec.height_px):
        inner = min(spec.height_px, max(1, half_up(Fraction(height * spec.width_px, width)))), spec.width_px
    else:
        inner = spec.height_px, min(spec.width_px, max(1, half_up(Fraction(width * spec.height_px, height))))
    result = np.full(spec.shape, spec.pad_value, np.uint8)
    top, left = (spec.height_px - inner[0]) // 2, (spec.width_px - inner[1]) // 2
    result[top : top + inner[0], left : left + inner[1]] = reference_resize(image, *inner)
    return result


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


sides = st.integers(1, 70)
targets = st.integers(1, 24)
channels = st.sampled_from([1, 3, 4])


@settings(max_examples=200, deadline=None)
@given(sides, sides, targets, targets, st.sampled_from(["crop", "squash", "pad"]), st.integers(0, 2**31), channels)
def test_every_shape_gives_the_bytes_of_the_slow_reference(height, width, to_height, to_width, fit, seed, channels):
    image = noise(height, width, seed, channels)
    spec = ImageInput(to_height, to_width, fit, channels=channels)
    np.testing.assert_array_equal(prepare(image, spec), reference(image, spec))


@pytest.mark.parametrize(("height", "width"), [(1, 700), (700, 1), (300, 300), (2, 520)])
def test_large_box_factors_do_not_overflow(height, width):
    spec = ImageInput(2, 1)
    for image in (noise(height, width), np.full((height, width, 3), 255, np.uint8)):
        np.testing.assert_array_equal(prepare(image, spec), reference(image, spec))


@pytest.mark.parametrize("block_bytes", [1, 1000, 5000])
def test_the_size_of_the_blocks_does_not_show(monkeypatch, block_bytes):
    image = noise(97, 83)
    wanted = [prepare(image, ImageInput(side, side)) for side in (9, 31, 97)]
    monkeypatch.setattr(image_code, "_BLOCK_BYTES", block_bytes)
    for side, expected in zip((9, 31, 97), wanted, strict=True):
        np.testing.assert_array_equal(prepare(image, ImageInput(side, side)), expected)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.sampled_from(["crop", "squash"]), st.integers(0, 255))
def test_a_constant_image_stays_constant(height, width, fit, value):
    result = prepare(np.full((height, width, 3), value, np.uint8), ImageInput(13, 9, fit))
    assert set(result.ravel().tolist()) == {value}


def test_an_image_of_the_right_size_is_copied_unchanged():
    image = noise(17, 23)
    result = prepare(image, ImageInput(17, 23, "pad"))
    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)
    assert result.flags.c_contiguous


def test_the_bytes_are_those_of_every_other_machine():
    """A number to hold still: it changes only when preprocessing does, and then every bundle is void."""
    ramp = (np.arange(480 * 640 * 3, dtype=np.uint32) * 2654435761 >> 24).astype(np.uint8).reshape(480, 640, 3)
    digest = hashlib.sha256()
    for fit in ("crop", "squash", "pad"):
        digest.update(prepare(ramp, ImageInput(224, 224, fit)).tobytes())
    assert digest.hexdigest() == "6a279971b6af10f55171fe1feabd4addb4ed665537cf02d6cdeb6902242ce991"


def test_the_result_is_a_new_array_that_the_next_call_leaves_alone():
    spec = ImageInput(8, 8)
    first = prepare(noise(40, 40, 1), spec)
    kept = first.copy()
    prepare(noise(40, 40, 2), spec)
    np.testing.assert_array_equal(first, kept)


def test_views_and_flips_give_what_their_copies_give():
    image, spec = noise(60, 80), ImageInput(16, 16)
    for view in (image[:, :, ::-1], image[::2, ::3], image[::-1], np.asfortranarray(image)):
        np.testing.assert_array_equal(prepare(view, spec), prepare(np.ascontiguousarray(view), spec))


def test_threads_do_not_disturb_each_other():
    spec = ImageInput(32, 32)
    frames = [noise(90 + i, 120, i) for i in range(8)]
    wanted = [prepare(frame, spec) for frame in frames]
    wrong = []

    def work(i: int) -> None:
        for _ in range(40):
            if not np.array_equal(prepare(frames[i], spec), wanted[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_padding_is_of_the_asked_value_and_around_the_image():
    result = prepare(np.full((10, 20, 3), 200, np.uint8), ImageInput(20, 20, "pad", pad_value=7))
    assert (result[:5] == 7).all()
    assert (result[15:] == 7).all()
    assert (result[5:15] == 200).all()


def test_a_real_photo_is_within_a_step_or_two_of_pillows_antialiased_resize():
    data = pytest.importorskip("skimage.data")
    image_module = pytest.importorskip("PIL.Image")
    photo = np.asarray(data.chelsea()[:, :, :3])
    got = prepare(photo, ImageInput(96, 96)).astype(int)
    source = image_module.fromarray(photo)
    wanted = np.asarray(source.resize((96, 96), image_module.Resampling.BILINEAR)).astype(int)
    error = np.abs(got - wanted)
    assert error.mean() <= 1.25, f"mean error {error.mean():.2f} of 255"
    assert np.percentile(error, 99) <= 7, f"99 % within {np.percentile(error, 99):.0f} of 255"
    assert abs((got - wanted).mean()) <= 0.25, "brightness has moved"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4), np.uint8), r"np.repeat\(image\[:, :, None\], 3"),
        (np.zeros((4, 4, 1), np.uint8), r"np.repeat\(image, 3"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((4, 4, 5), np.uint8), r"got \(4, 4, 5\)"),
        (np.zeros((4, 4, 4), np.uint8), r"image\[:, :, :3\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one frame at a time"),
        (np.zeros((4, 4, 3), np.float32), "expected uint8.*float32"),
        (np.zeros((0, 4, 3), np.uint8), "at least 1 x 1 px"),
        ([[1, 2, 3]], "got list"),
    ],
)
def test_what_is_no_rgb_image_is_refused_with_the_way_out(image, words):
    with pytest.raises(InputError, match=words):
        prepare(image, ImageInput(8, 8))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_a_channel_alone_becomes_what_it_becomes_among_others(fit):
    four = noise(61, 83, channels=4)
    prepared = prepare(four, ImageInput(24, 32, fit, channels=4))
    np.testing.assert_array_equal(prepared[:, :, :3], prepare(four[:, :, :3], ImageInput(24, 32, fit)))
    grey = prepare(four[:, :, 3], ImageInput(24, 32, fit, channels=1))
    np.testing.assert_array_equal(prepared[:, :, 3:], grey)


@pytest.mark.parametrize("size", [(40, 50), (24, 32)])
def test_a_grey_frame_needs_no_third_axis(size):
    spec, frame = ImageInput(24, 32, channels=1), noise(*size, channels=1)
    np.testing.assert_array_equal(prepare(frame[:, :, 0], spec), prepare(frame, spec))
    assert prepare(frame[:, :, 0], spec).shape == (24, 32, 1)


@pytest.mark.parametrize(
    ("channels", "image", "words"),
    [
        (
            1,
            np.zeros((4, 4, 3), np.uint8),
            r"expected \(H, W\) or \(H, W, 1\) uint8 grey, got \(4, 4, 3\); .*luminance",
        ),
        (1, np.zeros((4, 4, 4), np.uint8), "luminance"),
        (1, np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\); one frame at a time"),
        (1, np.zeros((4, 4), np.uint16), r"got uint16; 16 bits become 8 by \(image >> 8\)"),
        (1, np.zeros((2, 4, 4, 1), np.uint8), "one frame at a time"),
        (1, np.zeros((0, 4), np.uint8), "at least 1 x 1 px"),
        (4, np.zeros((4, 4, 3), np.uint8), r"RGB and a fourth channel, got \(4, 4, 3\); the fourth cannot be guessed"),
        (4, np.zeros((4, 4), np.uint8), "the fourth cannot be guessed"),
        (4, np.zeros((4, 4, 5), np.uint8), r"got \(4, 4, 5\)"),
        (4, "photo.png", "expected a .* array, got str"),
    ],
)
def test_an_array_of_other_channels_than_the_models_is_never_converted_silently(channels, image, words):
    with pytest.raises(InputError, match=words):
        prepare(image, ImageInput(8, 8, channels=channels))


def test_the_way_from_rgb_to_grey_that_the_error_names_is_that_of_files():
    image_module = pytest.importorskip("PIL.Image")
    image = noise(50, 60)
    with pytest.raises(InputError) as refused:
        prepare(image, ImageInput(8, 8, channels=1))
    way = str(refused.value).split("as is done with files: ")[1]
    grey = eval(way, {"np": np, "image": image})
    np.testing.assert_array_equal(grey, np.asarray(image_module.fromarray(image).convert("L")))
