from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BundleError
from edgetransfer.spec import json_shape
from edgetransfer.spec.task import TASK_SHAPE, Task

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


def test_a_single_label_tasks_json_is_what_it_always_was():
    assert Task("single_label", ("a", "b")).to_json() == {
        "kind": "single_label",
        "labels": ["a", "b"],
        "temperature": 1.0,
    }


@pytest.mark.parametrize(
    "task",
    [
        Task("multi_label", ("a",), thresholds=(0.25,)),
        Task("multi_label", ("a", "b", "c"), 2.0, thresholds=(0.1, 0.5, 0.9)),
        Task("ordinal", ("low", "middle", "high"), 1.5),
        Task("regression", ("weight",), unit="kg", offset=70.0, scale=12.5, half_width=9.0, coverage=0.9),
        Task("regression", ("count",), half_width=None),
        Task("embedding", ()),
    ],
    ids=lambda task: task.kind,
)
def test_every_kind_survives_the_manifest_and_has_the_shape_that_is_announced(task):
    data = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(data) == task
    assert json_shape.problems(data, TASK_SHAPE, "task") == []
    assert ("thresholds" in data, "unit" in data) == (task.kind == "multi_label", task.kind == "regression")


def test_a_head_has_one_output_a_label_but_a_scale_one_a_step():
    assert Task("single_label", ("a", "b", "c")).outputs == 3
    assert Task("multi_label", ("a", "b"), thresholds=(0.5, 0.5)).outputs == 2
    assert Task("ordinal", ("a", "b", "c")).outputs == 2
    assert Task("regression", ("weight",)).outputs == 1


@pytest.mark.parametrize(
    ("kind", "names", "fields", "message"),
    [
        ("multi_label", ("a", "b"), {}, r"task thresholds: expected 2, one a label, got \[\]"),
        ("multi_label", ("a", "b"), {"thresholds": (0.5, 1.0)}, "task thresholds: expected between 0 and 1"),
        ("multi_label", ("a",), {"thresholds": (float("nan"),)}, "task thresholds: expected between 0 and 1"),
        ("multi_label", (), {}, "task labels: expected at least 1"),
        ("single_label", ("a", "b"), {"thresholds": (0.5, 0.5)}, "task thresholds: only the kind 'multi_label' has it"),
        ("ordinal", ("a",), {}, "task labels: expected at least 2"),
        ("ordinal", ("a", "b"), {"unit": "kg"}, "task unit: only the kind 'regression' has it"),
        ("regression", ("a", "b"), {}, "task labels: expected one, the name of the quantity"),
        ("regression", ("a",), {"temperature": 2.0}, "a regression has none"),
        ("regression", ("a",), {"scale": 0.0}, "task offset and scale"),
        ("regression", ("a",), {"offset": float("inf")}, "task offset and scale"),
        ("regression", ("a",), {"half_width": -1.0}, "task half_width: expected from 0"),
        ("regression", ("a",), {"coverage": 1.0}, "task coverage: expected between 0 and 1"),
        ("embedding", ("a",), {}, "task labels: an embedding has none"),
    ],
)
def test_fields_that_do_not_fit_the_kind_are_refused(kind, names, fields, message):
    with pytest.raises(BundleError, match=message):
        Task(kind, names, **fields)


def test_a_field_that_the_kind_needs_and_the_manifest_lacks_is_named():
    with pytest.raises(BundleError, match="task of kind 'multi_label': expected thresholds, got none"):
        Task.from_json({"kind": "multi_label", "labels": ["a", "b"], "temperature": 1.0})
