"""Raw frames to model input: the one implementation, used in training and on the device.

Integers only, so every machine and every numpy gives the same bytes. How a frame of (h, w) px meets a
rectangle of (H, W) px:

1. Fit. "squash" takes the whole frame. "crop" takes the largest part of the aspect W:H, its other side rounded half
   up, centred (the odd pixel stays right or below). "pad" shrinks the rectangle instead, in the same way.
2. Box reduction. Per axis, f = max(1, size // target) neighbours become one, n = size // f boxes; the size % f
   pixels left over are dropped half on each side (the odd one right or below). A box's value is
   (sum + f_y * f_x // 2) // (f_y * f_x).
3. Bilinear. Output j looks at the source position (j + 1/2) * size / target, in boxes:
   b = (position - dropped) / f - 1/2, rounded half up to a 128th, held within the first and the last box's centre.
   With i = floor(b) and w = 128 * (b - i) the result is (box[i] * (128 - w) + box[i + 1] * w + 64) >> 7;
   first along the rows, then along the columns.

The three roundings of values cost at most 1.5 of 255, rounding positions at most 1 more per axis. Beside Pillow's
antialiased bilinear resize the difference on a photo is 1 of 255 on average, 6 for 99 % of the values.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.spec.preprocess import ImageInput

_WEIGHT_BITS = 7  # 255 << 7 still fits uint16, the narrowest and so fastest type
_ONE = 1 << _WEIGHT_BITS
_KEPT_BYTES = 4 * 1024 * 1024  # of scratch memory per thread and purpose; only sizes above 1000 px need more
_BLOCK_BYTES = (
    256 * 1024
)  # of sums at a time: they stay in the second-level cache, and large photos need no more memory


def prepare(image: NDArray[np.uint8], spec: ImageInput) -> NDArray[np.uint8]:
    """Return `image` as the model takes it: (height_px, width_px, channels) uint8, a new array.

    Args:
        image: (H, W, channels) uint8, of a grey model also (H, W), at least 1 x 1 px; any strides (a slice or flip is
            fine).
        spec: the model's input, with the way to meet its shape.

    Raises:
        InputError: another dtype or shape; says how to convert. Colours are never made grey, or grey coloured, here:
            an array has what the camera gave.
    """
    image = _checked(image, spec.channels)
    if image.shape == spec.shape:
        return np.array(image, order="C")  # what the steps above come to
    height, width = int(image.shape[0]), int(image.shape[1])
    plan = _plan(height, width, spec)
    rows = np.ascontiguousarray(image).reshape(height, width * spec.channels)[plan.source]
    if plan.fills:
        return _resize(rows, plan, spec.channels).reshape(spec.shape)
    padded = np.full(spec.shape, spec.pad_value, np.uint8)
    inner = (plan.down.target, plan.across.target, spec.channels)
    padded[plan.inner] = _resize(rows, plan, spec.channels).reshape(inner)
    return padded


class _Axis(NamedTuple):
    """One axis resized: `start` of the first box, `factor`, `boxes`, then box `low` * (128 - w) + box `high` * w."""

    target: int
    start: int
    factor: int
    boxes: int
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight_low: NDArray[np.uint16]
    weight_high: NDArray[np.uint16]


class _Plan(NamedTuple):
    """How frames of one shape meet one spec; `low`, `high` and weights of `across` are per byte of a row."""

    source: tuple[slice, slice]
    inner: tuple[slice, slice]
    fills: bool
    down: _Axis
    across: _Axis


class _Scratch(threading.local):
    """Memory that a thread uses again: fresh pages for every frame would double the time."""

    def __init__(self) -> None:
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def array(self, purpose: str, shape: tuple[int, int], dtype: type[Any]) -> NDArray[Any]:
        """Return an uninitialised array; the next call with this purpose may return the same memory."""
        needed = shape[0] * shape[1] * np.dtype(dtype).itemsize
        memory = self._kept.get(purpose)
        if memory is None or memory.size < needed:
            memory = np.empty(needed, np.uint8)
            if needed <= _KEPT_BYTES:
                self._kept[purpose] = memory
        array: NDArray[Any] = memory[:needed].view(dtype).reshape(shape)
        return array


_scratch = _Scratch()


_WANTED = {
    1: "(H, W) or (H, W, 1) uint8 grey",
    3: "(H, W, 3) uint8 RGB",
    4: "(H, W, 4) uint8, RGB and a fourth channel",
}
_LUMINANCE = "((image[:, :, :3] @ np.array([19595, 38470, 7471]) + 32768) >> 16).astype(np.uint8)"
"""Pillow's "L", which is ITU-R BT.601's luminance in 65536ths."""


def _checked(image: Any, channels: int) -> NDArray[np.uint8]:
    """Return `image` as (H, W, channels).

    Raises:
        InputError: it is something else.
    """
    wanted = _WANTED[channels]
    if not isinstance(image, np.ndarray):
        raise InputError(f"image: expected a {wanted} array, got {type(image).__name__}")
    if image.ndim == 2 and channels == 1:
        image = image[:, :, None]
    if image.ndim != 3 or image.shape[2] != channels:
        raise InputError(f"image: expected {wanted}, got {_shape_and_hint(image.shape, channels)}")
    if image.dtype != np.uint8:
        hint = (
            "16 bits become 8 by (image >> 8).astype(np.uint8), a sensor's 10, 12 or 14 by fewer"
            if image.dtype == np.uint16
            else "floats from 0 to 1 become so by np.rint(image * 255).astype(np.uint8)"
        )
        raise InputError(f"image: expected uint8 values 0 to 255, got {image.dtype}; {hint}")
    if not image.size:
        raise InputError(f"image: expected at least 1 x 1 px, got {image.shape}")
    pixels: NDArray[np.uint8] = image
    return pixels


def _shape_and_hint(shape: tuple[int, ...], channels: int) -> str:
    """Return a `shape` that does not do, and how it becomes one with so many `channels`."""
    grey = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
    if channels == 3 and grey:
        pixels = "image[:, :, None]" if len(shape) == 2 else "image"
        return f"grey {shape}; make it RGB: np.repeat({pixels}, 3, axis=2)"
    if channels == 4 and (grey or (len(shape) == 3 and shape[2] == 3)):
        return f"{shape}; the fourth cannot be guessed: it is what the camera gives beside RGB"
    if channels == 1 and len(shape) == 3 and shape[2] in (3, 4):
        return f"{shape}; make RGB grey by its luminance, as is done with files: {_LUMINANCE}"
    if channels == 3 and len(shape) == 3 and shape[2] == 4:
        return f"{shape}; drop alpha with image[:, :, :3]"
    return f"{shape}; one frame at a time, channels last"


@lru_cache(maxsize=256)
def _plan(height: int, width: int, spec: ImageInput) -> _Plan:
    top = left = 0
    inner_height, inner_width = spec.shape[:2]
    if spec.fit == "crop":
        full_height, full_width = height, width
        height, width = _largest(spec.height_px, spec.width_px, height, width)
        top, left = (full_height - height) // 2, (full_width - width) // 2
    elif spec.fit == "pad":
        inner_height, inner_width = _largest(height, width, inner_height, inner_width)
    pad_top, pad_left = (spec.height_px - inner_height) // 2, (spec.width_px - inner_width) // 2
    return _Plan(
        source=(slice(top, top + height), slice(spec.channels * left, spec.channels * (left + width))),
        inner=(slice(pad_top, pad_top + inner_height), slice(pad_left, pad_left + inner_width)),
        fills=(inner_height, inner_width) == spec.shape[:2],
        down=_axis(height, inner_height),
        across=_in_bytes(_axis(width, inner_width), spec.channels),
    )


def _largest(aspect_height: int, aspect_width: int, height: int, width: int) -> tuple[int, int]:
    """Return the largest rectangle of that aspect within (height, width), half a pixel rounded up."""
    if width * aspect_height >= height * aspect_width:
        return height, min(width, max(1, (2 * height * aspect_width + aspect_height) // (2 * aspect_height)))
    return min(height, max(1, (2 * width * aspect_height + aspect_width) // (2 * aspect_width))), width


def _axis(size: int, target: int) -> _Axis:
    factor = max(1, size // target)
    boxes = size // factor
    start = (size - boxes * factor) // 2
    denominator = 2 * target * factor
    # In 64 bits: frames of up to 2**20 px and targets of up to 2**12 px stay far below the limit.
    positions = (2 * np.arange(target, dtype=np.int64) + 1) * size - 2 * target * start - target * factor
    steps = (positions * 2 * _ONE + denominator) // (2 * denominator)
    clamped = np.clip(steps, 0, (boxes - 1) * _ONE)
    low = clamped >> _WEIGHT_BITS
    weight = (clamped & (_ONE - 1)).astype(np.uint16)
    return _Axis(
        target=target,
        start=start,
        factor=factor,
        boxes=boxes,
        low=low.astype(np.intp),
        high=np.minimum(low + 1, boxes - 1).astype(np.intp),
        weight_low=(_ONE - weight).astype(np.uint16),
        weight_high=weight,
    )


def _in_bytes(axis: _Axis, channels: int) -> _Axis:
    """Return `axis` with one entry per byte of a row, box indices being those of their first source byte."""
    channel = np.arange(channels)

    def spread(boxes: NDArray[np.intp]) -> NDArray[np.intp]:
        first: NDArray[np.intp] = ((boxes * axis.factor + axis.start)[:, None] * channels + channel).ravel()
        return first

    weights = (np.repeat(axis.weight_low, channels), np.repeat(axis.weight_high, channels))
    return _Axis(axis.target, axis.start, axis.factor, axis.boxes, spread(axis.low), spread(axis.high), *weights)


def _resize(rows: NDArray[np.uint8], plan: _Plan, channels: int) -> NDArray[np.uint8]:
    """Return (h, w * channels) as (H, W * channels) uint8, a new array."""
    down, across = plan.down, plan.across
    area = down.factor * across.factor
    dtype = next(t for t in (np.uint16, np.uint32, np.uint64) if area * 256 <= np.iinfo(t).max)  # sum and rounding
    shape = (down.boxes, channels * across.target)
    left, right = (_scratch.array(side, shape, np.uint16) for side in ("left", "right"))
    block = max(1, _BLOCK_BYTES // (rows.shape[1] * np.dtype(dtype).itemsize)) if area > 1 else down.boxes
    for first in range(0, down.boxes, block):
        last = min(first + block, down.boxes)
        source = rows[down.start + first * down.factor : down.start + last * down.factor]
        sums = _window_sums(_row_sums(source, down.factor, dtype), across.factor, channels, dtype)
        _means(sums, across.low, area, left[first:last])
        _means(sums, across.high, area, right[first:last])
    narrow = _blend(left, right, across.weight_low, across.weight_high)
    shape = (down.target, shape[1])
    above = np.take(narrow, down.low, axis=0, out=_scratch.array("above", shape, np.uint16), mode="clip")
    below = np.take(narrow, down.high, axis=0, out=_scratch.array("below", shape, np.uint16), mode="clip")
    result: NDArray[np.uint8] = _blend(above, below, down.weight_low[:, None], down.weight_high[:, None]).astype(
        np.uint8
    )
    return result


def _row_sums(rows: NDArray[np.uint8], factor: int, dtype: type[Any]) -> NDArray[Any]:
    """Return the sums of `factor` neighbouring rows, (boxes, w * channels)."""
    if factor == 1:
        return rows
    sums = _scratch.array("rows", (len(rows) // factor, rows.shape[1]), dtype)
    np.add(rows[::factor], rows[1::factor], out=sums, dtype=dtype)
    for offset in range(2, factor):
        np.add(sums, rows[offset::factor], out=sums)
    return sums


def _window_sums(rows: NDArray[Any], factor: int, channels: int, dtype: type[Any]) -> NDArray[Any]:
    """Return the sums of `factor` neighbouring pixels, one that begins at every pixel.

    Windows are doubled, and put together from powers of two: 17 pixels take five additions. All begin at contiguous
    memory, which is faster than to pick a channel's bytes of every other pixel.
    """
    if factor == 1:
        return rows
    total: NDArray[Any] | None = None
    power, covered, length = rows, 0, 1
    while True:
        if factor & length:
            total = power if total is None else _shifted_sum(total, power, channels * covered, f"total{length}", dtype)
            covered += length
        length *= 2
        if length > factor:
            return power if total is None else total
        power = _shifted_sum(power, power, channels * length // 2, f"power{length}", dtype)


def _shifted_sum(one: NDArray[Any], other: NDArray[Any], shift: int, purpose: str, dtype: type[Any]) -> NDArray[Any]:
    width = min(one.shape[1], other.shape[1] - shift)
    out = _scratch.array(purpose, (one.shape[0], width), dtype)
    np.add(one[:, :width], other[:, shift : shift + width], out=out, dtype=dtype)
    return out


def _means(sums: NDArray[Any], columns: NDArray[np.intp], area: int, out: NDArray[np.uint16]) -> None:
    """Write the means of the windows that begin at `columns` to `out`, half rounded up."""
    same = sums.dtype == np.uint16
    picked = out if same else _scratch.array("picked", out.shape, sums.dtype.type)
    np.take(sums, columns, axis=1, out=picked, mode="clip")
    if area > 1:
        np.add(picked, picked.dtype.type(area // 2), out=picked)
        if area & (area - 1) == 0:
            np.right_shift(picked, picked.dtype.type(area.bit_length() - 1), out=picked)
        else:
            np.floor_divide(picked, picked.dtype.type(area), out=picked)
    if not same:
        np.copyto(out, picked, casting="unsafe")


def _blend(
    low: NDArray[np.uint16], high: NDArray[np.uint16], weight_low: NDArray[np.uint16], weight_high: NDArray[np.uint16]
) -> NDArray[np.uint16]:
    """Return (low * weight_low + high * weight_high + 64) >> 7, computed in `low`; `high` is overwritten too."""
    np.multiply(low, weight_low, out=low)
    np.multiply(high, weight_high, out=high)
    np.add(low, high, out=low)
    np.add(low, np.uint16(_ONE // 2), out=low)
    return np.right_shift(low, np.uint16(_WEIGHT_BITS), out=low)
