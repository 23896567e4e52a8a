from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from edgetransfer.errors import BundleError, InputError
from edgetransfer.profile import cpu_name, profile, resident_bytes
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.report import ProfileReport

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
