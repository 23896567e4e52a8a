from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.features import extract as extracting
from edgetransfer.features.extract import View, extract, model_input
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES

SPEC = ImageInput(32, 32)
NORMALISATION = Normalisation(1 / 128, 127)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, photos):
    return load_dataset(photos.write_photos(tmp_path_factory.mktemp("photos"), each=12))


@pytest.fixture(scope="module")
def graph(small_float, pictures):
    ranges = calibrate(small_float, pictures, NORMALISATION)
    return carry_out(small_float, RECIPES["static_int8"], NORMALISATION, ranges, pictures)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def inferences(monkeypatch):
    """Count how many images are read for the model."""
    seen = []
    real = extracting.model_input
    monkeypatch.setattr(extracting, "model_input", lambda view, spec: (seen.append(view.key), real(view, spec))[1])
    return seen


def test_features_are_what_the_engine_gives_for_each_image_by_itself(dataset, graph):
    views = [View(sample) for sample in dataset.samples]
    engine = open_engine("litert", graph)
    alone = np.concatenate([engine.run(model_input(view, SPEC)[None]) for view in views])
    assert np.array_equal(extract(graph, views, SPEC).stored, alone)
    assert extract(graph, views, SPEC).tensor == engine.output


def test_a_second_pass_reads_no_image(dataset, graph, inferences):
    views = [View(sample) for sample in dataset.samples]
    first = extract(graph, views, SPEC).stored
    assert len(inferences) == len(views)
    assert np.array_equal(extract(graph, views[::-1], SPEC).stored, first[::-1])
    assert len(inferences) == len(views)


def test_a_file_by_another_name_is_known_by_its_content(dataset, graph, inferences, tmp_path):
    sample = dataset.samples[0]
    extract(graph, [View(sample)], SPEC)
    copied = tmp_path / "renamed.png"
    copied.write_bytes(sample.path.read_bytes())
    extract(graph, [View(type(sample)(copied, sample.label, sample.split, sample.sha256, 1, 1))], SPEC)
    assert len(inferences) == 1


@pytest.mark.parametrize("change", ["graph", "fit"])
def test_another_graph_or_preprocessing_is_computed_anew(change, dataset, graph, small_float, inferences):
    views = [View(dataset.samples[0])]
    extract(graph, views, SPEC)
    if change == "graph":
        extract(carry_out(small_float, RECIPES["float32"], NORMALISATION), views, SPEC)
    else:
        extract(graph, views, ImageInput(32, 32, "crop"))
    assert len(inferences) == 2


def test_what_an_interrupted_pass_finished_is_not_computed_again(dataset, graph, inferences, monkeypatch):
    monkeypatch.setattr(extracting, "SHARD_ROWS", 8)
    views = [View(sample) for sample in dataset.samples]

    def stop(done, total):
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(graph, views, SPEC, workers=1, progress=stop)
    before = len(inferences)
    whole = extract(graph, views, SPEC, workers=1).stored
    assert len(inferences) - before == len(views) - 16
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(Path(dataset.samples[0].path).parent / "fresh"))
    assert np.array_equal(whole, extract(graph, views, SPEC).stored)


def test_the_number_of_threads_changes_nothing(dataset, graph, monkeypatch, tmp_path):
    views = [View(sample, number, 3) for sample in dataset.samples for number in (0, 1, 2)]
    one = extract(graph, views, SPEC, workers=1).stored
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path / "other"))
    assert np.array_equal(one, extract(graph, views, SPEC, workers=4).stored)


def test_progress_ends_at_the_number_of_views(dataset, graph):
    seen = []
    views = [View(sample) for sample in dataset.samples]
    extract(graph, views, SPEC, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(views), len(views))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_training_and_the_device_give_the_model_the_same_bytes(fit, dataset, tiny_bundle, tmp_path, monkeypatch):
    """What training extracts features from, and what a Predictor hands to its engine for the same file."""
    spec = ImageInput(tiny_bundle.SIDE_PX, tiny_bundle.SIDE_PX, fit)
    predictor = Predictor.load(tiny_bundle.make_bundle(tmp_path / "tiny.bundle", preprocess=spec))
    given = []
    run = Predictor.run
    monkeypatch.setattr(Predictor, "run", lambda self, x: (given.append(x.copy()), run(self, x))[1])
    for sample in dataset.samples[:5]:
        predictor.predict(sample.path)
        assert given[-1].tobytes() == model_input(View(sample), spec).tobytes()
