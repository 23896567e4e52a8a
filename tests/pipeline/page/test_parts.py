from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from edgetransfer.evaluate import CALIBRATION_BINS, evaluate
from edgetransfer.pipeline.page_evaluation import confidence_bins, confused_pairs
from edgetransfer.pipeline.page_html import element, join, link


def test_bins_are_open_below_and_closed_above():
    bins = confidence_bins(np.array([0.0, 1 / CALIBRATION_BINS, 0.5, 1.0]), np.array([True, False, True, True]))
    assert [(round(one.low * CALIBRATION_BINS), one.samples) for one in bins] == [(0, 2), (7, 1), (14, 1)]
    assert [one.accuracy for one in bins] == [0.5, 1.0, 1.0]
    low, high = bins[0].accuracy_95
    assert low < 0.5 < high


def test_confused_pairs_come_by_their_number_then_in_the_order_of_the_labels():
    true, answers = np.array([0, 0, 1, 1, 1, 2]), np.array([1, 0, 2, 2, 1, 0])
    report = evaluate(np.eye(3)[answers], true, ["a", "b", "c"], split="test", artifact="x")
    found = [(one.label, one.answer, one.count, round(one.share, 3)) for one in confused_pairs(report)]
    assert found == [("b", "c", 2, 0.667), ("a", "b", 1, 0.5), ("c", "a", 1, 1.0)]


def test_text_becomes_text_and_markup_stays_markup():
    inner = element("b", "a < b & c", class_="x\"y'")
    assert inner == '<b class="x&quot;y&#x27;">a &lt; b &amp; c</b>'
    assert element("p", inner, "<", None, ["\0", inner]) == f"<p>{inner}&lt;\N{REPLACEMENT CHARACTER}{inner}</p>"
    assert join("a", "<") == "a&lt;"
    assert link("data:text/html,x", "a<b") == "a&lt;b"
    assert link('https://a/"', "x") == '<a href="https://a/&quot;" rel="noreferrer noopener">x</a>'
