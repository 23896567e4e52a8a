from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError, RecipeError, UnknownNameError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.dense import apply_head
from edgetransfer.train.multi_label import FEWEST_POSITIVES, average_precision, best_threshold, choose_thresholds
from edgetransfer.train.regression import conformal_half_width
from edgetransfer.train.search import HeadOptions
from edgetransfer.train.tasks import KINDS, fit_task

QUICK = HeadOptions(hidden=(0,), dropouts=(0.0,), weight_decays=(1e-4,), epochs=80)
DIRECTIONS = np.random.default_rng(99).normal(size=(12, 3)) / np.sqrt(12)


def table(n, seed):
    """Features (n, 12) about 4, and three hidden numbers that they say with a little noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 12))
    hidden = features @ DIRECTIONS + 0.2 * rng.normal(size=(n, 3))
    return (2 * features + 4).astype(np.float32), hidden


def split(kind, n, seed):
    features, hidden = table(n, seed)
    if kind == "multi_label":
        return features, (hidden > np.array([0.0, 0.5, 1.0])).astype(np.int64)
    if kind == "ordinal":
        return features, np.digitize(hidden[:, 0], (-1.0, 0.0, 1.0))
    if kind == "regression":
        return features, 300 + 50 * hidden[:, 0]
    return features, hidden.argmax(axis=1)


LABELS = {
    "single_label": ("a", "b", "c"),
    "multi_label": ("a", "b", "c"),
    "ordinal": ("none", "some", "much", "all"),
    "regression": ("weight",),
}


def fitted(kind, options=QUICK, **more):
    return fit_task(kind, split(kind, 500, 0), split(kind, 200, 1), LABELS[kind], options, **more)


def answers(result, features):
    decoder = get_decoder(result.task.kind)
    return [decoder.decode(logits, result.task) for logits in apply_head(result.head, features)]


def test_every_kind_has_a_decoder():
    assert all(get_decoder(kind).to_scores for kind in KINDS)


def test_a_single_label_is_learned():
    features, labels = split("single_label", 400, 2)
    found = [LABELS["single_label"].index(one.label) for one in answers(fitted("single_label"), features)]
    assert np.mean(np.array(found) == labels) > 0.8


def test_several_labels_are_learned_and_read_with_thresholds_from_validation():
    result = fitted("multi_label")
    features, targets = split("multi_label", 400, 2)
    given = np.array([[label in one.labels for label in "abc"] for one in answers(result, features)])
    hits = (given & (targets == 1)).sum(axis=0)
    assert (2 * hits / (given.sum(axis=0) + targets.sum(axis=0)) > 0.7).all()
    assert all(0 < threshold < 1 for threshold in result.task.thresholds)
    assert result.chosen["val_mean_average_precision"] > 0.8


def test_an_order_is_learned_and_wrong_answers_lie_near():
    result = fitted("ordinal")
    features, ranks = split("ordinal", 400, 2)
    off = np.abs(
        [LABELS["ordinal"].index(one.label) - rank for one, rank in zip(answers(result, features), ranks, strict=True)]
    )
    assert off.mean() < 0.3
    assert off.max() <= 1
    assert result.head[-1].kernel.shape[1] == result.task.outputs == 3


def test_a_quantity_is_learned_in_its_unit_and_its_interval_holds_as_often_as_promised():
    result = fitted("regression", unit="kg")
    features, values = split("regression", 1500, 2)
    found = answers(result, features)
    errors = np.abs([one.value for one in found] - values)
    assert errors.mean() < 15  # values have a spread of 50, and noise of 10
    inside = np.mean([one.low <= value <= one.high for one, value in zip(found, values, strict=True)])
    assert 0.84 < inside < 0.96  # 90 % of 200 validation examples has a standard error of 2 points
    assert (result.task.unit, found[0].unit) == ("kg", "kg")
    assert result.task.offset == pytest.approx(300, abs=8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_candidate_is_the_best_on_validation(kind):
    options = HeadOptions(hidden=(0, 8), dropouts=(0.0, 0.3), weight_decays=(1e-3, 1.0), epochs=6)
    result = fitted(kind, options)
    measure = next(name for name in result.chosen if name.startswith("val_") and name != "val_loss")
    values = [row[measure] for row in result.candidates]
    assert len(values) == 8
    assert result.chosen[measure] == (min(values) if measure.endswith("error") else max(values))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multi_label", "ordinal"])
def test_balancing_gives_rare_labels_higher_scores(kind):
    features, _ = split(kind, 200, 1)
    means = []
    for balance in (False, True):
        result = fitted(
            kind, HeadOptions(hidden=(0,), dropouts=(0.0,), weight_decays=(1e-1,), epochs=40, balance=balance)
        )
        means.append(get_decoder(kind).to_scores(apply_head(result.head, features), result.task)[:, -1].mean())
    assert means[1] > 1.3 * means[0]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loss"), [("multi_label", "binary_focal_crossentropy"), ("regression", "mae")])
def test_a_loss_by_its_keras_name_trains_another_head(kind, loss):
    own = fitted(kind)
    named = fitted(kind, HeadOptions(hidden=(0,), dropouts=(0.0,), weight_decays=(1e-4,), epochs=80, loss=loss))
    assert not np.array_equal(own.head[0].kernel, named.head[0].kernel)
    measure = next(iter(set(own.chosen) - {"hidden", "dropout", "weight_decay", "val_loss"}))
    assert named.chosen[measure] == pytest.approx(own.chosen[measure], rel=0.2)


@pytest.mark.parametrize(
    ("kind", "changes", "error", "message"),
    [
        ("multilabel", {}, UnknownNameError, "did you mean 'multi_label'"),
        ("regression", {"balance": True}, RecipeError, "a regression has no labels to balance"),
        ("regression", {"loss": "categorical_crossentropy"}, RecipeError, "does not fit a regression task"),
        ("ordinal", {"optimizer": "adamm"}, UnknownNameError, "did you mean 'adam'"),
    ],
)
def test_what_cannot_be_trained_is_refused(kind, changes, error, message):
    data = split(kind if kind in KINDS else "multi_label", 50, 0)
    with pytest.raises(error, match=message):
        fit_task(kind, data, data, LABELS.get(kind, ("a", "b", "c")), HeadOptions(epochs=1, **changes))


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("single_label", np.zeros((6, 2), np.int64), r"training targets: expected shape \(6,\)"),
        ("multi_label", np.zeros(6, np.int64), r"training targets: expected shape \(6, 3\)"),
        ("multi_label", np.full((6, 3), 2), "expected 0 or 1 for a multi_label task"),
        ("multi_label", np.eye(3)[[0, 0, 0, 1, 1, 1]], "label number 2 has no training example"),
        ("ordinal", np.array([0, 1, 2, 3, 4, 0]), "expected whole numbers from 0 to 3"),
        ("ordinal", np.array([0, 1, 1, 3, 3, 0]), "label number 2 has no training example"),
        ("regression", np.array([1, 2, np.nan, 3, 4, 5]), "expected finite numbers"),
        ("regression", np.full(6, 3.5), r"expected different ones, got 3\.5 for all 6"),
    ],
)
def test_targets_that_do_not_fit_are_refused(kind, targets, message):
    data = np.zeros((6, 4), np.float32), targets
    with pytest.raises(DataError, match=message):
        fit_task(kind, data, data, LABELS[kind], QUICK)


def test_no_validation_examples_are_refused_with_what_to_do():
    empty = np.zeros((0, 12), np.float32), np.zeros(0, np.int64)
    with pytest.raises(DataError, match="choose by cross-validation"):
        fit_task("single_label", split("single_label", 50, 0), empty, LABELS["single_label"], QUICK)


def test_only_a_regression_has_a_unit():
    data = split("single_label", 50, 0)
    with pytest.raises(RecipeError, match="only a regression has one"):
        fit_task("single_label", data, data, LABELS["single_label"], QUICK, unit="kg")


# Thresholds


def test_the_best_threshold_is_the_one_with_the_best_f1_of_all():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 60)
    scores = np.round(np.clip(0.3 * targets + 0.7 * rng.random(60), 0, 1), 2)

    def f1(threshold):
        given = scores >= threshold
        return 2 * (given & (targets == 1)).sum() / (given.sum() + targets.sum())

    assert f1(best_threshold(scores, targets)) == max(f1(score) for score in scores)


def test_a_label_with_few_positives_takes_the_threshold_of_all_labels_together():
    rng = np.random.default_rng(0)
    targets = np.zeros((100, 3), int)
    targets[:40, 0], targets[:40, 1], targets[: FEWEST_POSITIVES - 1, 2] = 1, 1, 1
    scores = np.clip(0.2 * targets + 0.1 + 0.05 * rng.random((100, 3)), 0, 1)
    thresholds = choose_thresholds(scores, targets)
    assert thresholds[2] == best_threshold(scores.ravel(), targets.ravel())
    assert all(0.15 < threshold < 0.3 for threshold in thresholds)
    assert choose_thresholds(scores[:4, :1], targets[:4, :1]) == (0.5,)


def test_average_precision_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    scores, targets = np.round(rng.random(50), 1), rng.integers(0, 2, 50)
    assert average_precision(scores, targets) == pytest.approx(metrics.average_precision_score(targets, scores))
    assert average_precision(scores, np.zeros(50)) is None


# Interval


def test_the_interval_is_the_conformal_quantile():
    errors = np.arange(1.0, 20.0)  # 19 of them: the 18th of 20 gaps is the last below 90 %
    assert conformal_half_width(errors, 0.9) == 18
    assert conformal_half_width(np.arange(1.0, 10.0), 0.9) == 9
    assert conformal_half_width(np.arange(1.0, 9.0), 0.9) is None


def test_the_interval_of_new_values_holds_in_nine_of_ten():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        errors = np.abs(rng.standard_t(3, 31))
        half = conformal_half_width(errors[:30], 0.9)
        assert half is not None
        held.append(errors[30] <= half)
    assert np.mean(held) == pytest.approx(28 / 31, abs=0.02)
