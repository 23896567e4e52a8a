"""Streams in an app: the answers of the whole clip, however it comes, smoothed as clips are; and events, once each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.errors import InputError
from edgetransfer.runtime import EventDetector, FrameStream, Predictor, SoundStream
from edgetransfer.runtime.stream import Event, Smoother, said

HOP, WINDOW = 7_680, 15_600  # samples of YAMNet's windows


@pytest.fixture(scope="module")
def predictor(tiny_sounds, tmp_path_factory):
    with Predictor.load(tiny_sounds.make_sound_bundle(tmp_path_factory.mktemp("b") / "sounds.bundle")) as opened:
        yield opened


@pytest.fixture(scope="module")
def clip(tiny_sounds):
    """Quiet, then low, then high: 5.3 s."""
    return np.concatenate([tiny_sounds.sound(*one) for one in (("quiet", 1.5), ("low", 2.0), ("high", 1.8))])


def answers(stream, pieces):
    return [answer for piece in pieces for answer in stream.push(piece)] + stream.finish()


def test_each_window_is_answered_as_if_it_were_the_clip(predictor, clip):
    found = answers(SoundStream(predictor), [clip])
    assert [answer.result for answer in found] == [
        predictor.predict(clip[start : start + WINDOW]) for start in range(0, len(found) * HOP, HOP)
    ]
    assert {answer.result.label for answer in found} == {"quiet", "low", "high"}


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 84_800), max_size=6).map(sorted), smooth=st.integers(1, 4))
def test_the_answers_do_not_depend_on_how_the_sound_comes_in(predictor, clip, cuts, smooth):
    whole = answers(SoundStream(predictor, smooth=smooth), [clip])
    assert answers(SoundStream(predictor, smooth=smooth), np.split(clip, cuts)) == whole


def test_smoothed_over_all_windows_the_last_answer_is_the_clips(predictor, clip):
    found = answers(SoundStream(predictor, smooth=100), np.split(clip, [3, 20_000]))
    assert found[-1].result == predictor.predict(clip)


def test_smoothing_is_over_the_last_windows_only(predictor, clip):
    found = answers(SoundStream(predictor, smooth=2), [clip])
    assert found[5].result == predictor.predict(clip[4 * HOP : 5 * HOP + WINDOW])


def test_one_window_of_another_sound_does_not_change_a_smoothed_answer(predictor, tiny_sounds):
    low, high = tiny_sounds.sound("low", 3), tiny_sounds.sound("high", 0.3)
    sound = np.concatenate([low, high, low])
    plain = [answer.result.label for answer in answers(SoundStream(predictor), [sound])]
    smooth = [answer.result.score for answer in answers(SoundStream(predictor, smooth=5), [sound])]
    assert plain[0] == plain[-1] == "low"
    assert min(smooth) > min(answer.result.scores["low"] for answer in answers(SoundStream(predictor), [sound]))


def test_an_answer_says_which_part_of_the_stream_it_is_about(predictor, clip):
    found = answers(SoundStream(predictor), [clip])
    assert [answer.start_s for answer in found] == pytest.approx([0.48 * number for number in range(len(found))])
    assert found[0].end_s == pytest.approx(0.975)
    assert found[-1].end_s == len(clip) / 16_000  # the silence that fills the last window up is not the stream's
    assert found[-2].end_s < found[-1].end_s


def test_an_answer_comes_with_the_sample_that_completes_its_window(predictor, clip):
    stream = SoundStream(predictor)
    assert stream.push(clip[: WINDOW - 1]) == []
    assert len(stream.push(clip[WINDOW - 1 : WINDOW])) == 1


def test_a_stream_shorter_than_a_window_is_answered_at_its_end_and_an_empty_one_never(predictor, clip):
    stream = SoundStream(predictor)
    assert stream.finish() == []
    stream.push(clip[:999])
    assert [answer.result for answer in stream.finish()] == [predictor.predict(clip[:999])]


def test_after_its_end_a_stream_begins_anew(predictor, clip):
    stream = SoundStream(predictor, smooth=3)
    assert answers(stream, [clip]) == answers(stream, [clip])


def test_16_bit_samples_are_taken_as_recorders_give_them(predictor, clip):
    stored = np.rint(clip * 32768).astype(np.int16)
    assert answers(SoundStream(predictor), [stored]) == answers(SoundStream(predictor), [clip])


def test_digital_silence_is_answered(predictor):
    found = answers(SoundStream(predictor), [np.zeros(40_000, np.float32)])
    assert [answer.result.label for answer in found] == ["quiet"] * 5
    assert all(np.isfinite(answer.result.score) for answer in found)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.float32([0, np.nan]), "got NaN or infinity"),
        (np.zeros(9), r"got float64 \(9,\)"),
        (np.zeros((9, 2), np.int16), r"got float32 \(9, 2\)"),
        ([0.0], "got list"),
    ],
)
def test_samples_that_are_refused_leave_the_stream_as_it_was(predictor, clip, samples, message):
    stream = SoundStream(predictor, smooth=2)
    found = stream.push(clip[:20_000])
    with pytest.raises(InputError, match=message):
        stream.push(samples)
    assert found + stream.push(clip[20_000:]) + stream.finish() == answers(SoundStream(predictor, smooth=2), [clip])


def test_frames_are_answered_as_photos_are(tiny_bundle, tmp_path):
    with Predictor.load(tiny_bundle.make_bundle(tmp_path / "tiny.bundle")) as predictor:
        frames = [*tiny_bundle.shades(0, 3), *tiny_bundle.shades(2, 3)]
        stream = FrameStream(predictor)
        found = [stream.push(frame, 0.1 * number) for number, frame in enumerate(frames)]
        assert [answer.result for answer in found] == predictor.predict_batch(frames)
        assert found[4].start_s == found[4].end_s == pytest.approx(0.4)
        smooth = FrameStream(predictor, smooth=2)
        both = [smooth.push(frame, 0.0).result for frame in frames]
        assert [result.label for result in both[:3]] == ["red"] * 3
        assert both[3].score < max(both[2].score, both[4].score)  # red and blue together


def test_scores_that_the_graph_computes_are_smoothed_too(tiny_bundle, tmp_path):
    with Predictor.load(tiny_bundle.make_bundle(tmp_path / "tiny.bundle", scores_in_graph=True)) as predictor:
        red, blue = tiny_bundle.shades(0, 1)[0], tiny_bundle.shades(2, 1)[0]
        stream = FrameStream(predictor, smooth=2)
        stream.push(red, 0.0)
        want = (predictor.predict(red).scores["red"] + predictor.predict(blue).scores["red"]) / 2
        assert stream.push(blue, 0.0).result.scores["red"] == pytest.approx(want, abs=1e-6)


def test_a_bundle_of_another_kind_is_refused(predictor, tiny_bundle, tmp_path):
    with pytest.raises(InputError, match="takes audio inputs, not images"):
        FrameStream(predictor)
    with (
        Predictor.load(tiny_bundle.make_bundle(tmp_path / "tiny.bundle")) as other,
        pytest.raises(InputError, match="takes image inputs, not sounds"),
    ):
        SoundStream(other)


def test_smoothing_over_no_window_is_refused(predictor):
    with pytest.raises(InputError, match="at least one window, got 0"):
        Smoother(predictor, 0)


def test_what_is_said_of_a_result_is_its_label_its_labels_or_all_of_it(predictor, tiny_bundle, tmp_path):
    from edgetransfer.runtime.decoders.multi_label import MultiLabelResult
    from edgetransfer.runtime.decoders.regression import RegressionResult
    from edgetransfer.runtime.heads import Answers

    result = predictor.predict(np.zeros(100, np.float32))
    several = MultiLabelResult(("a", "b"), {"a": 0.9, "b": 0.8, "c": 0.1})
    amount = RegressionResult(2.5, 2.0, 3.0, "kg")
    assert said(result) == "quiet"
    assert said(several) == ("a", "b")
    assert said(amount) == amount.to_json()
    assert said(Answers({"pitch": result, "things": several})) == {"pitch": "quiet", "things": ("a", "b")}


# === Events ===


def fired(detector, labels, step_s=0.5, score=0.9):
    found = [detector.push(number * step_s, label, score) for number, label in enumerate(labels)]
    return [(event.label, event.time_s) for event in found if event is not None]


def test_a_label_that_lasts_is_one_event():
    assert fired(EventDetector(), ["a", "a", "a", "b", "b", "a"]) == [("a", 0.0), ("b", 1.5), ("a", 2.5)]


def test_an_event_says_when_it_began_and_with_what_score():
    assert EventDetector().push(1.5, "a", 0.75) == Event(1.5, "a", 0.75)


def test_unknown_quiet_and_unsure_answers_are_no_events_but_end_one():
    detector = EventDetector(least_score=0.5, quiet=("background",))
    assert fired(detector, [None, "background", "a", None, "a", "background", "a"]) == [("a", 1), ("a", 2), ("a", 3)]
    assert detector.push(9.0, "b", 0.49) is None
    assert detector.push(9.1, "b", 0.5) is not None
    assert detector.push(9.2, "c", float("nan")) is None


def test_a_label_that_comes_back_too_soon_is_still_the_same_event():
    labels = ["a", None, "a", None, None, None, "a"]
    assert fired(EventDetector(refractory_s=1.5), labels) == [("a", 0.0), ("a", 3.0)]
    assert fired(EventDetector(refractory_s=2.5), labels) == [("a", 0.0)]


def test_one_event_does_not_hide_another():
    assert fired(EventDetector(refractory_s=9), ["a", "b", "a", "b"]) == [("a", 0.0), ("b", 0.5)]


@pytest.mark.parametrize("wrong", [{"refractory_s": -1}, {"refractory_s": float("nan")}, {"least_score": float("nan")}])
def test_a_detector_that_could_not_work_is_refused(wrong):
    with pytest.raises(InputError, match="events: expected a refractory time from 0 s and a score, got"):
        EventDetector(**wrong)
