from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BundleError
from edgetransfer.spec.task import Task

labels = st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=12, unique=True).map(tuple)


@given(labels, st.floats(1e-3, 1e3))
def test_a_task_survives_the_manifest_with_labels_in_any_script_and_in_their_order(names, temperature):
    task = Task("single_label", names, temperature)
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_an_older_manifest_without_a_temperature_means_one():
    assert Task.from_json({"kind": "single_label", "labels": ["a", "b"]}).temperature == 1.0


@pytest.mark.parametrize(
    ("names", "temperature", "message"),
    [
        ((), 1.0, r"task labels: expected at least 2, got \[\]"),
        (("cat",), 1.0, r"task labels: expected at least 2, got \['cat'\]"),
        (("cat", "dog", "cat"), 1.0, "task labels: expected no label twice"),
        (("cat", "dog"), 0.0, "task temperature: expected above 0, got 0.0"),
        (("cat", "dog"), -1.0, "task temperature: expected above 0, got -1.0"),
        (("cat", "dog"), float("nan"), "task temperature: expected above 0, got nan"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(names, temperature, message):
    with pytest.raises(BundleError, match=message):
        Task("single_label", names, temperature)
