"""A teacher of any kind answers for the labels of the student's data, in their order."""

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import BundleError, DataError
from edgetransfer.features.extract import View, model_input
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.transfer.teacher import teacher_of_bundle


@pytest.fixture(scope="module")
def samples(photos, tmp_path_factory):
    return load_dataset(photos.write_photos(tmp_path_factory.mktemp("photos"), each=5), seed=0).samples


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tmp_path_factory):
    return tiny_bundle.make_bundle(tmp_path_factory.mktemp("bundles") / "whole.bundle").path


@pytest.fixture(scope="module")
def split(tiny_bundle, tmp_path_factory):
    return tiny_bundle.make_split_bundle(tmp_path_factory.mktemp("bundles") / "split.bundle").path


def test_a_bundle_answers_in_the_order_of_the_students_labels(bundle, samples):
    found = teacher_of_bundle(bundle, ("blue", "red")).outputs(samples[:4])
    assert found.features is None
    with Predictor.load(bundle) as predictor:
        for row, sample in zip(found.logits, samples, strict=False):
            red, _, blue = predictor.outputs(predictor.reader.read(sample.path))
            np.testing.assert_allclose(row, [blue, red], rtol=1e-6)


def test_it_sees_the_view_that_the_student_sees(bundle, samples):
    found = teacher_of_bundle(bundle, ("red", "green", "blue")).outputs(samples[:3], view=2, seed=5)
    loaded = Bundle.load(bundle)
    engine = open_engine("litert", loaded.model_path.read_bytes())
    for row, sample in zip(found.logits, samples, strict=False):
        pixels = model_input(View(sample, 2, 5), loaded.manifest.image)
        np.testing.assert_allclose(row, engine.output.to_real(engine.run(pixels[None]))[0], rtol=1e-6)


def test_a_split_bundle_gives_features_and_its_heads_logits(split, samples):
    teacher = teacher_of_bundle(split, ("red", "green", "blue"), head="colour")
    found = teacher.outputs(samples[:4])
    with Predictor.load(split) as predictor:
        for row, sample in zip(found.features, samples, strict=False):
            np.testing.assert_allclose(row, predictor.embed(sample.path), rtol=1e-6)
        np.testing.assert_allclose(found.logits, predictor.heads[0].logits(found.features), rtol=1e-6)
    assert teacher_of_bundle(split, ("red",)).fingerprint != teacher.fingerprint


def test_labels_that_it_does_not_know_are_named(bundle):
    with pytest.raises(DataError, match=r"does not know 'cat', 'dog'. It knows 'red', 'green', 'blue'"):
        teacher_of_bundle(bundle, ("dog", "red", "cat"))


def test_a_head_that_is_not_there_is_refused(split):
    with pytest.raises(BundleError, match=r"expected one of its heads, colour"):
        teacher_of_bundle(split, ("red",), head="shape")
