from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from edgetransfer.data import load_dataset
from edgetransfer.evaluate import CALIBRATION_BINS, evaluate
from edgetransfer.pipeline.options import Silent
from edgetransfer.pipeline.page.evaluation import calibration_of, confidence_bins, confused_pairs
from edgetransfer.pipeline.page.html import element, join, link
from edgetransfer.pipeline.page.learning import MOST_WORK, carried_curve, curve_of
from edgetransfer.pipeline.page.strangers import Scored, read_strangers, rejection_of
from edgetransfer.pipeline.page.words import described, in_an_app
from edgetransfer.runtime.heads import load_heads
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.text import TextInput


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


def test_the_calibration_error_is_the_evaluations_whatever_the_temperature():
    logits = np.random.default_rng(0).normal(0, 3, (50, 3))
    true = np.arange(50) % 3
    for temperature in (1.0, 2.5):
        powers = np.exp(logits / temperature)
        scores = powers / powers.sum(axis=1, keepdims=True)
        found = calibration_of(scores, true, temperature)
        report = evaluate(scores, true, ["a", "b", "c"], split="test", artifact="x")
        assert found.error == pytest.approx(report.expected_calibration_error, abs=1e-12)
        assert found.accuracy == report.accuracy


def test_scores_without_end_are_in_the_last_bin_and_a_score_of_just_the_threshold_is_kept(colours):
    detector = load_heads(colours.bundle)[0].outliers
    at = detector.threshold
    known = Scored(np.array([0.5 * at, at, np.nextafter(at, np.inf), np.inf]), np.full(4, 0.9))
    found = rejection_of(detector, known, np.array([True, False, True, True]), None)
    assert (found.rejected, found.answered_right, found.strangers) == (2, 1, None)
    assert sum(found.histogram.known) == 4
    assert found.histogram.strangers == (0,) * len(found.histogram.known)
    assert found.histogram.edges[0] < 0.5 * at
    assert found.histogram.known[-1] >= 1


def test_strangers_are_found_in_folders_of_folders_and_sentences_in_lines(colours, tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    photo = (colours.strangers / "0.png").read_bytes()
    for name in ("a.png", "er/b.PNG"):
        (tmp_path / "deep" / name).write_bytes(photo)
    (tmp_path / "deep" / "one.txt").write_bytes("\ufeffone\r\n\r\nzwölf\n".encode())
    found = read_strangers(tmp_path / "deep", "image", watcher=Silent())
    assert [one.path.name for one in found.samples] == ["a.png", "b.PNG"]
    assert (found.source, found.unreadable) == ("deep", 0)
    for path in (tmp_path / "deep", tmp_path / "deep" / "one.txt"):
        assert [one.source for one in read_strangers(path, "text", watcher=Silent()).samples] == ["one", "zwölf"]


def test_where_there_is_no_learning_curve_a_sentence_says_why(colours, tmp_path):
    head, asked = load_heads(colours.bundle)[0], []

    def features():
        asked.append(True)
        return np.zeros((48, head.feature_size), np.float32)

    lines = colours.data.read_text().splitlines()
    for name, keep, message in (
        ("test.csv", ",test", "the data have no train split"),
        ("few.csv", ("000.png", "001.png", "002.png", ",test"), "expected at least 5 examples of every label"),
    ):
        some = [line for line in lines[1:] if line.endswith(keep) or line.startswith(keep)]
        table = colours.data.with_name(name)
        table.write_text("\n".join([lines[0], *some]) + "\n")
        dataset = load_dataset(table, for_training=False)
        curve, why = curve_of(dataset, head, features, lambda done, total: None)
        assert curve is None
        assert message in why
    assert len(asked) == 1  # without a train split nothing is computed
    assert carried_curve(head) is None


def test_a_curve_that_would_take_minutes_is_not_worked_out(colours, monkeypatch):
    monkeypatch.setattr("edgetransfer.pipeline.page.learning.MOST_WORK", 10.0)
    head = load_heads(colours.bundle)[0]
    curve, why = curve_of(load_dataset(colours.data), head, pytest.fail, lambda done, total: None)
    assert curve is None
    assert why == "No learning curve: for 48 examples of 3 labels it would take minutes."
    assert MOST_WORK > 1e6


def test_every_kind_of_input_is_described_in_its_own_words():
    audio = AudioInput("yamnet", 16_000, 96, 64, 48, 0.05, 200)
    for spec, said, given in (
        (ImageInput(8, 9, "pad"), "9 x 8 px, RGB; of another shape: the whole photo is put into it", "uint8 RGB"),
        (audio, "16000 Hz, mono, any length: cut into windows of 96 frames", "float32 from -1 to 1 at 16000 Hz"),
        (TextInput(64), "cut off after 64 tokens", "str"),
    ):
        assert said in described(spec)
        assert given in in_an_app(spec)
