from __future__ import annotations

import json

import numpy as np
import pytest

from edgetransfer.errors import InputError
from edgetransfer.evaluate_tasks import DRAWS, evaluate_multi_label, evaluate_ordinal, evaluate_regression
from edgetransfer.spec.task import Task

SEVERAL = Task("multi_label", ("a", "b", "c"), thresholds=(0.5, 0.3, 0.6))
SCALE = Task("ordinal", ("low", "middle", "high"))
WEIGHT = Task("regression", ("weight",), unit="kg", half_width=1.5)
WHERE = {"split": "test", "artifact": "x"}
rng = np.random.default_rng(0)
SCORES = np.round(rng.random((200, 3)), 2)
TARGETS = (SCORES + 0.6 * rng.normal(size=(200, 3)) > 0.6).astype(int)


@pytest.fixture
def metrics():
    return pytest.importorskip("sklearn.metrics")


def test_the_figures_of_several_labels_are_those_of_scikit_learn(metrics):
    report = evaluate_multi_label(SCORES, TARGETS, SEVERAL, **WHERE)
    given = np.greater_equal(SCORES, SEVERAL.thresholds)
    assert report.micro_f1.value == pytest.approx(metrics.f1_score(TARGETS, given, average="micro"))
    assert report.macro_f1.value == pytest.approx(metrics.f1_score(TARGETS, given, average="macro"))
    assert report.mean_average_precision.value == pytest.approx(metrics.average_precision_score(TARGETS, SCORES))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(TARGETS, given)
    assert [one.precision for one in report.labels] == pytest.approx(list(precision))
    assert [one.recall for one in report.labels] == pytest.approx(list(recall))
    assert [one.f1 for one in report.labels] == pytest.approx(list(f1))
    assert [one.support for one in report.labels] == list(support)
    own = metrics.average_precision_score(TARGETS, SCORES, average=None)
    assert [one.average_precision for one in report.labels] == pytest.approx(list(own))


def test_the_figures_of_a_scale_are_those_of_scikit_learn(metrics):
    scores = rng.dirichlet(np.ones(3), 300)
    true = np.clip(scores.argmax(axis=1) + rng.integers(-1, 2, 300), 0, 2)
    report = evaluate_ordinal(scores, true, SCALE, **WHERE)
    answers = (np.cumsum(scores, axis=1)[:, :2] < 0.5).sum(axis=1)
    assert report.accuracy.value == pytest.approx(metrics.accuracy_score(true, answers))
    assert report.mean_absolute_error.value == pytest.approx(metrics.mean_absolute_error(true, answers))
    kappa = metrics.cohen_kappa_score(true, answers, weights="quadratic")
    assert report.quadratic_kappa.value == pytest.approx(kappa)
    np.testing.assert_array_equal(report.confusion, metrics.confusion_matrix(true, answers))


def test_the_figures_of_a_quantity_are_those_of_scikit_learn(metrics):
    true = 1e4 + rng.normal(size=300)
    values = true + 0.7 * rng.normal(size=300)
    report = evaluate_regression(values[:, None], true, WEIGHT, **WHERE)
    assert report.mean_absolute_error.value == pytest.approx(metrics.mean_absolute_error(true, values))
    assert report.root_mean_square_error.value == pytest.approx(metrics.root_mean_squared_error(true, values))
    assert report.r2.value == pytest.approx(metrics.r2_score(true, values), rel=1e-6)
    assert report.interval_coverage is not None
    assert report.interval_coverage.value == np.mean(np.abs(values - true) <= 1.5)


def test_an_interval_is_that_of_examples_drawn_again():
    errors = np.random.default_rng(1).exponential(size=400)
    report = evaluate_regression(errors, np.zeros(400), WEIGHT, **WHERE)
    found = report.mean_absolute_error
    half = 1.96 * errors.std() / 20
    assert (found.low, found.high) == (
        pytest.approx(found.value - half, abs=0.15 * half),
        pytest.approx(found.value + half, abs=0.15 * half),
    )


