from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import DeviceError, InputError
from edgetransfer.estimate.latency import predict, total_ms
from edgetransfer.estimate.terms import terms_of
from edgetransfer.export import get_exporter
from edgetransfer.pipeline import calibrate as calibration
from edgetransfer.pipeline.calibrate import Timed, calibrate_here, fit
from edgetransfer.pipeline.device_here import describe_here, with_speeds
from edgetransfer.pipeline.probe_graphs import KINDS, NETWORKS, PRECISIONS, network_graph, probe_graph, probes
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.device import load_device
from edgetransfer.spec.latency import Speed

SPEED = Speed("LiteRT", 2, {"call": 0.01, "float32 pointwise macs": 0.02}, "measured", 230, 10, 0.05, 0.12, 0.9, 1.1)


def costs(graph: bytes):
    return get_exporter("litert").costs(graph)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_probe_runs_and_is_counted_as_the_op_that_it_is(precision):
    kinds = {}
    for probe in probes(precision):
        graph = probe_graph(probe)
        engine = open_engine("litert", graph, threads=1)
        engine.run(np.zeros(engine.input.shape, engine.input.dtype))
        engine.close()
        ops = costs(graph)
        assert len(ops) == probe.repeats, probe.name
        kinds.setdefault(probe.kind, set()).update((op.kind, op.function) for op in ops)
    assert set(kinds) == set(KINDS)
    assert kinds["scale"] == {("mul", "scale")}
    assert kinds["mul"] == {("mul", "")}
    assert kinds["max_pool"] == {("pool", "max")}
    assert kinds["depthwise"] == {("depthwise", "")}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_probes_measure_every_term_of_every_test_network(name, precision):
    known = {term for probe in probes(precision) for term in terms_of(costs(probe_graph(probe)))}
    graph = network_graph(name, precision)
    assert set(terms_of(costs(graph))) <= known
    engine = open_engine("litert", graph, threads=1)
    assert engine.run(np.zeros(engine.input.shape, engine.input.dtype)).shape == (1, 100)
    engine.close()


def test_the_fit_finds_the_coefficients_that_the_times_were_made_of():
    true = {"call": 0.02, "float32 pointwise macs": 0.05, "float32 add written": 0.3, "activation bytes": 0.0}
    works = [{term: float(amount) for term, amount in zip(true, row, strict=True)} for row in np.eye(4) * 3 + 1]
    timed = [Timed(f"{i}", total_ms(work, true)[0], work) for i, work in enumerate(works)]
    slow = [replace(one, ms=1.3 * one.ms) for one in timed[:2]]
    speed = fit(timed, slow, 1)
    assert {term: round(ms, 6) for term, ms in speed.ms.items()} == true
    assert speed.models == 2
    assert speed.error_median == pytest.approx(1 - 1 / 1.3)
    assert (speed.low, speed.high) == (pytest.approx(1 / 1.3), pytest.approx(1.3))


def test_what_was_measured_is_appended_to_the_facts_of_another_device(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "calibrate", lambda threads, progress: replace(SPEED, threads=threads))
    report = calibrate_here(tmp_path / "my_pi.toml", base="raspberry_pi_4", threads=(4, 1))
    device = load_device(report.file)
    assert (device.slug, device.name) == ("my_pi", "Raspberry Pi 4 Model B")
    measured = [speed for speed in device.speeds if speed.basis == "measured"]
    assert [speed.threads for speed in measured] == [1, 4]
    assert measured[0].ms == SPEED.ms
    assert "edgetransfer plan PHOTOS --device" in report.as_text()
    # Measured again, the old figures give way.
    calibrate_here(tmp_path / "my_pi.toml", base=str(report.file), threads=(1,))
    again = load_device(report.file).speeds
    assert len(again) == len(device.speeds)


def test_this_machine_describes_itself_as_a_device_file(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "calibrate", lambda threads, progress: replace(SPEED, threads=threads))
    device = load_device(calibrate_here(tmp_path / "this_desk.toml", threads=(1,)).file)
    assert device.slug == "this_desk"
    assert device.cores >= 1
    assert device.engines[0].package == "ai-edge-litert"
    assert device.speeds[0].threads == 1


@pytest.mark.parametrize("name", ["My Board.toml", "board.json", "-x.toml"])
def test_a_name_that_no_device_can_have_is_refused_before_anything_is_measured(monkeypatch, tmp_path, name):
    monkeypatch.setattr(calibration, "calibrate", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match=r"expected a name such as my_board\.toml"):
        calibrate_here(tmp_path / name)


def test_a_base_that_is_broken_is_refused_and_the_old_file_stays(tmp_path):
    (tmp_path / "old.toml").write_text("schema = 1\n")
    with pytest.raises(DeviceError, match=r"old\.toml"):
        calibrate_here(tmp_path / "old.toml", base=str(tmp_path / "old.toml"), threads=(1,))
    assert (tmp_path / "old.toml").read_text() == "schema = 1\n"


def test_a_speed_survives_the_way_through_the_file():
    text = with_speeds(describe_here("desk", {"litert": "ai-edge-litert"}), [SPEED], "desk")
    assert text.count("[[speed]]") == 1
    assert '"float32 pointwise macs" = 0.02' in text


@pytest.mark.slow
def test_a_real_measurement_predicts_a_network_that_it_never_saw_within_its_order(monkeypatch, tmp_path):
    few = [probe for probe in probes("float32") if probe.kind in ("conv", "depthwise", "mean", "dense", "convert")]
    monkeypatch.setattr(calibration, "PRECISIONS", ("float32",))
    monkeypatch.setattr(calibration, "probes", lambda _: tuple(few[::2]))
    monkeypatch.setattr(calibration, "NETWORKS", {"separable": NETWORKS["separable"]})
    report = calibrate_here(tmp_path / "desk.toml", threads=(1,))
    graph = network_graph("separable", "float32")
    found = predict(costs(graph), load_device(report.file).speeds, engine="litert", threads=1)
    assert found is not None
    assert found.validated
    # Not a timed test: a factor of three is a broken model, not a busy machine.
    assert 1 / 3 < found.ms / calibration.time_graph(graph, 1) < 3
