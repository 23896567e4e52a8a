"""Pages about bundles whose heads are outside of the graph: photos with two heads, sentences, sounds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, InputError, UnknownNameError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.pipeline.page import PageOptions, gather, render
from edgetransfer.runtime.heads import add_head, load_heads
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.learning_curve import CurvePoint, LearningCurve
from edgetransfer.spec.task import Task

ROOT = Path(__file__).resolve().parents[3]
ALWAYS = ["about", "data"], ["speed", "usage", "card"]


def options(made, **changes):
    known = {"measure": False, "strangers": made.strangers, "head_data": tuple(made.others.items())}
    return PageOptions(made.bundle.path, made.data, **(known | changes))


def read(content):
    """Return what a reader reads of the page, words one space apart."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", content.partition("<body>")[2])).split())


def text_of(figures):
    return read(render(figures).decode())


@pytest.fixture(scope="module")
def figures(colours):
    return gather(options(colours))


@pytest.fixture(scope="module")
def content(figures):
    return render(figures).decode()


@pytest.fixture(scope="module")
def page(content):
    return read(content)


# === Photos, two heads ===


def test_each_head_has_a_section_of_its_own_in_the_builds_order(content, page):
    first, last = ALWAYS
    assert re.findall(r'<section id="([^"]+)"', content) == [*first, "head-colour", "head-warm", *last]
    assert "Answers 2 questions (colour, warm) about photos" in page
    assert "int8 1 x 12" in page
    assert ", features" in page
    links = re.findall(r'<a href="#([^"]+)"', content)
    assert set(links) == {*first, "head-colour", "head-warm", *last}


def test_ids_are_told_apart_though_each_head_has_the_same_drawings(content):
    found = re.findall(r' id="([^"]+)"', content)
    assert len(found) == len(set(found)) > 100


def test_the_figures_of_a_head_are_those_of_evaluate(colours, figures, page):
    for one, data in zip(figures.heads, (colours.data, *colours.others.values()), strict=True):
        again = evaluate_bundle(colours.bundle, load_dataset(data), "test", head=one.head.name)
        assert one.evaluation.report.confusion == again.confusion
        assert one.evaluation.calibration.error == pytest.approx(again.expected_calibration_error, abs=1e-12)
        assert f"{again.accuracy:.1%}" in page
        assert one.evaluation.same_data is True


def test_calibration_is_shown_before_and_after_the_temperature(figures, content, page):
    evaluation = figures.heads[0].evaluation
    assert (evaluation.uncalibrated.temperature, evaluation.calibration.temperature) == (1.0, 2.5)
    assert evaluation.uncalibrated.confidence > evaluation.calibration.confidence
    assert evaluation.uncalibrated.accuracy == evaluation.calibration.accuracy  # it changes no answer
    for one, when in ((evaluation.uncalibrated, "before (temperature 1)"), (evaluation.calibration, "after")):
        assert f"{one.error:.3f} {when}" in page
    assert content.count("Reliability diagram of 24 answers") == 4


def test_what_is_turned_away_is_counted_as_the_device_does(colours, figures, page):
    rejection = figures.heads[0].rejection
    with Predictor.load(colours.bundle) as predictor:
        known = [predictor.predict(one.path)["colour"].label for one in load_dataset(colours.data).split("test")]
        strange = [predictor.predict(path)["colour"].label for path in colours.strangers.glob("[0-9]*.png")]
    assert rejection.rejected == known.count(None)
    assert rejection.strangers.rejected == strange.count(None) > 0
    assert (rejection.strangers.samples, rejection.strangers.unreadable) == (12, 1)
    assert sum(rejection.histogram.known) == rejection.samples == 24
    assert sum(rejection.histogram.strangers) == 12
    assert f"{strange.count(None)} of 12 photos from 'others' were turned away" in page
    assert "1 more could not be read" in page
    parted = rejection.strangers.separation
    assert f"AUROC {parted.first:.3f} by the outlier score, {parted.second:.3f} by the largest softmax score" in page
    assert figures.heads[1].rejection is None
    assert "nothing: it always gives a label" in page


def test_bins_of_the_histogram_right_of_the_threshold_are_what_is_turned_away(figures):
    rejection = figures.heads[0].rejection
    place = int(np.argmin(np.abs(np.array(rejection.histogram.edges) - rejection.threshold)))
    assert rejection.histogram.edges[place] == pytest.approx(rejection.threshold)
    assert sum(rejection.histogram.known[place:]) == rejection.rejected
    assert sum(rejection.histogram.strangers[place:]) == rejection.strangers.rejected


