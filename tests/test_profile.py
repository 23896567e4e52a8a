from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from edgetransfer.errors import BundleError, InputError, OutputError
from edgetransfer.profile import best_of, engines_for, profile, resident_bytes, thread_counts
from edgetransfer.runtime.cores import available_cores, cpu_name
from edgetransfer.spec.report import Latency, ProfileReport

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[0] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


def test_a_profile_has_ordered_percentiles_of_the_asked_number_of_runs(tmp_path):
    bundle = tiny.make_bundle(tmp_path / "a.bundle")
    report = profile(bundle.path, runs=30)
    for latency in (report.one_thread, report.all_threads):
        assert 0 < latency.p50_ms <= latency.p90_ms <= latency.p99_ms < 1000
        assert latency.runs == 30
    assert (report.one_thread.threads, report.all_threads.threads) == (1, available_cores())
    assert report.model_bytes == bundle.model_path.stat().st_size
    assert report.load_ms > 0
    assert report.first_ms > 0
    assert report.peak_memory_bytes >= 0
    assert report.sha256 == bundle.sha256


def test_a_profile_comes_back_from_its_json(tmp_path):
    report = profile(tiny.make_bundle(tmp_path / "a.bundle"), runs=3)
    assert ProfileReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    text = report.as_text()
    assert "p99 ms" in text
    assert report.cpu in text


def test_the_time_limit_ends_a_series_early(tmp_path):
    report = profile(tiny.make_bundle(tmp_path / "a.bundle"), runs=10**9, seconds=0.05)
    assert 1 <= report.one_thread.runs < 10**6


def test_a_series_has_at_least_one_run_however_short_the_time(tmp_path):
    assert profile(tiny.make_bundle(tmp_path / "a.bundle"), seconds=1e-9).one_thread.runs >= 1


@pytest.mark.parametrize("options", [{"runs": 0}, {"seconds": 0}, {"seconds": float("nan")}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(InputError, match="at least 1 run"):
        profile(tmp_path, **options)


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="not a bundle"):
        profile(tmp_path)


def test_resident_memory_grows_with_what_is_held():
    before = resident_bytes()
    held = bytearray(os.urandom(64 * 1024 * 1024))
    assert resident_bytes() - before > 50 * 1024 * 1024
    assert len(held) == 64 * 1024 * 1024


def test_the_processor_has_a_name():
    assert cpu_name().strip()
    assert "\n" not in cpu_name()


# === The choice of threads ===


@pytest.fixture
def settings(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGETRANSFER_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings" / "threads.json"


def latency(threads: int, p50_ms: float) -> Latency:
    return Latency(threads, 10, p50_ms, p50_ms, p50_ms)


def test_the_best_is_the_one_on_fewest_threads_within_five_percent():
    assert best_of([latency(1, 10), latency(2, 6.2), latency(3, 6.0), latency(4, 8)]).threads == 2
    assert best_of([latency(1, 10), latency(2, 6.4), latency(3, 6.0), latency(4, 8)]).threads == 3
    assert best_of([latency(1, 1.0), latency(2, 10)]).threads == 1
    assert best_of([latency(4, 2.0), latency(2, 2.05), latency(1, 2.09)]).threads == 1


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 2, 3, 4)), (6, (1, 2, 3, 4, 5, 6)), (24, (1, 2, 3, 4, 5, 6, 7, 8, 16, 24)),
     (64, (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64))],
)  # fmt: skip
def test_each_number_of_threads_is_measured_up_to_eight_and_then_some(cores, counts):
    assert thread_counts(cores) == counts


def test_a_choice_is_measured_in_turns_and_kept(tmp_path, settings):
    bundle = tiny.make_bundle(tmp_path / "a.bundle")
    before = {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()}
    report = profile(bundle, runs=30, choose=True)
    assert [one.threads for one in report.series] == list(thread_counts(available_cores()))
    assert {one.runs for one in report.series} == {30}
    assert report.threads == best_of(report.series).threads
    assert "now kept in" in report.threads_because
    (kept,) = json.loads(settings.read_text())["choices"]
    assert kept["threads"] == report.threads
    assert kept["model_sha256"] == bundle.manifest.files["model.tflite"].sha256
    assert {path: path.read_bytes() for path in bundle.path.rglob("*") if path.is_file()} == before


def test_a_profile_says_which_threads_are_in_use_and_why(tmp_path, settings):
    bundle = tiny.make_bundle(tmp_path / "a.bundle")
    report = profile(bundle, runs=3)
    assert (report.threads, report.threads_because[:11]) == (1, "the default")
    assert not settings.exists()
    chosen = profile(bundle, runs=3, choose=True)
    again = profile(bundle, runs=3)
    assert again.threads == chosen.threads
    assert again.threads_because.startswith("the best of 1")
    assert again.threads in [one.threads for one in again.series]
    assert f"threads in use   {again.threads}: " in again.as_text()
    assert ProfileReport.from_json(json.loads(json.dumps(again.to_json()))) == again


def test_a_choice_that_cannot_be_kept_is_refused_before_it_is_measured(tmp_path, settings):
    settings.parent.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be kept"):
        profile(tmp_path / "no.bundle", choose=True)


def test_the_engine_of_the_format_is_tried_first(tmp_path):
    assert engines_for(tiny.make_bundle(tmp_path / "a.bundle"))[0] == "litert"
