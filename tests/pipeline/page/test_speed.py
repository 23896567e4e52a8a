from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest

pytest.importorskip("matplotlib", reason="charts need the extra 'train'")

from edgetransfer.errors import InputError
from edgetransfer.pipeline.page import PageOptions, gather, render
from edgetransfer.pipeline.page.figures import LatencyRow
from edgetransfer.profile import profile
from edgetransfer.spec import json_shape


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, tiny_bundle):
    return tiny_bundle.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny.bundle")


@pytest.fixture(scope="module")
def bare(bundle):
    return gather(PageOptions(bundle.path, measure=False, devices=("raspberry_pi_4",)))


def text_of(figures):
    """Return what a reader reads of the page, words one space apart."""
    body = render(figures).decode().partition("<body>")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def predicted(device="Board <i>", **changes):
    fields = {"ms": 40.0, "low_ms": 30.0, "high_ms": 60.0, "interval": "80 % interval"}
    return LatencyRow(device, "litert, 4 threads", basis="predicted, unvalidated", measured=False, **(fields | changes))


def test_measured_and_predicted_rows_are_told_apart(bundle):
    found = gather(PageOptions(bundle.path))
    found = replace(found, latencies=(*found.latencies, predicted()))
    measured = [row for row in found.latencies if row.measured]
    assert {row.basis.split(",")[0] for row in measured} == {"measured here"}
    assert all(0 < row.low_ms <= row.ms <= row.high_ms for row in measured)
    text = text_of(found)
    assert "measured here" in text
    assert "predicted, unvalidated" in text
    assert "30 ms to 60 ms 80 % interval" in text


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"low_ms": None}, "to 60 ms"),
        ({"low_ms": None, "high_ms": None, "interval": "none"}, "not known"),
        ({"ms": 4000.0, "low_ms": 0.2, "high_ms": 5000.0}, "0.2 ms to 5000 ms"),
    ],
)
def test_ranges_may_be_open_or_wide(changes, shown, bare):
    rows = (predicted("a" * 200), predicted(**changes))
    assert shown in text_of(replace(bare, latencies=rows))


def test_a_measurement_from_a_device_is_read(bundle, tmp_path):
    report = replace(profile(bundle, runs=3, seconds=1), cpu="Raspberry <Pi>")
    (tmp_path / "pi.json").write_bytes(json_shape.canonical(report.to_json()))
    found = gather(PageOptions(bundle.path, measure=False, profiles=(tmp_path / "pi.json",)))
    text = text_of(found)
    assert "measured there (pi.json), 3 runs" in text
    assert "Raspberry <Pi>" in text
    assert "no measurement from there was given" not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "expected a measurement of this bundle"),
        ({"bundle": None}, "expected what 'edgetransfer profile --json' prints"),
        ({"one_thread": {"threads": 1, "runs": 1, "p50_ms": -1.0, "p90_ms": 1.0, "p99_ms": 2.0}}, "expected 0 < p50"),
    ],
)
def test_a_measurement_that_is_none_of_this_bundle_is_refused(change, message, bundle, tmp_path):
    document = profile(bundle, runs=1, seconds=1).to_json() | change
    (tmp_path / "pi.json").write_bytes(json_shape.canonical(document))
    with pytest.raises(InputError, match=f"{message}.*run 'edgetransfer profile"):
        gather(PageOptions(bundle.path, measure=False, profiles=(tmp_path / "pi.json",)))


def test_a_measurement_that_is_no_json_is_refused(bundle, tmp_path):
    (tmp_path / "pi.json").write_text("latency: 3 ms")
    with pytest.raises(InputError, match="expected JSON"):
        gather(PageOptions(bundle.path, measure=False, profiles=(tmp_path / "pi.json",)))


def test_devices_are_told_with_their_measurements_and_sources(bare):
    text = text_of(bare)
    assert "Raspberry Pi 4 Model B" in text
    assert "static_int8 runs there with ai-edge-litert" in text
    sources = {source.where for one in bare.devices[0].measurements for source in one.sources}
    assert sources
    assert sources <= set(re.findall(r'<a href="([^"]+)"', render(bare).decode()))
    assert "of the device, not of this bundle" in text


def test_the_device_of_the_build_is_told_of_by_default(tiny_bundle, tmp_path):
    tiny_bundle.make_bundle(tmp_path / "t.bundle", device="pixel_8")
    assert [one.slug for one in gather(PageOptions(tmp_path / "t.bundle", measure=False)).devices] == ["pixel_8"]


def test_a_device_of_the_build_that_is_not_known_here_is_only_named(tiny_bundle, tmp_path):
    tiny_bundle.make_bundle(tmp_path / "t.bundle", device="my_board")
    found = gather(PageOptions(tmp_path / "t.bundle", measure=False))
    assert found.devices == ()
    assert "my_board" in text_of(found)


def test_a_model_that_is_too_large_for_a_device_is_called_so(bare):
    small = replace(bare.devices[0], max_model_bytes=10)
    assert "does NOT fit" in text_of(replace(bare, devices=(small,)))
