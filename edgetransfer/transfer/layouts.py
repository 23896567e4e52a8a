"""What the axes of a parameter mean, and how the same numbers look in another framework's order.

A layout is a word with a part for each axis of the array:

    D H W   depth, height and width of a kernel
    I O     channels in and out; of a grouped convolution I is the channels of one group
    C M     channel and multiplier of a depthwise kernel, which makes M channels of each of C
    V E     rows and columns of an embedding table
    (CM)    one axis that counts both, the second faster
    1       an axis of size 1

So a kernel is HWIO in Keras, OIHW in PyTorch and ONNX, OHWI in TensorFlow Lite; a depthwise one HWCM, (CM)1HW and
1HW(CM); a dense one IO in Keras and OI in PyTorch. A vector, one number a channel, is C.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LETTERS = "DHWIOCMVE"
_AXIS = re.compile(rf"[{LETTERS}]|1|\([{LETTERS}]{{2}}\)")


def axes_of(layout: str) -> tuple[str, ...]:
    """Return the parts of `layout`, one for each axis of the array.

    Raises:
        ValueError: it is no layout, or has a letter twice.
    """
    parts = tuple(_AXIS.findall(layout))
    letters = [letter for letter in layout if letter in LETTERS]
    if not layout or "".join(parts) != layout or len(set(letters)) != len(letters):
        raise ValueError(f"layout {layout!r}: expected each of {LETTERS} at most once, 1, and pairs such as (CM)")
    return parts


def sizes_of(layout: str, shape: tuple[int, ...], multiplier: int = 1) -> dict[str, int]:
    """Return the size of each letter of `layout` in an array of `shape`.

    Args:
        layout: The layout of the array.
        shape: Its shape.
        multiplier: The size of the second letter of a pair, which no shape tells.

    Raises:
        ValueError: an array of that shape cannot have that layout.
    """
    parts = axes_of(layout)
    if len(parts) != len(shape):
        raise ValueError(f"layout {layout} has {len(parts)} axes, an array of shape {shape} has {len(shape)}")
    found: dict[str, int] = {}
    for part, size in zip(parts, shape, strict=True):
        if part == "1" and size != 1:
            raise ValueError(f"layout {layout} has an axis of size 1 where shape {shape} has {size}")
        if part[0] == "(":
            if multiplier < 1 or size % multiplier:
                raise ValueError(f"layout {layout}: {size} channels are no multiple of {multiplier}")
            found |= {part[1]: size // multiplier, part[2]: multiplier}
        elif part != "1":
            found[part] = size
    return found


def convert(values: NDArray[Any], source: str, target: str, multiplier: int = 1) -> NDArray[Any]:
    """Return `values`, which have the layout `source`, with the layout `target`.

    A letter that only one of the two has must stand for an axis of size 1: a dense kernel IO is a convolution of
    1 x 1 pixel HWIO, and the reverse.

    Args:
        values: An array of any dtype.
        source: Its layout.
        target: The layout that is wanted.
        multiplier: The M of a pair (CM) in `source`.

    Raises:
        ValueError: one of the two is no layout, does not fit the array, or they tell of different things.
    """
    sizes = sizes_of(source, values.shape, multiplier)
    wanted = [letter for letter in target if letter in LETTERS]
    parts = axes_of(target)
    lost = [letter for letter, size in sizes.items() if size != 1 and letter not in wanted]
    if lost:
        raise ValueError(
            f"layout {source} of shape {values.shape} has {', '.join(lost)}, of which {target} has nothing"
        )
    apart = values.reshape(list(sizes.values()))
    kept = [letter for letter in wanted if letter in sizes]
    order = [list(sizes).index(letter) for letter in [*kept, *(letter for letter in sizes if letter not in kept)]]
    return np.ascontiguousarray(np.transpose(apart, order).reshape(_shape(parts, sizes)))


def transposed(layout: str, axes: tuple[int, ...]) -> str:
    """Return the layout of an array that has `layout` after `numpy.transpose(array, axes)`.

    Raises:
        ValueError: `axes` are not those of the layout in another order.
    """
    parts = axes_of(layout)
    if sorted(axes) != list(range(len(parts))):
        raise ValueError(f"layout {layout} cannot come of an array whose axes were put in the order {axes}")
    before = [""] * len(parts)
    for place, axis in enumerate(axes):
        before[axis] = parts[place]
    return "".join(before)


def _shape(parts: tuple[str, ...], sizes: Mapping[str, int]) -> list[int]:
    return [math.prod(sizes.get(letter, 1) for letter in part if letter in LETTERS) for part in parts]
