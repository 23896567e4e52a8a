from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
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
    return choose_fit(graph, load_dataset(folder), SPEC, workers=2, watcher=Silent())


def test_square_photos_leave_nothing_to_choose(tmp_path, photos, graph):
    folder = photos.write_photos(tmp_path, each=6, size_px=(40, 40))
    assert choose(folder, graph) == (SPEC, {})


def test_each_way_is_tried_and_the_best_on_validation_is_taken(tmp_path, photos, graph):
    chosen, accuracy = choose(photos.write_photos(tmp_path, each=20, size_px=(30, 60)), graph)
    assert set(accuracy) == set(FITS)
    assert accuracy[chosen.fit] == max(accuracy.values())


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
