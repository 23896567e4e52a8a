from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.pipeline.parity_grid import GAP_PX, LINE_PX, THUMB_PX, draw_grid
from edgetransfer.pipeline.parity_report import Answer, Examined


@pytest.fixture(scope="module")
def dataset(folder):
    return load_dataset(folder)


def test_the_picture_has_a_tile_for_each_sample(dataset):
    samples = [
        Examined(str(sample.path), sample.label, {"a": Answer("cat", 0.5), "b": Answer(None, None)}, 1.0)
        for sample in dataset.split("test")[:6]
    ]
    image = Image.open(io.BytesIO(draw_grid(samples)))
    assert image.size == (4 * (THUMB_PX + GAP_PX) + GAP_PX, 2 * (THUMB_PX + 4 * LINE_PX + GAP_PX) + GAP_PX)
    photo = np.asarray(Image.open(samples[0].path).convert("RGB"))
    tile = np.asarray(image)[GAP_PX : GAP_PX + THUMB_PX, GAP_PX : GAP_PX + THUMB_PX]
    inner = tile[:, THUMB_PX // 3 : -THUMB_PX // 3]
    middle = photo[:, photo.shape[1] // 3 : -photo.shape[1] // 3]
    np.testing.assert_allclose(inner.mean(axis=(0, 1)), middle.mean(axis=(0, 1)), atol=4)


def test_an_answer_is_green_where_it_is_right_and_red_elsewhere(dataset):
    sample = dataset.split("test")[0]
    for label, green in ((sample.label, True), ("other", False)):
        drawn = draw_grid([Examined(str(sample.path), sample.label, {"a": Answer(label, 1.0)}, 0.0)])
        caption = np.asarray(Image.open(io.BytesIO(drawn)))[GAP_PX + THUMB_PX + 2 * LINE_PX :].astype(int)
        inked = caption[caption.min(axis=2) < 120]
        assert bool(inked[:, 1].mean() > inked[:, 0].mean()) is green


@pytest.mark.parametrize("label", ["很长的标签" * 30, "x" * 5000, "two\nlines", "\x07", "naïve"])
def test_labels_that_the_font_cannot_show_do_not_stop_the_picture(label, dataset):
    sample = Examined(str(dataset.split("test")[0].path), label, {"a": Answer(label, 0.5)}, 0.0)
    width, _ = Image.open(io.BytesIO(draw_grid([sample]))).size
    assert width == THUMB_PX + 2 * GAP_PX
