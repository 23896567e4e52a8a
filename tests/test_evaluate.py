from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import DataError, InputError
from edgetransfer.evaluate import check_labels, evaluate, evaluate_bundle, wilson_interval
from edgetransfer.runtime import Predictor
from edgetransfer.spec.report import EvalReport

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[0] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

LABELS = ("a", "b", "c")


def one_hot(predicted: list[int], score: float = 1.0) -> np.ndarray:
    rows = np.full((len(predicted), 3), (1 - score) / 2)
    rows[np.arange(len(predicted)), predicted] = score
    return rows


def report_of(predicted: list[int], true: list[int], score: float = 1.0) -> EvalReport:
    return evaluate(one_hot(predicted, score), np.array(true), LABELS, split="test", artifact="x")


def test_the_figures_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 300)
    true = rng.integers(0, 3, 300)
    report = evaluate(scores, true, LABELS, split="test", artifact="x")
    predicted = scores.argmax(axis=1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(true, predicted)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(true, predicted))
    assert [c.precision for c in report.classes] == pytest.approx(list(precision))
    assert [c.recall for c in report.classes] == pytest.approx(list(recall))
    assert [c.f1 for c in report.classes] == pytest.approx(list(f1))
    assert [c.support for c in report.classes] == list(support)
    assert report.macro_f1 == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
    assert report.log_loss == pytest.approx(metrics.log_loss(true, scores))
    np.testing.assert_array_equal(report.confusion, metrics.confusion_matrix(true, predicted))


def test_a_class_that_is_never_predicted_has_precision_zero_not_nan():
    report = report_of([0, 0, 0], [0, 1, 0])
    assert (report.classes[1].precision, report.classes[1].recall, report.classes[1].f1) == (0, 0, 0)
    assert (report.classes[2].support, report.classes[2].f1) == (0, 0)
    json.dumps(report.to_json(), allow_nan=False)


def test_calibration_error_is_the_gap_between_score_and_accuracy():
    assert report_of([0] * 10, [0] * 9 + [1], score=0.9).expected_calibration_error == pytest.approx(0, abs=1e-12)
    assert report_of([0] * 10, [0] * 5 + [1] * 5, score=0.9).expected_calibration_error == pytest.approx(0.4)
    assert report_of([0, 1], [1, 0]).expected_calibration_error == pytest.approx(1)


def test_calibration_gaps_of_different_bins_do_not_cancel():
    scores = np.concatenate([one_hot([0] * 4, 0.95), one_hot([0] * 4, 0.55)])
    true = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    report = evaluate(scores, true, LABELS, split="test", artifact="x")
    assert report.expected_calibration_error == pytest.approx((0.45 + 0.45) / 2)


def test_the_interval_is_wilsons():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_the_interval_holds_the_proportion_and_stays_within_bounds(samples, data):
    successes = data.draw(st.integers(0, samples))
    low, high = wilson_interval(successes, samples)
    assert 0 <= low <= successes / samples <= high <= 1


@pytest.mark.parametrize(
    ("scores", "true", "words"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "expected scores"),
        (one_hot([0, 1]), np.array([0]), "expected scores"),
        (one_hot([0])[:, :2], np.array([0]), "expected scores"),
        (one_hot([0]), np.array([3]), "from 0 to 2"),
        (one_hot([0]), np.array([0.0]), "whole numbers"),
        (np.array([[2.0, -1.0, 0.0]]), np.array([0]), "to_scores"),
        (np.array([[np.nan, 0.5, 0.5]]), np.array([0]), "to_scores"),
    ],
)
def test_what_are_no_scores_or_labels_is_refused(scores, true, words):
    with pytest.raises(InputError, match=words):
        evaluate(scores, true, LABELS, split="test", artifact="x")


# A bundle on files


@dataclass(frozen=True)
class Photo:
    path: Path
    label: str

    @property
    def source(self) -> Path:
        return self.path


@dataclass(frozen=True)
class Photos:
    """What evaluate_bundle asks of a data set."""

    samples: tuple[Photo, ...]
    labels: tuple[str, ...] = ("blue", "green", "red")
    task: str = "single_label"

    def split(self, name: str) -> tuple[Photo, ...]:
        return self.samples if name == "test" else ()


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    found = []
    for i in range(30):
        frame = rng.integers(0, 150, (20 + i, 50, 3))
        frame[:, :, i % 3] += 80 if i < 27 else 0
        found.append(Photo(tmp_path / f"{i}.png", tiny.LABELS[i % 3]))
        image.fromarray(frame.astype(np.uint8)).save(found[-1].path)
    return Photos(tuple(found))


@pytest.mark.parametrize("workers", [1, 3, None])
@pytest.mark.parametrize("scores_in_graph", [False, True])
def test_a_bundle_is_evaluated_as_its_predictor_answers(tmp_path, photos, workers, scores_in_graph):
    bundle = tiny.make_bundle(tmp_path / "a.bundle", scores_in_graph=scores_in_graph)
    calls = []
    report = evaluate_bundle(bundle, photos, workers=workers, progress=lambda done, total: calls.append((done, total)))
    with Predictor.load(bundle) as predictor:
        right = [predictor.predict(photo.path).label == photo.label for photo in photos.samples]
    assert report.accuracy == sum(right) / 30
    assert 0.9 <= report.accuracy <= 1
    assert [c.label for c in report.classes] == list(tiny.LABELS)
    assert calls == [(i, 30) for i in range(1, 31)]
    assert (report.split, report.samples, report.artifact) == ("test", 30, "tiny")


def test_other_labels_than_the_bundles_are_named(tmp_path, photos):
    bundle = tiny.make_bundle(tmp_path / "a.bundle")
    with pytest.raises(DataError) as caught:
        evaluate_bundle(bundle, Photos(photos.samples, ("red", "green", "violet")))
    assert caught.value.problems == ("unknown to the bundle: 'violet'", "missing from the data: 'blue'")
    check_labels(("a", "b"), ("b", "a"))


def test_an_empty_split_is_refused(tmp_path, photos):
    with pytest.raises(DataError, match="'val' split"):
        evaluate_bundle(tiny.make_bundle(tmp_path / "a.bundle"), photos, "val")


def test_a_photo_that_cannot_be_read_ends_the_run_with_its_name(tmp_path, photos):
    photos.samples[4].path.write_bytes(b"not a photo")
    with pytest.raises(InputError, match=r"4\.png"):
        evaluate_bundle(tiny.make_bundle(tmp_path / "a.bundle"), photos)
