from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.cli.results import result_line
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.task import Task

SEVERAL = Task("multi_label", ("cap", "glass", "paper"), thresholds=(0.5, 0.5, 0.5))
SCALE = Task("ordinal", ("low", "middle", "high"))
MASS = Task("regression", ("mass",), unit="g", offset=100.0, scale=10.0, half_width=5.0)


@pytest.mark.parametrize(
    ("task", "logits", "line"),
    [
        (SEVERAL, [2, 1, -3], "x: cap 0.881, glass 0.731  (paper 0.047)"),
        (SEVERAL, [-2, -1, -3], "x: none of its labels  (glass 0.269, cap 0.119, paper 0.047)"),
        (SCALE, [2, -1], "x: middle 0.644, expected position 1.12 of 0 to 2  (high 0.237, low 0.119)"),
        (MASS, [1], "x: 110 g  (105 to 115)"),
        (Task("regression", ("mass",)), [1.25], "x: 1.25"),
        (Task("single_label", ("a", "b")), [3, 0], "x: a 0.953  (b 0.047)"),
    ],
)
def test_a_result_of_each_kind_is_a_line(task, logits, line):
    result = get_decoder(task.kind).decode(np.array(logits, np.float32), task)
    assert result_line("x", result.to_json(), 3) == line


def test_several_heads_have_a_line_each():
    found = get_decoder("regression").decode(np.zeros(1, np.float32), MASS).to_json()
    assert result_line("x", {"mass": found, "again": found}, 1) == (
        "x:\n  mass: 100 g  (95 to 105)\n  again: 100 g  (95 to 105)"
    )


def test_features_are_told_by_their_beginning():
    assert result_line("x", {"embedding": [0.5] * 20}, 3) == f"x: embedding [{', '.join(['0.5'] * 8)}, ...]"
