"""Tuning: it learns, keeps the best epoch, and a run that was interrupted ends as one that was not."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.transfer.labels_lesson import LabelsLesson
from edgetransfer.transfer.precision import settled
from edgetransfer.transfer.tuning import TuneOptions, tune
from edgetransfer.transfer.view_batches import ViewBatches

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")

HOW = TuneOptions(epochs=3, unfreeze=(0.4, 1.0), learning_rate=3e-3, batch_size=8)


class Interrupted(Exception):
    """What stops a run in these tests."""


class Stops:
    """A watcher that stops the run at a step."""

    def __init__(self, at):
        self.at = at

    def step(self, done, total):
        if done == self.at:
            raise Interrupted


@pytest.fixture(scope="module")
def data(photos, tmp_path_factory):
    folder = photos.write_photos(tmp_path_factory.mktemp("photos"), each=14, size_px=(32, 32))
    return load_dataset(folder, seed=0)


@pytest.fixture
def lesson(small_keras, data):
    backbone = keras.models.clone_model(small_keras)
    backbone.set_weights(small_keras.get_weights())
    head = (Dense(np.zeros((24, 3), np.float32), np.zeros(3, np.float32)),)
    return LabelsLesson(backbone, head, numbers(data, "train"), classes=3, label_smoothing=0.1)


@pytest.fixture(scope="module")
def batches(data):
    train = ViewBatches(data.split("train"), ImageInput(32, 32), Normalisation(1 / 127.5, 127), batch_size=8)
    return train, (replace(train, samples=data.split("val"), views=0), numbers(data, "val"))


def numbers(data, split):
    return np.array([data.labels.index(sample.label) for sample in data.split(split)])


def weights(lesson):
    return [np.array(weight) for weight in lesson.model.weights]


def test_tuning_learns_and_ends_with_the_best_epoch(lesson, batches):
    found = tune(lesson, *batches, replace(HOW, epochs=6))
    assert found.epochs[-1].train_loss < found.epochs[0].train_loss
    assert found.best == max(found.epochs, key=lambda epoch: epoch.rank)
    logits = lesson.model.predict_on_batch(np.concatenate([pixels for _, pixels in batches[1][0].plain()]))
    assert (logits.argmax(axis=1) == batches[1][1]).mean() == pytest.approx(found.best.val_accuracy)


def test_where_no_epoch_is_better_nothing_is_changed(lesson, batches):
    before = weights(lesson)
    found = tune(lesson, *batches, replace(HOW, learning_rate=1e-30))
    assert found.best.number == -1 or found.best.val_loss < found.epochs[0].val_loss + 1e-6
    for one, other in zip(before, weights(lesson), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_16_bits_it_learns_as_well_and_the_model_is_float32_again(precision, lesson, small_keras, batches):
    before = weights(lesson)
    found = tune(lesson, *batches, replace(HOW, precision=precision))
    assert found.epochs[-1].train_loss < found.epochs[0].train_loss
    assert {layer.compute_dtype for layer in lesson.backbone.layers} == {"float32"}
    assert {weight.dtype for weight in lesson.model.weights} == {"float32"}
    assert max(np.abs(one - other).max() for one, other in zip(before, weights(lesson), strict=True)) > 1e-4
    assert all(np.isfinite(one).all() for one in weights(lesson))


def test_on_a_cpu_nothing_is_gained_by_16_bits_so_they_are_not_taken():
    tensorflow = pytest.importorskip("tensorflow", reason="building needs the extra 'train'")
    if tensorflow.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU here")
    assert settled("auto", aware=False) == settled("auto", aware=True) == "float32"


def test_the_integer_graph_is_not_imitated_in_16_bits():
    assert settled("float32", aware=True) == "float32"
    with pytest.raises(RecipeError, match="would blur"):
        settled("mixed_float16", aware=True)


@pytest.mark.parametrize("stop", [2, 8])
def test_an_interrupted_run_goes_on_to_the_same_weights(stop, lesson, small_keras, batches, data, tmp_path):
    whole = tune(lesson, *batches, HOW)
    again = LabelsLesson(
        keras.models.clone_model(small_keras),
        (Dense(np.zeros((24, 3), np.float32), np.zeros(3, np.float32)),),
        numbers(data, "train"),
        classes=3,
        label_smoothing=0.1,
    )
    again.backbone.set_weights(small_keras.get_weights())
    path = tmp_path / "state.checkpoint"
    with pytest.raises(Interrupted):
        tune(again, *batches, HOW, checkpoint=path, watcher=Stops(stop))
    resumed = tune(again_from_the_start(again, small_keras), *batches, HOW, checkpoint=path)
    assert [epoch.number for epoch in resumed.epochs] == [0, 1, 2]
    for one, other in zip(weights(lesson), weights(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert resumed.best.number == whole.best.number


def again_from_the_start(lesson, small_keras):
    """A new process would build the model anew."""
    lesson.backbone.set_weights(small_keras.get_weights())
    lesson.model.layers[-1].set_weights([np.zeros((24, 3), np.float32), np.zeros(3, np.float32)])
    return lesson


def test_the_checkpoint_of_another_run_is_refused(lesson, batches, tmp_path):
    path = tmp_path / "state.checkpoint"
    tune(lesson, *batches, replace(HOW, epochs=2), checkpoint=path, fingerprint="one")
    with pytest.raises(RecipeError, match="other data, options or packages"):
        tune(lesson, *batches, replace(HOW, epochs=2), checkpoint=path, fingerprint="another")


def test_a_damaged_checkpoint_is_refused(lesson, batches, tmp_path):
    path = tmp_path / "state.checkpoint"
    path.write_bytes(b"PK\x03\x04 not much of a file")
    with pytest.raises(RecipeError, match="damaged"):
        tune(lesson, *batches, HOW, checkpoint=path)


def test_a_rate_that_explodes_says_so(lesson, batches):
    with np.errstate(all="ignore"), pytest.raises(RecipeError, match="lower --learning-rate"):
        tune(lesson, *batches, replace(HOW, learning_rate=3e38, optimizer="sgd"))