def test_worst_mistakes_say_whether_the_device_turns_them_away(figures):
    mistakes = figures.heads[0].evaluation.mistakes
    assert mistakes
    shown = replace(figures.heads[0].evaluation, mistakes=(replace(mistakes[0], rejected=True),))
    changed = replace(figures, heads=(replace(figures.heads[0], evaluation=shown), figures.heads[1]))
    assert "turned away on the device" in text_of(changed)


def test_the_learning_curve_says_what_doubling_would_bring(colours, figures, page):
    curve = figures.heads[0].curve
    assert f"doubling the data ({curve.points[-1].examples} to {2 * curve.points[-1].examples} examples)" in page
    assert "Would more data help?" in page
    without = gather(options(colours, learning_curve=False, strangers=None, worst=0))
    assert [one.curve for one in without.heads] == [None, None]
    assert "Would more data help?" not in text_of(without)


def test_a_curve_that_a_head_carries_is_shown_without_data(colours, tmp_path):
    points = tuple(CurvePoint(n, 0.9, 0.8, 0.95) for n in (10, 20, 31))
    curve = LearningCurve(points, 0.05, 1.0, 0.5, 2.5, (1.0, 4.0))
    copy = Bundle.load(shutil.copytree(colours.bundle.path, tmp_path / "colours.bundle"))
    head = load_heads(copy)[0]
    add_head(copy, replace(head, training={"learning_curve": curve.to_json(), "rejects": {"test": 0.125}}))
    found = gather(PageOptions(copy.path, measure=False))
    text = text_of(found)
    assert "More data would help: doubling the data (31 to 62 examples) is expected to add 2.5 points" in text
    assert "at the build 12.5% of the test split" in text
    assert found.heads[0].added


def test_the_json_holds_all_of_it(figures, tmp_path):
    document = json.loads(json.dumps(figures.to_json(), allow_nan=False))
    first, second = document["heads"]
    assert (first["name"], second["name"]) == ("colour", "warm")
    assert first["rejection"]["strangers"]["samples"] == 12
    assert first["curve"]["points"]
    assert first["evaluation"]["temperature_1"]["temperature"] == 1
    assert second["rejection"] is None
    assert document["evaluation"] is None


def test_equal_inputs_give_the_same_bytes_wherever_they_lie(colours, figures, tmp_path):
    folder = shutil.copytree(colours.bundle.path.parent, tmp_path / "elsewhere")
    moved = options(
        colours, head_data=(("warm", folder / "photos" / "warm.csv"),), strangers=folder / "others", workers=1
    )
    moved = replace(moved, bundle=folder / "colours.bundle", data=folder / "photos" / "colour.csv")
    again = render(gather(replace(moved, learning_curve=False)))
    assert again == render(replace(figures, heads=tuple(replace(one, curve=None) for one in figures.heads)))
    assert str(tmp_path).encode() not in again


# === Without data, and with other heads ===


def test_a_head_without_data_has_what_its_build_recorded_and_says_what_is_missing(colours):
    found = gather(PageOptions(colours.bundle.path, colours.data, measure=False, learning_curve=False))
    text = text_of(found)
    assert found.heads[1].evaluation is None
    assert "measurements of head warm: no photos were given for it" in text
    assert "edgetransfer report colours.bundle --head warm=photos/" in text
    assert "how many strangers head colour finds: none were given" in text
    assert "75.0%" in text


def test_a_head_that_was_added_is_measured_and_its_data_are_doubted(colours, tmp_path):
    copy = Bundle.load(shutil.copytree(colours.bundle.path, tmp_path / "colours.bundle"))
    head = replace(load_heads(copy)[0], name="again", metrics={"test": {"accuracy": 0.5, "samples": 8}})
    add_head(copy, head)
    asked = PageOptions(copy.path, measure=False, head_data=(("again", colours.data),), learning_curve=False)
    found = gather(asked)
    assert [one.head.name for one in found.heads] == ["colour", "warm", "again"]
    assert found.heads[2].evaluation.same_data is None
    text = text_of(found)
    assert "A head that was added does not keep what it learned from" in text
    assert "a file beside the bundle, added later" in text
    assert "50.0%" in text


def test_other_kinds_of_tasks_have_tables_with_intervals(colours, tmp_path):
    copy = Bundle.load(shutil.copytree(colours.bundle.path, tmp_path / "colours.bundle"))
    head = replace(load_heads(copy)[0], outliers=None)
    labels = head.task.labels
    add_head(copy, replace(head, name="tags", task=Task("multi_label", labels, thresholds=(0.5, 0.5, 0.4))))
    lines = colours.data.read_text().replace("path,label", "path,labels").splitlines()
    table = colours.data.with_name("tags.csv")
    table.write_text("\n".join([lines[0], *(line.replace(",red,", ",blue|red,") for line in lines[1:])]) + "\n")
    found = gather(PageOptions(copy.path, measure=False, head_data=(("tags", table),)))
    tags = found.heads[-1]
    assert tags.evaluation is None
    assert tags.task_evaluation.report.samples == 24
    text = text_of(found)
    assert f"mean average precision {tags.task_evaluation.report.mean_average_precision.value:.4g}" in text
    assert "threshold precision recall F1 average precision photos" in text
    assert "which of its 3 labels a single photo shows" in text


