from __future__ import annotations

import pytest
from client_checks.documented import README, lines_for
from client_checks.failures import CheckFailed

BLOCK = "<!-- plain -->\n```python\nx = 1\n```\n\n```python\ny = 2\n```\n"


def test_the_lines_after_the_marker_are_taken_and_no_others():
    assert lines_for("plain", "python", BLOCK) == "x = 1\n"


@pytest.mark.parametrize(("marker", "language"), [("other", "python"), ("plain", "js")])
def test_a_missing_block_says_where_it_is_expected(marker, language):
    with pytest.raises(CheckFailed, match=f"{language} after the line <!-- {marker} -->"):
        lines_for(marker, language, BLOCK)


@pytest.mark.parametrize(
    ("marker", "language"), [("mediapipe tasks", "python"), ("plain onnxruntime", "python"), ("litert.js", "js")]
)
def test_the_readme_has_lines_for_every_client(marker, language):
    assert "waste.bundle/model" in lines_for(marker, language, README.read_text(encoding="utf-8"))
