"""Rehearsal: the old task's images take part, each answered by its own head."""

import numpy as np
import pytest

from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, RecipeError
from edgetransfer.spec.dense import Dense
from edgetransfer.transfer.replay import ReplayLesson, drawn_for_replay

keras = pytest.importorskip("keras", reason="building needs the extra 'train'")


@pytest.fixture(scope="module")
def old(photos, tmp_path_factory):
    return load_dataset(photos.write_photos(tmp_path_factory.mktemp("photos"), each=9), seed=0).split("train")


def test_as_many_are_drawn_as_the_share_asks_for_whatever_the_order(old):
    drawn = drawn_for_replay(old, 14, 0.3)
    assert len(drawn) == 6  # of 20
    assert drawn == drawn_for_replay(old[::-1], 14, 0.3)
    assert len(drawn_for_replay(old, 1000, 0.5)) == len(old)


def test_images_of_the_new_data_are_not_drawn(old):
    known = {sample.sha256 for sample in old[:-2]}
    assert {sample.sha256 for sample in drawn_for_replay(old, 100, 0.5, known=known)} == {
        sample.sha256 for sample in old[-2:]
    }
    with pytest.raises(DataError, match="not in the new data"):
        drawn_for_replay(old, 100, 0.5, known={sample.sha256 for sample in old})


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_that_leaves_nothing_of_one_task_is_refused(share, old):
    with pytest.raises(RecipeError, match="--replay-share"):
        drawn_for_replay(old, 10, share)


def lesson(smoothing=0.1):
    keras.utils.set_random_seed(1)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu")(pixels)
    backbone = keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))
    heads = tuple((Dense(np.zeros((5, n), np.float32), np.zeros(n, np.float32)),) for n in (3, 2))
    return ReplayLesson(backbone, heads, (np.array([2, 0]), np.array([1, 1, 0])), label_smoothing=smoothing)


def test_each_image_counts_once_and_by_the_head_of_its_own_task():
    made = lesson()
    rng = np.random.default_rng(0)
    new, old = (rng.normal(size=(5, n)).astype(np.float32) for n in (3, 2))
    wanted = made.targets(np.array([4, 0, 2, 1, 3]), 7)
    found = sum(float(loss(w, o)) for loss, w, o in zip(made.loss, wanted, (new, old), strict=True))

    def cross_entropy(logits, label):
        smoothed = 0.9 * np.eye(len(logits))[label] + 0.1 / len(logits)
        return -(smoothed * (logits - np.log(np.exp(logits).sum()))).sum()

    by_hand = [(old, 0, 0), (new, 1, 2), (old, 2, 1), (new, 3, 0), (old, 4, 1)]
    assert found == pytest.approx(
        np.mean([cross_entropy(table[row], label) for table, row, label in by_hand]), rel=1e-5
    )


def test_both_heads_learn_and_the_first_output_is_the_new_tasks():
    made = lesson(0.0)
    assert [tuple(one.shape) for one in made.model.outputs] == [(None, 3), (None, 2)]
    made.model.compile(optimizer=keras.optimizers.Adam(0.05), loss=made.loss)
    rng = np.random.default_rng(5)
    pixels = rng.normal(size=(5, 8, 8, 3)) + rng.normal(0, 3, size=(5, 1, 1, 3))  # each of a colour of its own
    wanted = made.targets(np.arange(5), 0)
    first = made.model.test_on_batch(pixels, wanted)
    for _ in range(60):
        made.model.train_on_batch(pixels, wanted)
    made.model.reset_metrics()
    last = made.model.test_on_batch(pixels, wanted)
    assert all(after < 0.5 * before for after, before in zip(last, first, strict=True))  # in all, and of each head