def test_a_bundle_without_heads_says_so(tiny_bundle, colours, tmp_path):
    bare = colours.bundle.path.with_name("bare.bundle")
    text = text_of(gather(PageOptions(bare, measure=False)))
    assert "none yet: it gives features" in text
    assert "print(result.embedding)" in text
    with pytest.raises(InputError, match="no heads that could be measured"):
        gather(PageOptions(bare, colours.data, measure=False))


def test_a_users_mistake_is_told_before_anything_is_measured(colours, tiny_bundle, tmp_path):
    inside = tiny_bundle.make_bundle(tmp_path / "tiny.bundle").path
    path, data = colours.bundle.path, colours.data
    for asked, error, message in (
        (PageOptions(path, head_data=(("wram", data),)), UnknownNameError, "did you mean 'warm'"),
        (PageOptions(path, data, head_data=(("colour", data),)), InputError, "got data twice for colour"),
        (PageOptions(path, strangers=colours.strangers), InputError, "--strangers: no head that turns inputs away has"),
        (PageOptions(path, data, strangers=tmp_path / "no"), InputError, "no such file or folder"),
        (PageOptions(path, data, float_run=tmp_path), InputError, "head inside the graph; leave it out"),
        (PageOptions(path, colours.others["warm"]), DataError, "data of head colour: .*unknown to the bundle: 'cold'"),
        (PageOptions(inside, head_data=(("colour", data),)), InputError, "is inside its graph; give --data"),
        (PageOptions(inside, strangers=colours.strangers), InputError, "turns nothing away; build it with --reject"),
    ):
        with pytest.raises(error, match=message):
            gather(asked)


def test_strangers_of_another_kind_are_none(colours, sentences, tmp_path):
    with pytest.raises(InputError, match=r"expected a \.txt file with a sentence in each line"):
        gather(options(sentences, strangers=sentences.data))  # a table's lines are no sentences
    (tmp_path / "one.txt").write_text("a sentence")
    with pytest.raises(InputError, match=r"expected at least 2 photos of none of the labels.*got 0 that can be read"):
        gather(options(colours, strangers=tmp_path))


# === Sentences and sounds ===


def test_a_page_about_sentences_shows_them_and_speaks_of_them(sentences):
    found = gather(options(sentences))
    one, text = found.heads[0], text_of(found)
    assert "cut off after 6 tokens of the bundle's own tokenizer.json" in text
    assert "one of 2 labels for each sentence" in text
    assert one.evaluation.mistakes
    assert all(mistake.text in text for mistake in one.evaluation.mistakes)
    assert "send <money>" in text
    assert "photo" not in text
    assert one.rejection.strangers.samples == 4  # the empty line is none
    assert "[litert,text]" in text
    assert "edgetransfer run intents.bundle 'a sentence'" in text
    assert "language, length and way of writing" in text


def test_a_page_about_sounds_names_clips_and_their_lengths(sounds):
    soundfile = pytest.importorskip("soundfile")
    found = gather(options(sounds))
    mistakes, text = found.heads[0].evaluation.mistakes, text_of(found)
    assert "16000 Hz, mono, any length: cut into windows of 96 frames of 64 mel bands (yamnet)" in text
    assert mistakes
    for one in mistakes:
        assert one.seconds == pytest.approx(soundfile.info(one.file).duration, abs=1e-3)
        assert f"{one.name} {one.label} {one.answer}" in text
        assert f"{one.seconds:.1f} s" in text
    assert "photo" not in text
    assert found.heads[0].rejection.strangers.samples == 4
    assert "[litert,audio]" in text
    assert "a sound takes one for each of its windows" in text_of(
        gather(options(sounds, learning_curve=False, measure=True))
    )


@pytest.mark.parametrize(
    ("made", "start"),
    [
        ("colours", "import numpy\nframe = numpy.zeros((20, 30, 3), numpy.uint8)\n"),
        ("sentences", "sentence = 'my card is lost'\n"),
        ("sounds", "import numpy\nsamples = numpy.zeros(16000, numpy.float32)\n"),
    ],
)
def test_what_the_page_says_to_run_runs(made, start, request):
    bundle = request.getfixturevalue(made).bundle
    content = render(gather(PageOptions(bundle.path, measure=False))).decode()
    code = unescape(re.search(r'<code class="language-python">(.*?)</code>', content, re.S)[1])
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{start}{code}"]
    done = subprocess.run(command, cwd=bundle.path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'scores': " in done.stdout
