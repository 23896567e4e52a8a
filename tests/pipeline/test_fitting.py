from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.pipeline import fitting
from edgetransfer.pipeline.fitting import choose_fit
from edgetransfer.pipeline.options import Silent
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.spec.preprocess import FITS, ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES

SPEC = ImageInput(32, 32)


@pytest.fixture(scope="module")
def graph(small_float):
    return carry_out(small_float, RECIPES["float32"], Normalisation(1 / 128, 127))


def choose(folder, graph):
    return choose_fit(graph, load_dataset(folder), SPEC, engine="litert", workers=2, watcher=Silent())


def test_square_photos_leave_nothing_to_choose(tmp_path, photos, graph):
    folder = photos.write_photos(tmp_path, each=6, size_px=(40, 40))
    assert choose(folder, graph) == (SPEC, {})


def test_each_way_is_tried_and_squash_stays_unless_another_is_clearly_better(tmp_path, photos, graph):
    chosen, accuracy = choose(photos.write_photos(tmp_path, each=20, size_px=(30, 60)), graph)
    assert set(accuracy) == set(FITS)
    assert chosen.fit == "squash" or accuracy[chosen.fit] > accuracy["squash"]


def test_another_way_must_win_by_more_than_a_standard_error():
    squash = np.array([True] * 80 + [False] * 20)
    lucky = squash.copy()
    lucky[80] = True
    assert not fitting._clearly_better(squash, squash)
    assert fitting._clearly_better(np.ones(100, bool), squash)
    mixed = np.roll(squash, 10)
    mixed[[0, 1]] = True
    assert not fitting._clearly_better(mixed, squash)  # two images more, but 22 changed sides
    assert fitting._clearly_better(lucky, squash) == (np.sqrt(0.01 * 0.99) / 10 < 0.01)


def test_leaving_an_image_out_in_closed_form_is_leaving_it_out():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(30, 6)).astype(np.float32)
    features -= features.mean(axis=0)
    targets = np.eye(3)[rng.integers(0, 3, 30)]
    targets -= targets.mean(axis=0)
    gram, ridge = features.astype(float) @ features.T, 2.0
    closed = fitting.left_out_scores(gram, targets, ridge)
    others = np.arange(30) != 7
    alpha = np.linalg.solve(gram[np.ix_(others, others)] + ridge * np.eye(29), targets[others])
    np.testing.assert_allclose(closed[7], gram[7, others] @ alpha, atol=1e-8)


def test_crop_loses_where_the_label_is_at_the_edge(tmp_path, graph):
    """Wide blotchy images with a bright or dark bar at one end, which the centre crop does not see."""
    rng = np.random.default_rng(0)
    for name, level in (("bright", 255), ("dark", 0)):
        (tmp_path / name).mkdir()
        for number in range(40):
            image = np.kron(rng.integers(60, 196, (4, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
            image[:, :20] = level
            Image.fromarray(image).save(tmp_path / name / f"{number}.png")
    chosen, accuracy = choose(tmp_path, graph)
    assert chosen.fit != "crop"
    assert accuracy["crop"] < 0.8 < accuracy["squash"]
