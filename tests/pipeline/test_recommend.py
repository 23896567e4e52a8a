from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace

import click
import numpy as np
import pytest

from edgetransfer.cli.main import cli
from edgetransfer.data import load_dataset
from edgetransfer.errors import DataError, ExportError
from edgetransfer.features import deploy as deploying
from edgetransfer.pipeline import recommend_judge
from edgetransfer.pipeline.device_here import with_speeds
from edgetransfer.pipeline.recommend import RecommendOptions, recommend
from edgetransfer.pipeline.recommend_candidates import Space
from edgetransfer.pipeline.recommend_choice import Limits
from edgetransfer.pipeline.recommend_judge import drawn
from edgetransfer.pipeline.recommend_picture import draw_front
from edgetransfer.spec.device import device_file_text, load_device
from edgetransfer.spec.latency import Speed
from edgetransfer.spec.preprocess import Normalisation

MS_A_MEGA = 1.0  # what the devices here take for a million pointwise multiply-adds


@pytest.fixture(scope="module")
def device_of(tmp_path_factory):
    """Writes a Raspberry Pi 4's file with other speeds, or none, and returns its path."""

    def write(*speeds):
        path = tmp_path_factory.mktemp("devices") / "my_board.toml"
        plain = re.split(r"^(?=\[\[speed\]\])", device_file_text("raspberry_pi_4"), maxsplit=1, flags=re.M)[0]
        path.write_text(with_speeds(plain, speeds, "my_board"), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(scope="module")
def slow_board(device_of):
    terms = {"call": 0.01} | {
        f"{precision} {work} macs": MS_A_MEGA for precision in ("int8", "float32") for work in ("pointwise", "stem")
    }
    return device_of(Speed("LiteRT", 4, terms, "measured", 100, 10, 0.1, 0.2, 0.8, 1.25))


@pytest.fixture(scope="module")
def backbone_of_any_size(tmp_path_factory, small_keras):
    import keras

    model = keras.models.clone_model(small_keras, input_tensors=keras.Input((None, None, 3), name="pixels"))
    model.set_weights(small_keras.get_weights())
    path = tmp_path_factory.mktemp("backbone") / "any_size.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def options_of(folder, backbone_of_any_size):
    def make(*, inputs_px=(32, 48), recipes=(), **changes):
        space = Space((f"keras:{backbone_of_any_size}",), (), inputs_px, recipes, None, Normalisation(1 / 128, 127))
        return RecommendOptions(**{"data": folder, "space": space, **changes})

    return make


@pytest.fixture(scope="module")
def found(options_of, slow_board):
    return recommend(options_of(device=slow_board, limits=Limits(max_latency_ms=100)))


# === Which photos are looked at ===


def test_photos_are_drawn_by_content_each_class_with_its_share_and_none_for_testing(photos, tmp_path):
    photos.write_photos(tmp_path, each=60)
    for number in range(15, 60):
        (tmp_path / "rocket" / f"{number:03}.png").unlink()
    dataset = load_dataset(tmp_path)
    some = drawn(dataset, 40)
    counts = {label: sum(sample.label == label for sample in some) for label in dataset.labels}
    pool = {label: sum(s.label == label and s.split != "test" for s in dataset.samples) for label in dataset.labels}
    assert len(some) == 40
    for label, count in counts.items():
        assert abs(count - 40 * pool[label] / sum(pool.values())) <= 2, label
    assert {sample.split for sample in some} == {"train", "val"}
    shuffled = replace(dataset, samples=dataset.samples[::-1])
    assert [sample.sha256 for sample in drawn(shuffled, 40)] == [sample.sha256 for sample in some]
    assert {s.sha256 for s in drawn(dataset, 25)} < {
        s.sha256 for s in some
    }  # fewer are a part of more: the cache helps


def test_too_few_photos_are_refused(photos, tmp_path):
    dataset = load_dataset(photos.write_photos(tmp_path, each=6))
    with pytest.raises(DataError, match="at least 20 different photos"):
        drawn(dataset, 600)


# === The whole ===


def test_it_names_a_best_of_all_candidates_and_the_command_that_builds_it(found, slow_board, folder):
    assert len(found.judged) == 4
    assert found.best in found.front
    times = [one.cost.time.ms for one in found.judged]
    assert times == sorted(times)
    for one in found.judged:
        assert one.photos == found.photos <= found.pool
        assert one.accuracy > 0.6  # of three subjects
        assert one.accuracy_95[0] < one.accuracy < one.accuracy_95[1]
        assert one.standard_error == pytest.approx(np.sqrt(one.accuracy * (1 - one.accuracy) / one.photos))
    arguments = shlex.split(found.command)
    assert arguments[0] == "edgetransfer"
    given = cli.get_command(click.Context(cli), "build").make_context("build", arguments[2:]).params
    assert given["data"] == folder
    assert given["device"] == slow_board
    assert given["input_px"] == found.best.candidate.plan.height_px
    assert given["recipe"] == found.best.candidate.recipe
    assert given["normalisation"] == Normalisation(1 / 128, 127)
    assert given["output"].name == "photos.bundle"


def test_the_report_tells_everything_in_both_forms(found):
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [row["name"] for row in document["judged"]] == [one.name for one in found.judged]
    assert sum(row["best"] for row in document["judged"]) == 1
    assert document["compared_by"] == "latency"
    assert document["command"] == found.command
    text = found.as_text()
    assert f"next:  {found.command}" in text
    assert found.reason in text
    for words in ("LogME", "95 %", "none for testing", "validated for LiteRT", "4 threads", "holds"):
        assert words in text, words


def test_model_bytes_are_those_of_the_graph_with_a_linear_head(found, slow_board):
    one = found.judged[0]
    judge = recommend_judge.Judge(load_dataset(found.data), (), load_device(slow_board), None)
    graph, _ = judge.deployed(one.candidate)
    weight = 4 if one.candidate.recipe == "float32" else 1
    assert one.cost.model_bytes == len(graph) + 24 * 3 * weight


def test_a_second_run_converts_and_computes_nothing(found, options_of, slow_board, monkeypatch):
    monkeypatch.setattr(deploying, "_convert", None)
    monkeypatch.setattr(deploying, "_carry_out", None)
    again = recommend(options_of(device=slow_board, limits=Limits(max_latency_ms=100)))
    assert replace(again, seconds=0) == replace(found, seconds=0)


def test_photos_for_testing_are_never_looked_at(found, options_of, monkeypatch):
    seen = set()

    def watched(graph, views, *arguments, **options):
        seen.update(view.sample.split for view in views)
        return extract(graph, views, *arguments, **options)

    extract = recommend_judge.extract
    monkeypatch.setattr(recommend_judge, "extract", watched)
    recommend(options_of(recipes=("float32",), inputs_px=(32,)))
    assert seen == {"train", "val"}


def test_without_a_device_time_is_measured_here(options_of):
    report = recommend(options_of(recipes=("float32",), inputs_px=(32,)))
    time = report.judged[0].cost.time
    assert time.measured
    assert 0 < time.low_ms <= time.ms <= time.high_ms
    assert "this machine" in report.as_text()
    assert "--device" not in report.command


def test_a_device_without_figures_is_compared_by_multiply_adds(options_of, device_of):
    report = recommend(options_of(device=device_of(), limits=Limits(max_latency_ms=5)))
    assert all(one.cost.time is None for one in report.judged)
    document = report.to_json()
    assert document["compared_by"] == "multiply-adds"
    assert {row["limit"] for row in document["judged"]} == {"not known"}
    text = report.as_text()
    assert "M multiply-adds" in text
    assert "latency: not known: the device file of my_board has no figures of its CPU to predict it from" in text
    assert "whether an image stays within 5 ms is not known" in text


def test_what_is_surely_too_slow_is_left_out_before_its_features_are_computed(options_of, slow_board, monkeypatch):
    monkeypatch.setattr(recommend_judge, "extract", None)
    report = recommend(options_of(device=slow_board, limits=Limits(max_latency_ms=0.01)))
    assert report.judged == ()
    assert report.best is report.command is None
    assert {one.kind for one in report.left_out} == {"limit"}
    assert "over --max-latency-ms 0.01" in report.as_text()


def test_the_largest_comes_first_until_it_proves_too_slow(options_of, slow_board, found):
    order = []

    class Watcher:
        def stage(self, title):
            order.append(title)

        def step(self, done, total):
            pass

        def note(self, text):
            pass

    by_px = {one.candidate.plan.height_px: one.cost.time.ms for one in found.judged if one.candidate.rank == 0}
    assert by_px[48] > 1.5 * by_px[32]

    def sizes(limits):
        order.clear()
        options = options_of(device=slow_board, limits=limits, inputs_px=(32, 48, 64))
        recommend(options, watcher=Watcher())
        return [(int(title.split()[2]), title.split()[4]) for title in order if title.startswith("judging")]

    first = sizes(Limits())
    assert first[:3] == [(64, "static_int8"), (48, "static_int8"), (32, "static_int8")]
    assert {recipe for _, recipe in first[3:]} == {"float32"}
    within = sizes(Limits(max_latency_ms=1.1 * by_px[32]))
    assert within[:2] == [(64, "static_int8"), (32, "static_int8")]  # 48 is not expected to hold it


def test_when_time_is_over_the_rest_is_listed(options_of, slow_board):
    ticks = iter(range(10**6))
    report = recommend(options_of(device=slow_board, seconds=0.5), clock=lambda: float(next(ticks)))
    assert len(report.judged) == 1
    assert [one.kind for one in report.left_out] == ["time"] * 3
    assert report.best is report.judged[0]
    assert "not judged for lack of time" in report.as_text()


def test_time_that_is_over_in_the_middle_of_a_candidate_ends_it(options_of, slow_board, monkeypatch):
    now = [0.0]
    extract = recommend_judge.extract

    def late_in_the_second(graph, views, spec, *, progress, **options):
        if now[0]:
            now[0] = 100.0
            progress(1, len(views))
        now[0] += 1.0
        return extract(graph, views, spec, progress=progress, **options)

    monkeypatch.setattr(recommend_judge, "extract", late_in_the_second)
    report = recommend(options_of(device=slow_board, seconds=50), clock=lambda: now[0])
    assert len(report.judged) == 1
    assert [one.kind for one in report.left_out] == ["time"] * 3


def test_what_cannot_be_made_is_listed_and_the_others_go_on(options_of, slow_board, monkeypatch):
    deploy = recommend_judge.deploy

    def fails(backbone, recipe, *arguments):
        if recipe.name == "static_int8":
            raise ExportError("the graph breaks a promise")
        return deploy(backbone, recipe, *arguments)

    monkeypatch.setattr(recommend_judge, "deploy", fails)
    report = recommend(options_of(device=slow_board))
    assert {one.candidate.recipe for one in report.judged} == {"float32"}
    assert {(one.kind, one.reason) for one in report.left_out} == {("failed", "the graph breaks a promise")}


# === The picture ===


def test_the_picture_is_the_same_each_time_and_names_the_front(found):
    drawing = draw_front(found, "svg")
    assert drawing == draw_front(found, "svg")
    text = drawing.decode()
    assert "milliseconds an image, predicted for my_board" in text
    assert all(one.name in text for one in found.front)
    assert draw_front(found, "png").startswith(b"\x89PNG")


def test_the_picture_shows_multiply_adds_where_time_is_not_known(found):
    untimed = tuple(replace(one, cost=replace(one.cost, time=None, no_time="no figures")) for one in found.judged)
    drawing = draw_front(replace(found, judged=untimed, best=None), "svg").decode()
    assert "millions of multiply-adds an image" in drawing
