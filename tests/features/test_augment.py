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


def test_views_of_a_grey_photo_are_brighter_and_darker_and_as_grey(photo):
    spec = ImageInput(24, 32, channels=1)
    views = [augmented(photo[:, :, 1:2], spec, sha256="ab", seed=0, view=number) for number in range(1, 30)]
    assert {one.shape for one in views} == {(24, 32, 1)}
    means = [float(one.mean()) for one in views]
    assert max(means) - min(means) > 15


def test_a_fourth_channel_is_moved_with_the_photo_and_keeps_its_own_values(photo):
    """Of four equal channels the colours have no saturation to lose: all four stay equal, erased parts aside."""
    four = np.repeat(photo[:, :, :1], 4, axis=2)
    spec = ImageInput(24, 32, channels=4)
    views = [augmented(four, spec, sha256="ab", seed=0, view=number) for number in range(1, 20)]
    same = [(one == one[:, :, :1]).all(axis=2).mean() for one in views]
    assert min(same) > 0.7  # a rectangle of one colour may be painted over
    assert sum(share == 1 for share in same) > 5


def test_saturation_does_not_touch_the_fourth_channel(photo):
    """The colours' views do not depend on the fourth channel's values but by the contrast's centre."""
    four = np.dstack([photo, np.full(photo.shape[:2], round(photo.mean()), np.uint8)])
    view = augmented(four, ImageInput(24, 32, channels=4), sha256="ab", seed=0, view=1)
    assert len(set(view[:, :, 3].ravel().tolist())) <= 2  # flat as before, but for what may be painted over
