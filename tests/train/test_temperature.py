from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.task import Task
from edgetransfer.train.confidence import fit_temperature
from edgetransfer.train.temperature import with_temperature

SEVERAL = Task("multi_label", ("a", "b"), thresholds=(0.3, 0.8))
SCALE = Task("ordinal", ("low", "middle", "high"))


def drawn(task, logits, rng):
    """Answers as likely as the scores at temperature 1 say."""
    scores = get_decoder(task.kind).to_scores(logits, task)
    if task.kind == "multi_label":
        return (rng.random(scores.shape) < scores).astype(np.float32)
    return (rng.random((len(scores), 1)) > scores.cumsum(axis=1)[:, :-1]).sum(axis=1)


@pytest.mark.parametrize("task", [SEVERAL, SCALE], ids=["multi_label", "ordinal"])
def test_logits_that_are_three_times_too_sure_get_a_temperature_of_three(task):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 2)).astype(np.float32)
    found = with_temperature(task, 3 * logits, drawn(task, logits, rng))
    assert found.temperature == pytest.approx(3, rel=0.1)


def test_the_labels_given_stay_the_same():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (500, 2)).astype(np.float32)
    warm = with_temperature(SEVERAL, 4 * logits, drawn(SEVERAL, logits, rng))
    decode = get_decoder("multi_label").decode
    assert warm.temperature > 2
    assert warm.thresholds != SEVERAL.thresholds
    assert all(decode(row, warm).labels == decode(row, SEVERAL).labels for row in 4 * logits)


def test_one_label_gets_the_temperature_of_guo_and_a_quantity_none():
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(90, 3)).astype(np.float32), rng.integers(0, 3, 90)
    task = Task("single_label", ("a", "b", "c"))
    assert with_temperature(task, logits, labels).temperature == fit_temperature(logits, labels)
    size = Task("regression", ("size",), unit="cm")
    assert with_temperature(size, logits[:, :1], np.zeros(90)) == size


def test_no_samples_are_refused():
    with pytest.raises(DataError, match="temperature"):
        with_temperature(SCALE, np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
