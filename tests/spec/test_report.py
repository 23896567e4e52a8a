from __future__ import annotations

import json

import pytest

from edgetransfer.errors import InputError
from edgetransfer.spec.report import Check, ClassScores, EvalReport, Latency, ProfileReport, VerifyReport

EVAL = EvalReport(
    artifact="waste",
    split="test",
    samples=10,
    accuracy=0.8,
    accuracy_95=(0.49, 0.94),
    macro_precision=0.8,
    macro_recall=0.75,
    macro_f1=0.77,
    expected_calibration_error=0.05,
    log_loss=0.4,
    classes=(ClassScores("glass", 0.8, 0.9, 0.85, 6), ClassScores("纸", 0.8, 0.6, 0.69, 4)),
    confusion=((5, 1), (1, 3)),
)
VERIFY = VerifyReport("waste", "ab" * 32, "litert 2.3.0 (x)", (Check("files", True, "fine"),), 4, 1.0, 1.0, 2.5, 0.75)
LATENCY = Latency(1, 100, 2.0, 2.5, 3.0)
PROFILE = ProfileReport(
    "waste",
    "ab" * 32,
    30.0,
    4.0,
    LATENCY,
    LATENCY,
    5_000_000,
    4_000_000,
    "litert",
    "2.3.0",
    "x",
    {"numpy": "2"},
    "A cpu",
)


@pytest.mark.parametrize("report", [EVAL, VERIFY, PROFILE])
def test_a_report_comes_back_from_its_json(report):
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert type(report).from_json(data) == report


def test_the_text_of_an_evaluation_is_aligned():
    lines = EVAL.as_text().splitlines()
    assert lines[1] == "accuracy 80.00% (95 % interval 49.00% to 94.00%)"
    head, first = lines[4], lines[5]
    assert len(head) == len(first)
    assert first.split() == ["glass", "0.800", "0.900", "0.850", "6"]
    assert lines[-2].split() == ["glass", "5", "1"]


def test_one_failed_check_fails_the_report():
    broken = VerifyReport("waste", "ab" * 32, "", (Check("files", True, "a"), Check("outputs", False, "9 steps")))
    assert not broken.passed
    assert broken.to_json()["passed"] is False
    assert "FAILED  outputs" in broken.as_text()
    assert broken.as_text().endswith("NOT verified")


def test_the_text_of_a_profile_names_both_thread_counts():
    assert PROFILE.as_text().splitlines()[-2].split() == ["1", "2.000", "2.500", "3.000", "100"]
    assert "5.0 MB above the start" in PROFILE.as_text()


def test_json_that_is_no_such_report_is_refused_with_every_problem():
    data = EVAL.to_json()
    data["samples"] = "ten"
    del data["log_loss"]
    with pytest.raises(InputError) as caught:
        EvalReport.from_json(data)
    assert "samples: expected a whole number" in str(caught.value)
    assert "log_loss: missing" in str(caught.value)
    with pytest.raises(InputError, match="expected 'profile', got 'other'"):
        ProfileReport.from_json(PROFILE.to_json() | {"report": "other"})
    with pytest.raises(InputError, match="two numbers"):
        EvalReport.from_json(EVAL.to_json() | {"accuracy_95": [1.0]})
