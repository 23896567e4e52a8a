from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.transfer.layouts import axes_of, convert, sizes_of, transposed

KERNEL = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("layout", ["HWIO", "OIHW", "OHWI", "HWCM", "(CM)1HW", "1HW(CM)", "IO", "OI", "VE", "C", "WIO"])
def test_a_layout_has_a_part_for_each_axis(layout):
    assert "".join(axes_of(layout)) == layout


@pytest.mark.parametrize("layout", ["", "HWX", "HH", "(C)", "(CMI)", "H W", "(CM)C", "2"])
def test_what_is_no_layout_is_refused(layout):
    with pytest.raises(ValueError, match="layout"):
        axes_of(layout)


@pytest.mark.parametrize(
    ("layout", "shape", "multiplier", "message"),
    [
        ("HWIO", (3, 3, 4), 1, "has 4 axes"),
        ("1HW(CM)", (2, 3, 3, 8), 1, "an axis of size 1"),
        ("(CM)1HW", (8, 1, 3, 3), 3, "no multiple of 3"),
        ("(CM)1HW", (8, 1, 3, 3), 0, "no multiple of 0"),
    ],
)
def test_a_layout_that_does_not_fit_the_shape_is_refused(layout, shape, multiplier, message):
    with pytest.raises(ValueError, match=message):
        sizes_of(layout, shape, multiplier)


def test_a_kernel_of_pytorch_is_put_in_the_order_of_keras():
    # O, I, H, W
    np.testing.assert_array_equal(convert(KERNEL, "OIHW", "HWIO"), np.moveaxis(KERNEL, (0, 1), (3, 2)))
    np.testing.assert_array_equal(convert(KERNEL, "OHWI", "HWIO"), np.moveaxis(KERNEL, 0, 3))


def test_a_depthwise_kernel_keeps_which_channel_each_of_its_channels_looks_at():
    stored = np.arange(6 * 3 * 3, dtype=np.float32).reshape(6, 1, 3, 3)
    found = convert(stored, "(CM)1HW", "HWCM", multiplier=2)
    assert found.shape == (3, 3, 3, 2)
    for channel in range(3):
        for number in range(2):
            np.testing.assert_array_equal(found[:, :, channel, number], stored[channel * 2 + number, 0])


def test_an_axis_of_size_1_may_come_and_go():
    dense = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(convert(dense, "OI", "HWIO")[0, 0], dense.T)
    np.testing.assert_array_equal(convert(dense.reshape(2, 3, 1, 1), "OIHW", "IO"), dense.T)


def test_an_axis_that_says_something_cannot_get_lost():
    with pytest.raises(ValueError, match=r"has H, W, of which IO has nothing"):
        convert(KERNEL, "OIHW".translate(str.maketrans("OIHW", "HWIO")), "IO")
    with pytest.raises(ValueError, match="has C, M, of which HWIO has nothing"):
        convert(np.zeros((3, 3, 4, 2)), "HWCM", "HWIO")


def test_the_layout_before_a_transposition_is_found():
    matrix = np.arange(6).reshape(2, 3)
    assert transposed("IO", (1, 0)) == "OI"
    before = transposed("OIHW", (3, 2, 0, 1))
    np.testing.assert_array_equal(
        convert(KERNEL, before, "HWIO"), convert(np.transpose(KERNEL, (3, 2, 0, 1)), "OIHW", "HWIO")
    )
    np.testing.assert_array_equal(convert(matrix, transposed("IO", (1, 0)), "IO"), matrix.T)
    with pytest.raises(ValueError, match="in the order"):
        transposed("IO", (0, 0))


@given(st.sampled_from(["HWIO", "OIHW", "OHWI", "HWOI", "IOHW"]), st.sampled_from(["HWIO", "OIHW", "OHWI", "IHWO"]))
def test_there_and_back_again_is_the_same(source, target):
    np.testing.assert_array_equal(convert(convert(KERNEL, source, target), target, source), KERNEL)


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from(["(CM)1HW", "1HW(CM)", "HW(CM)1"]))
def test_a_depthwise_kernel_comes_back_with_every_multiplier(channels, multiplier, layout):
    kernel = np.arange(9 * channels * multiplier, dtype=np.float32).reshape(3, 3, channels, multiplier)
    stored = convert(kernel, "HWCM", layout)
    np.testing.assert_array_equal(convert(stored, layout, "HWCM", multiplier), kernel)
