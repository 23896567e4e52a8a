from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import BundleError, InputError, OutputError, UnknownNameError
from edgetransfer.runtime import personalizer
from edgetransfer.runtime.heads import heads_folder
from edgetransfer.runtime.personalizer import MOST_UNDO, Personalizer
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.memory import MOST_A_CLASS, Memory


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return tiny_bundle.make_split_bundle(tmp_path / "tiny.bundle")


def share(predictor, frames, label):
    return np.mean([predictor.predict(frame).label == label for frame in frames])


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_new_label_is_learned_from_five_frames_and_the_old_ones_stay(bundle, tiny_bundle):
    before = files(bundle.path)
    with Predictor.load(bundle) as predictor:
        old = [
            share(predictor, tiny_bundle.shades(channel, 40, seed=5), tiny_bundle.LABELS[channel])
            for channel in range(3)
        ]
        lesson = Personalizer(predictor).teach("grey", tiny_bundle.shades(3, 5))
        assert lesson.is_new
        assert lesson.examples == 5
        assert lesson.right_after >= lesson.right_before - 0.01 - 1e-9
        assert share(predictor, tiny_bundle.shades(3, 40, seed=5), "grey") > 0.8
        new = [
            share(predictor, tiny_bundle.shades(channel, 40, seed=5), tiny_bundle.LABELS[channel])
            for channel in range(3)
        ]
        assert all(one >= other - 0.05 for one, other in zip(new, old, strict=True))
        assert predictor.labels == (*tiny_bundle.LABELS, "grey")
    assert files(bundle.path) == before


def test_what_was_learned_is_there_after_a_restart_and_verifies(bundle, tiny_bundle):
    from edgetransfer.verify import verify

    with Predictor.load(bundle) as predictor:
        Personalizer(predictor).teach("grey", tiny_bundle.shades(3, 5))
        known = [predictor.predict(frame).scores for frame in tiny_bundle.shades(3, 5, seed=8)]
    with Predictor.load(bundle.path) as predictor:
        assert [predictor.predict(frame).scores for frame in tiny_bundle.shades(3, 5, seed=8)] == known
    assert verify(bundle).passed


def test_a_known_label_is_corrected_without_becoming_another(bundle, tiny_bundle):
    dark = [frame // 3 for frame in tiny_bundle.shades(0, 8, seed=3)]
    with Predictor.load(bundle) as predictor:
        lesson = Personalizer(predictor).teach("red", dark)
        assert not lesson.is_new
        assert lesson.learned >= 0.8
        assert predictor.labels == tiny_bundle.LABELS
        assert share(predictor, tiny_bundle.shades(1, 40, seed=5), "green") > 0.9


def test_lessons_are_taken_back_one_by_one_down_to_the_head_as_it_came(bundle, tiny_bundle):
    with Predictor.load(bundle) as predictor:
        first = predictor.heads[0].to_bytes()
        teacher = Personalizer(predictor)
        teacher.teach("grey", tiny_bundle.shades(3, 4))
        second = teacher.head.to_bytes()
        teacher.teach("pink", [frame // 2 for frame in tiny_bundle.shades(0, 4)])
        assert len(teacher.head.task.labels) == 5
        assert teacher.undo().to_bytes() == second
        assert teacher.undo().to_bytes() == first
        with pytest.raises(InputError, match="no lesson to take back"):
            teacher.undo()
        teacher.teach("grey", tiny_bundle.shades(3, 4))
        assert teacher.forget_all().to_bytes() == first


def test_memory_and_history_stay_bounded(bundle, tiny_bundle):
    with Predictor.load(bundle) as predictor:
        teacher = Personalizer(predictor)
        for turn in range(MOST_UNDO + 3):
            teacher.teach("grey", tiny_bundle.shades(3, 12, seed=turn))
        memory = teacher.head.memory
        assert max(np.bincount(memory.labels)) <= MOST_A_CLASS
        assert len(list((heads_folder(bundle) / "history" / "colour").iterdir())) <= MOST_UNDO
        for _ in range(MOST_UNDO - 1):
            teacher.undo()


def test_a_lesson_that_cannot_be_kept_changes_nothing(bundle, tiny_bundle, monkeypatch):
    def full(*_):
        raise OutputError("no room")

    monkeypatch.setattr(personalizer, "add_head", full)
    with Predictor.load(bundle) as predictor:
        with pytest.raises(OutputError, match="no room"):
            Personalizer(predictor).teach("grey", tiny_bundle.shades(3, 4))
        assert predictor.labels == tiny_bundle.LABELS


def test_what_cannot_be_taught_is_refused_with_the_way_out(bundle, tiny_bundle, tmp_path):
    with Predictor.load(bundle) as predictor:
        with pytest.raises(InputError, match="at least one example"):
            Personalizer(predictor).teach("grey", [])
        with pytest.raises(InputError, match="one line of text"):
            Personalizer(predictor).teach("a\nb", tiny_bundle.shades(3, 1))
        with pytest.raises(UnknownNameError):
            Personalizer(predictor, "color")
    plain = tiny_bundle.make_split_bundle(tmp_path / "plain.bundle", memory=None)
    with Predictor.load(plain) as predictor, pytest.raises(BundleError, match="--teachable"):
        Personalizer(predictor)


def test_a_memory_survives_its_arrays_within_half_a_step():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 7)).astype(np.float32)
    memory = Memory.of(features, rng.integers(0, 3, 60))
    again = Memory.from_arrays(memory.arrays())
    assert (again.features == memory.features).all()
    kept = features[[np.abs(memory.features - one).max(axis=1).min() < np.ptp(features) / 255 for one in features]]
    assert len(kept) == len(memory.labels)
    with pytest.raises(BundleError, match="is missing"):
        Memory.from_arrays({})
