from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.features.augment import augmented
from edgetransfer.spec.preprocess import ImageInput

SPEC = ImageInput(24, 32)


@pytest.fixture
def photo():
    data = pytest.importorskip("skimage.data")
    return data.chelsea()[::4, ::4].copy()


def view(photo, *, sha256="ab", seed=0, number=1):
    return augmented(photo, SPEC, sha256=sha256, seed=seed, view=number)


def test_a_view_has_the_shape_that_the_model_takes(photo):
    assert view(photo).shape == SPEC.shape
    assert view(photo).dtype == np.uint8


def test_the_same_content_seed_and_number_give_the_same_view(photo):
    assert np.array_equal(view(photo), view(photo))


@pytest.mark.parametrize("other", [{"sha256": "cd"}, {"seed": 1}, {"number": 2}])
def test_another_content_seed_or_number_gives_another_view(other, photo):
    assert not np.array_equal(view(photo), view(photo, **other))


def test_views_differ_among_themselves_but_still_show_the_photo(photo):
    views = np.stack([view(photo, number=number).astype(float) for number in range(1, 40)])
    assert views.std(axis=0).mean() > 10
    assert abs(views.mean() - photo.mean()) < 25


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 2, 3)])
def test_tiny_and_narrow_photos_can_be_augmented(shape):
    image = np.full(shape, 100, np.uint8)
    for number in range(1, 10):
        assert view(image, number=number).shape == SPEC.shape
