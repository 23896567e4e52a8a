from __future__ import annotations

import numpy as np

from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.task import Task

TASK = Task("regression", ("weight",), unit="kg", offset=70.0, scale=10.0, half_width=4.0)
decoder = get_decoder("regression")


def test_the_output_becomes_a_value_in_its_unit_with_its_interval():
    result = decoder.decode(np.array([0.5], np.float32), TASK)
    assert (result.value, result.low, result.high, result.unit) == (75.0, 71.0, 79.0, "kg")
    assert result.to_json() == {"value": 75.0, "low": 71.0, "high": 79.0, "unit": "kg"}


def test_without_an_interval_none_is_claimed():
    result = decoder.decode(np.array([0.0], np.float32), Task("regression", ("count",)))
    assert (result.value, result.low, result.high) == (0.0, None, None)


def test_a_value_that_the_graph_computed_is_taken_as_it_is():
    assert decoder.decode_scores(np.array([12.5]), TASK).value == 12.5


def test_many_outputs_are_turned_at_once():
    np.testing.assert_array_equal(decoder.to_scores(np.array([[0], [1]], np.float32), TASK), [[70], [80]])