def test_every_interval_holds_its_figure_and_the_same_seed_gives_the_same():
    reports = [evaluate_multi_label(SCORES, TARGETS, SEVERAL, **WHERE, seed=seed) for seed in (3, 3, 4)]
    for figure in (reports[0].micro_f1, reports[0].macro_f1, reports[0].mean_average_precision):
        assert 0 < figure.low < figure.value < figure.high < 1
    assert reports[0] == reports[1] != reports[2]


def test_draws_of_many_examples_are_made_in_parts():
    n = 3 * 4_000_000 // DRAWS
    errors = np.random.default_rng(1).random(n)
    found = evaluate_regression(errors, np.zeros(n), WEIGHT, **WHERE).mean_absolute_error
    assert found.high - found.low == pytest.approx(2 * 1.96 * errors.std() / np.sqrt(n), rel=0.1)


def test_a_label_that_nobody_has_is_no_nan():
    targets = TARGETS.copy()
    targets[:, 1] = 0
    report = evaluate_multi_label(SCORES, targets, SEVERAL, **WHERE)
    assert (report.labels[1].average_precision, report.labels[1].f1, report.labels[1].support) == (None, 0, 0)
    known = [one.average_precision for one in report.labels if one.average_precision is not None]
    assert report.mean_average_precision.value == pytest.approx(np.mean(known))
    json.dumps(report.to_json(), allow_nan=False)


def test_perfect_and_constant_answers_have_figures():
    alike = evaluate_ordinal(np.eye(3)[[1, 1, 1]], np.array([1, 1, 1]), SCALE, **WHERE)
    assert (alike.accuracy.value, alike.quadratic_kappa.value) == (1, 1)
    constant = evaluate_regression(np.ones(4), np.full(4, 2.0), WEIGHT, **WHERE)
    assert (constant.r2.value, constant.mean_absolute_error.value) == (0, 1)


@pytest.mark.parametrize(
    ("report", "parts"),
    [
        (lambda: evaluate_multi_label(SCORES, TARGETS, SEVERAL, **WHERE), ("micro F1 0.", "threshold", "200 samples")),
        (lambda: evaluate_ordinal(np.eye(3), np.arange(3), SCALE, **WHERE), ("accuracy 100.00%", "middle", "kappa")),
        (
            lambda: evaluate_regression(np.arange(9.0), np.arange(9.0) + 1, WEIGHT, **WHERE),
            ("mean absolute error 1 (95 % interval 1 to 1) kg", "holds the true value in 100.0%", "90% promised"),
        ),
    ],
)
def test_reports_are_text_and_json(report, parts):
    found = report()
    for part in parts:
        assert part in found.as_text()
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["report"].startswith("evaluate_")
    assert (data["artifact"], data["split"], data["samples"]) == ("x", "test", found.samples)


def test_without_an_interval_nothing_is_said_of_it():
    report = evaluate_regression(np.arange(9.0), np.arange(9.0), Task("regression", ("count",)), **WHERE)
    assert report.interval_coverage is None
    assert report.to_json()["interval_coverage"] is None
    assert "promised" not in report.as_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate_multi_label(SCORES, TARGETS[:5], SEVERAL, **WHERE), "expected scores"),
        (lambda: evaluate_multi_label(SCORES[:0], TARGETS[:0], SEVERAL, **WHERE), "expected scores"),
        (lambda: evaluate_multi_label(SCORES + 5, TARGETS, SEVERAL, **WHERE), "to_scores"),
        (lambda: evaluate_multi_label(SCORES, TARGETS * 2, SEVERAL, **WHERE), "targets of 0 and 1"),
        (lambda: evaluate_ordinal(np.eye(3), np.array([0, 1, 3]), SCALE, **WHERE), "whole numbers from 0 to 2"),
        (lambda: evaluate_ordinal(np.eye(2), np.array([0, 1]), SCALE, **WHERE), "expected scores"),
        (lambda: evaluate_regression(np.zeros(3), np.zeros(2), WEIGHT, **WHERE), "as many values"),
        (lambda: evaluate_regression(np.zeros(0), np.zeros(0), WEIGHT, **WHERE), "as many values"),
        (lambda: evaluate_regression(np.array([np.nan]), np.zeros(1), WEIGHT, **WHERE), "finite"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
