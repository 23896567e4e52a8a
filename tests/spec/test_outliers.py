from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import BundleError, InputError
from edgetransfer.spec.outliers import OutlierDetector, Space, squared_distances, strangeness, to_steps


def detector(centres=((1, 0, 0), (0, 1, 0)), labels=(0, 1), ambiguity=0.0, threshold=0.5, counts=None):
    stored, steps = to_steps(np.array(centres, float))
    rows, width = stored.shape
    return OutlierDetector(
        space=Space(np.zeros(width, np.float16), np.ones(width, np.float16)),
        stored=stored,
        steps=steps,
        labels=np.array(labels, np.uint16),
        counts=np.array([1] * rows if counts is None else counts, np.uint32),
        spread=np.full(width, 0.1, np.float16),
        ambiguity=ambiguity,
        threshold=threshold,
        false_reject_rate=0.05,
    )


def features(*rows):
    return np.array(rows, np.float32)


def test_the_score_is_the_distance_to_the_nearest_centre_whatever_the_length():
    found = detector().score(features((5, 0, 0), (0.1, 0, 0), (0, 0, 3), (1, 1, 0)))
    assert found == pytest.approx([0, 0, 2**0.5, (2 - 2**0.5) ** 0.5], abs=1e-6)
    assert detector().rejects(features((5, 0, 0), (0, 0, 3))).tolist() == [False, True]


def test_shift_and_scale_come_before_the_length_is_divided_out():
    space = Space(np.array([1, 0], np.float16), np.array([2, 1], np.float16))
    np.testing.assert_allclose(space.place(features((2.5, 4))), [(0.6, 0.8)])


def test_another_class_as_near_makes_an_input_stranger():
    plain, doubtful = (detector(ambiguity=ambiguity) for ambiguity in (0.0, 1.0))
    between, beside = features((1, 1, 0)), features((1, 0.2, 0))
    assert doubtful.score(between) == pytest.approx(plain.score(between))
    assert doubtful.score(beside) < 0.5 * plain.score(beside)


def test_a_second_centre_of_the_same_class_is_no_ambiguity():
    two = detector(((1, 0, 0), (1, 0.1, 0), (0, 1, 0)), (0, 0, 1), ambiguity=1.0)
    far_class = squared_distances(two.space.place(features((1, 0.05, 0))), two.centres)
    assert strangeness(far_class, two.labels, 1.0)[0] < strangeness(far_class, np.arange(3), 1.0)[0]


def test_ambiguity_needs_a_second_class():
    one = detector(((1, 0, 0), (0, 1, 0)), (0, 0), ambiguity=2.0)
    assert one.score(features((0, 0, 1))) == pytest.approx([2**0.5])


def test_centres_of_two_classes_at_one_place_divide_nothing_by_zero():
    same = detector(((1, 0, 0), (1, 0, 0)), (0, 1), ambiguity=1.0)
    assert same.score(features((1, 0, 0), (0, 1, 0))) == pytest.approx([0, 2**0.5], abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_finite_numbers_are_rejected_and_leave_the_others_alone(bad):
    found = detector().score(features((1, 0, 0), (bad, 0, 0)))
    assert found.tolist() == [pytest.approx(0, abs=1e-6), np.inf]
    assert detector(threshold=1e300).rejects(features((bad, 0, 0))).all()


def test_features_of_nothing_have_no_direction_and_are_a_whole_length_away():
    assert detector().score(features((0, 0, 0))) == pytest.approx([1])


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), np.zeros((1, 4), np.float32)])
def test_features_of_another_shape_are_refused(wrong):
    with pytest.raises(InputError, match=r"expected features \(n, 3\)"):
        detector().score(wrong)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_detector_comes_back_from_its_arrays_as_it_was(rows, width, seed):
    draw = np.random.default_rng(seed)
    one = detector(draw.normal(size=(rows, width)), draw.integers(0, 3, rows), ambiguity=0.5, threshold=0.3)
    again = OutlierDetector.from_arrays(one.arrays())
    some = draw.normal(size=(5, width)).astype(np.float32)
    np.testing.assert_array_equal(again.score(some), one.score(some))
    assert (again.threshold, again.false_reject_rate) == (0.3, 0.05)
    assert all(np.array_equal(array, one.arrays()[name]) for name, array in again.arrays().items())


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20))
def test_a_stored_row_is_off_by_half_a_step_at_most(values):
    stored, steps = to_steps(np.array([values]))
    assert np.abs(stored * steps.astype(float)[:, None] - values).max() <= 0.5001 * steps[0]


def test_the_arrays_of_six_classes_take_some_kilobytes():
    draw = np.random.default_rng(0)
    one = detector(draw.normal(size=(24, 1280)), np.repeat(np.arange(6), 4))
    assert one.size_bytes == 24 * (1280 + 4 + 2 + 4) + 3 * 2 * 1280 + 3 * 8


def test_class_means_weigh_centres_by_their_samples():
    one = detector(((1, 0, 0), (0, 1, 0), (0, 0, 1)), (0, 0, 1), counts=(3, 1, 2))
    np.testing.assert_allclose(one.class_means, [(0.75, 0.25, 0), (0, 0, 1)], atol=1e-6)


def test_a_class_learned_later_is_strange_no_more():
    before = detector(((1, 0, 0), (0, 1, 0)), (0, 1), ambiguity=1.0)
    shots = features((0, 0.1, 1), (0.1, 0, 1))
    after = before.with_class(shots, 2)
    assert before.rejects(shots).all()
    assert not after.rejects(np.concatenate([shots, features((0.05, 0.05, 1))])).any()
    assert after.class_means.shape == (3, 3)
    mean = before.space.place(shots).mean(axis=0)
    np.testing.assert_allclose(after.class_means[2], mean, atol=1 / 127)
    np.testing.assert_allclose(after.class_means[:2], before.class_means)


@pytest.mark.parametrize("wrong", [features().reshape(0, 3), features((1, 2)), features((1, 2, np.nan))])
def test_a_class_cannot_be_learned_from_what_are_no_features(wrong):
    with pytest.raises(InputError, match="of a class"):
        detector().with_class(wrong, 2)


def test_arrays_that_are_missing_are_named():
    arrays = detector().arrays()
    with pytest.raises(BundleError, match="missing: shift, steps"):
        OutlierDetector.from_arrays({name: arrays[name] for name in arrays if name not in ("shift", "steps")})
    with pytest.raises(BundleError, match="settings"):
        OutlierDetector.from_arrays({name: arrays[name] for name in arrays if name != "settings"})


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("steps", np.ones(3), "other shapes: .'steps'"),
        ("scale", np.ones(4), "other shapes: .'scale'"),
        ("centres", np.zeros((0, 3)), "expected 0 centres"),
        ("centres", np.zeros(3), "expected 0 centres"),
        ("shift", np.array([0, np.nan, 0]), "NaN"),
        ("settings", np.array([np.nan, 0.05, 0]), "NaN"),
        ("settings", np.array([1, 0.05, -1]), "ambiguity"),
        ("settings", np.array([1, 1.5, 0]), "false reject rate"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(name, array, words):
    with pytest.raises(BundleError, match=words):
        OutlierDetector.from_arrays(detector().arrays() | {name: array})
