from __future__ import annotations

import base64
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from PIL import Image

from edgetransfer.errors import BundleError, DataError, DeviceError, InputError, IntegrityError, UnknownNameError
from edgetransfer.evaluate import evaluate
from edgetransfer.pipeline.page import PageOptions, gather, render
from edgetransfer.pipeline.page.figures import FloatModel
from edgetransfer.pipeline.page.metrics import confusion_parts
from edgetransfer.spec.manifest import BudgetInfo, LicenceInfo
from edgetransfer.spec.task import Task

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("<script>alert(1)</script>", '"green" & co', "bl'ue $x^2$ \N{SNOWMAN} 赤")
SECTIONS = ("about", "data", "metrics", "confusion", "reliability", "mistakes", "speed", "usage", "card")
WITHOUT_END = {"meta", "img", "br", "link", "use", "path"}
SWAPPED = 3  # photos that carry another label than they should


class Page(HTMLParser):
    """What a page consists of: elements with their attributes, and its text."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content.decode())
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in WITHOUT_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag in WITHOUT_END or self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_bundle):
    """A small bundle whose labels are as hostile as text can be."""
    return tiny_bundle.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle", labels=LABELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A CSV with ten photos a label; some are called green that are red, and one file is damaged."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = ["path,label,split"]
    for channel in range(3):
        for number in range(10):
            pixels = random.integers(0, 110, (40, 60, 3))
            pixels[..., channel] += 100 + 4 * number
            name = f"{channel}-{number} <b>.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            label = LABELS[1] if channel == 0 and number < SWAPPED else LABELS[channel]
            quoted = label.replace('"', '""')
            lines.append(f'{name},"{quoted}",test')
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    lines.append('damaged.png,"<script>alert(1)</script>",test')
    (folder / "photos.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "photos.csv"


@pytest.fixture(scope="module")
def figures(bundle, data):
    return gather(PageOptions(bundle.path, data, measure=False, devices=("raspberry_pi_4",)))


@pytest.fixture(scope="module")
def content(figures):
    return render(figures)


@pytest.fixture(scope="module")
def bare(bundle):
    return gather(PageOptions(bundle.path, measure=False))


# === What is on it ===


def test_every_section_is_there_and_the_links_lead_to_them(content):
    page = Page(content)
    assert tuple(one["id"] for one in page.all("section")) == SECTIONS
    inside = {one["href"][1:] for one in page.all("a") if one["href"].startswith("#")}
    assert inside == set(SECTIONS)


def test_the_figures_are_those_of_the_evaluation(figures, content):
    report = figures.evaluation.report
    assert report.samples == 30
    assert report.confusion[1][0] == SWAPPED
    text = Page(content).text
    assert f"{report.accuracy:.1%}" in text
    assert f"{report.expected_calibration_error:.3f}" in text
    assert "damaged.png" in text
    assert f"{SWAPPED} of 30 answers are wrong" in text


def test_without_photos_the_page_says_what_is_missing_and_how_to_get_it(bare):
    page = Page(render(bare))
    assert [one["id"] for one in page.all("section")] == ["about", "data", "metrics", "speed", "usage", "card"]
    assert "edgetransfer report tiny.bundle --data photos/" in page.text
    assert "--float-run tiny.run" in page.text
    assert "edgetransfer profile tiny.bundle --json > device.json" in page.text
    assert "No latency is known" in page.text
    assert "50.0%" in page.text  # recorded in the manifest
    assert "4 golden samples" in page.text


def test_the_float_models_figures_stand_beside_the_shipped_models(figures):
    better = replace(figures.evaluation.report, accuracy=1.0, accuracy_95=(0.9, 1.0))
    text = Page(render(replace(figures, floats=FloatModel(better, same_data=True)))).text
    assert "float model shipped minus float" in text
    assert "-10.0 points" in text
    assert "learned from other data" not in text
    other = Page(render(replace(figures, floats=FloatModel(better, same_data=False)))).text
    assert "The float model learned from other data than the bundle did." in other


@pytest.mark.slow
def test_a_real_runs_float_model_is_measured_on_the_same_photos(built, folder, bundle, data):
    run = built.train.run
    found = gather(PageOptions(built.bundle.path, folder, float_run=run, measure=False))
    assert found.evaluation.same_data
    assert found.floats.same_data
    assert found.floats.report.samples == found.evaluation.report.samples
    assert found.evaluation.report.accuracy == built.exported["test"].accuracy
    assert abs(found.floats.report.accuracy - built.floats["test"].accuracy) <= 1 / found.floats.report.samples
    text = Page(render(found)).text
    assert "The figures below are of these very photos, with the same splits." in text
    assert "its run was not given" not in text
    with pytest.raises(BundleError, match="expected the bundle's labels, got"):
        gather(PageOptions(bundle.path, data, float_run=run, measure=False))


def test_float_figures_of_the_manifest_are_used(tiny_bundle, tmp_path):
    budget = BudgetInfo(0.5, 0.93, 0.92, 3, ("an op",))
    tiny_bundle.make_bundle(tmp_path / "t.bundle", budget=budget)
    text = Page(render(gather(PageOptions(tmp_path / "t.bundle", measure=False)))).text
    assert "shipped model 92.0%, float model 93.0%, -1.0 points" in text
    assert "1 ops kept in floats" in text


def test_a_temperature_inside_the_graph_has_a_diagram_before_and_one_after(tiny_bundle, data, content, tmp_path):
    warm = Task("single_label", LABELS, temperature=2.0)
    path = tiny_bundle.make_bundle(tmp_path / "t.bundle", labels=LABELS, task=warm).path
    found = gather(PageOptions(path, data, measure=False))
    before, after = found.evaluation.uncalibrated, found.evaluation.calibration
    assert (before.temperature, after.temperature) == (1.0, 2.0)
    assert before.confidence > after.confidence
    assert after.error == pytest.approx(found.evaluation.report.expected_calibration_error)
    assert len([one for one in Page(render(found)).all("svg") if "Reliability" in one["aria-label"]]) == 2
    assert len([one for one in Page(content).all("svg") if "Reliability" in one["aria-label"]]) == 1


def test_other_data_than_the_builds_are_told(content):
    assert "Other data than the build's." in Page(content).text


def test_a_split_that_was_trained_on_is_called_so(bundle, data, tmp_path):
    table = data.parent / "train.csv"
    table.write_text(data.read_text(encoding="utf-8").replace(",test", ",train"), encoding="utf-8")
    found = gather(PageOptions(bundle.path, table, split="train", measure=False))
    table.unlink()
    assert "The train split is not for judging" in Page(render(found)).text


@pytest.mark.parametrize(("labels", "has_matrix", "has_map"), [(24, 1, 0), (25, 0, 1), (100, 0, 1), (130, 0, 0)])
def test_many_labels_become_a_map_or_pairs_and_not_an_unreadable_matrix(labels, has_matrix, has_map, figures):
    true = np.arange(labels * 4) % labels
    scores = np.full((len(true), labels), 0.1 / labels)
    scores[np.arange(len(true)), np.where(true == 3, 4, true)] += 0.9
    names = [f"label {number}" for number in range(labels)]
    report = evaluate(scores, true, names, split="test", artifact="x")
    section = "".join(confusion_parts(replace(figures.evaluation, report=report), "confusion"))
    assert section.count('class="matrix"') == has_matrix
    assert section.count("<svg") == has_map
    assert re.search(r"label 3</th><td>label 4</td><td class=\"number\">4</td><td class=\"number\">100.0%", section)
    assert len(section) < 200_000


def test_what_the_page_says_to_run_runs(content, bundle):
    code = re.search(r'<code class="language-python">(.*?)</code>', content.decode(), re.S)[1]
    unescaped = "".join(Page(f"<p>{code}</p>".encode()).texts)
    start = "import numpy\nframe = numpy.zeros((20, 30, 3), numpy.uint8)\n"
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{start}{unescaped}"]
    done = subprocess.run(command, cwd=bundle.path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any(label in done.stdout for label in LABELS)


def test_the_bins_are_those_of_the_calibration_error(figures):
    report, bins = figures.evaluation.report, figures.evaluation.calibration.bins
    assert sum(one.samples for one in bins) == report.samples
    error = sum(one.samples * abs(one.confidence - one.accuracy) for one in bins) / report.samples
    assert error == pytest.approx(report.expected_calibration_error, abs=1e-12)


# === Safe, whole in itself, and the same every time ===


def test_labels_and_file_names_are_text_and_never_markup(content):
    page = Page(content)
    assert not page.all("script")
    assert not page.all("b") or all("script" not in tag for tag, _ in page.elements)
    assert all(not name.startswith("on") for _, attributes in page.elements for name in attributes)
    for label in LABELS:
        assert " ".join(label.split()) in page.text
    assert "0-0 <b>.png" in page.text
    alts = [one["alt"] for one in page.all("img")]
    assert any("<script>alert(1)</script>" in alt for alt in alts)


def test_nothing_is_fetched_from_anywhere(content):
    page = Page(content)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            address = attributes.get(name)
            if address is None:
                continue
            if tag == "a":
                assert address.startswith(("#", "https://")), address
            else:
                assert address.startswith(("data:image/jpeg;base64,", "#")), (tag, address[:40])
    text = content.decode()
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    (policy,) = (one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    assert "script-src" not in policy


def test_an_address_that_would_run_is_no_link(tiny_bundle, tmp_path):
    licence = LicenceInfo("weights", "none", "javascript:alert(1)", None)
    tiny_bundle.make_bundle(tmp_path / "t.bundle", licences=(licence,))
    page = Page(render(gather(PageOptions(tmp_path / "t.bundle", measure=False))))
    assert "javascript:alert(1)" in page.text
    assert not [one for one in page.all("a") if "javascript" in one["href"]]


def test_equal_inputs_give_the_same_bytes_wherever_they_lie(bundle, data, content, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "here" / "tiny.bundle")
    shutil.copytree(data.parent, tmp_path / "elsewhere")
    options = PageOptions(
        tmp_path / "here" / "tiny.bundle",
        tmp_path / "elsewhere" / "photos.csv",
        measure=False,
        devices=("raspberry_pi_4",),
        workers=1,
    )
    again = render(gather(options))
    assert again == content
    assert str(tmp_path).encode() not in again


def test_the_page_can_be_used_without_seeing_it(content):
    page = Page(content)
    assert page.all("html")[0]["lang"] == "en"
    assert {"width=device-width, initial-scale=1", "light dark"} <= {one.get("content") for one in page.all("meta")}
    assert all(one.get("alt") for one in page.all("img"))
    assert all(one.get("role") == "img" and one.get("aria-label") for one in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(one.get("scope") in ("row", "col") for one in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_worst_mistakes_are_small_pictures_without_exif_the_surest_first(figures, content):
    scores = [one.answer_score for one in figures.evaluation.mistakes]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == SWAPPED
    pictures = Page(content).all("img")
    assert len(pictures) == SWAPPED
    for one in pictures:
        with Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2]))) as picture:
            assert picture.size == (60, 40)
            assert not picture.getexif()


def test_no_photo_is_in_the_page_where_none_is_wanted(bundle, data):
    page = Page(render(gather(PageOptions(bundle.path, data, measure=False, worst=0))))
    assert not page.all("img")
    assert "no pictures were asked for" in page.text


def test_the_json_holds_the_figures_and_no_path_of_this_machine(figures, tmp_path):
    import json

    document = figures.to_json()
    text = json.dumps(document, allow_nan=False)
    assert document["evaluation"]["report"]["samples"] == 30
    assert len(document["evaluation"]["mistakes"]) == SWAPPED
    assert "file" not in document["evaluation"]["mistakes"][0]
    assert str(tmp_path.parent) not in text.replace(document["evaluation"]["data"]["source"], "")


# === What cannot be ===


def test_a_damaged_bundle_is_refused(bundle, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "t.bundle")
    with (tmp_path / "t.bundle" / "model.tflite").open("ab") as file:
        file.write(b"x")
    with pytest.raises(IntegrityError, match=r"model.tflite has \d+ bytes"):
        gather(PageOptions(tmp_path / "t.bundle", measure=False))


def test_what_is_no_bundle_no_device_and_no_run_is_refused(bundle, data, tmp_path):
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        gather(PageOptions(tmp_path, measure=False))
    with pytest.raises(UnknownNameError, match="did you mean 'raspberry_pi_4'"):
        gather(PageOptions(bundle.path, measure=False, devices=("raspbery_pi_4",)))
    with pytest.raises(DeviceError, match=r"nowhere\.toml"):
        gather(PageOptions(bundle.path, measure=False, devices=(str(tmp_path / "nowhere.toml"),)))
    with pytest.raises(BundleError, match="expected a run"):
        gather(PageOptions(bundle.path, data, measure=False, float_run=tmp_path))
    with pytest.raises(InputError, match="--float-run needs --data"):
        gather(PageOptions(bundle.path, measure=False, float_run=tmp_path))


def test_other_labels_and_an_empty_split_are_refused(bundle, data, tmp_path):
    shutil.copytree(data.parent, tmp_path / "data")
    table = tmp_path / "data" / "photos.csv"
    with pytest.raises(DataError, match=r"expected photos in its 'val' split, got none; take another --split: test"):
        gather(PageOptions(bundle.path, table, split="val", measure=False))
    table.write_text(table.read_text(encoding="utf-8").replace("bl'ue", "blue"), encoding="utf-8")
    with pytest.raises(DataError, match="unknown to the bundle: 'blue"):
        gather(PageOptions(bundle.path, table, measure=False))
