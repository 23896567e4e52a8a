"""Batches of views: the seed decides the order, the epoch decides how an image is seen."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import InputError
from edgetransfer.features.extract import View, model_input
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.transfer.view_batches import ViewBatches

SPEC, NORMALISATION = ImageInput(24, 32), Normalisation(1 / 127.5, 127)


@pytest.fixture(scope="module")
def samples(photos, tmp_path_factory):
    folder = photos.write_photos(tmp_path_factory.mktemp("photos"), each=7)
    return load_dataset(folder, seed=0).split("train")


@pytest.fixture
def batches(samples):
    return ViewBatches(samples, SPEC, NORMALISATION, batch_size=4)


def test_plain_batches_are_the_images_as_the_device_prepares_them(batches, samples):
    rows, pixels = zip(*batches.plain(), strict=True)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(len(samples)))
    wanted = NORMALISATION.to_real(np.stack([model_input(View(sample), SPEC) for sample in samples]))
    np.testing.assert_array_equal(np.concatenate(pixels), wanted)


def test_an_epoch_has_whole_batches_of_different_images(batches, samples):
    rows = [row for some, _ in batches.epoch(0) for row in some]
    assert len(rows) == 4 * (len(samples) // 4)
    assert len(set(rows)) == len(rows)


def test_the_same_epoch_is_the_same_again_and_another_is_not(batches):
    first, again, other = (list(batches.epoch(number)) for number in (0, 0, 1))
    for (rows, pixels), (their_rows, their_pixels) in zip(first, again, strict=True):
        np.testing.assert_array_equal(rows, their_rows)
        np.testing.assert_array_equal(pixels, their_pixels)
    assert any(not np.array_equal(one[0], two[0]) for one, two in zip(first, other, strict=True))


def test_as_many_views_as_asked_come_round_again(samples):
    batches = ViewBatches(samples, SPEC, NORMALISATION, views=2)
    assert [batches.view_number(epoch) for epoch in range(5)] == [1, 2, 1, 2, 1]
    assert ViewBatches(samples, SPEC, NORMALISATION, views=0).view_number(3) == 0


def test_fewer_images_than_a_batch_are_one_batch(samples):
    (rows, _), *more = ViewBatches(samples[:3], SPEC, NORMALISATION, batch_size=8).epoch(0)
    assert sorted(rows) == [0, 1, 2]
    assert more == []


def test_an_image_that_has_gone_is_named(batches, samples, tmp_path):
    missing = replace(samples[0], path=tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        list(replace(batches, samples=[missing]).plain())
