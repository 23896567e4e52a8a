from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.errors import DeviceError, EngineError, InputError, UnknownNameError
from edgetransfer.estimate.latency import RUNTIMES, predict, total_ms
from edgetransfer.estimate.terms import terms_of
from edgetransfer.export import get_exporter
from edgetransfer.pipeline import calibrate as calibration
from edgetransfer.pipeline.calibrate import PACKAGES, Timed, calibrate_here, choose_engines, fit
from edgetransfer.pipeline.device_here import describe_here, with_speeds
from edgetransfer.pipeline.probe_graphs import (
    KINDS,
    NETWORKS,
    PRECISIONS,
    network_graph,
    probe_graph,
    probes,
)
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.device import load_device
from edgetransfer.spec.latency import Speed

SPEED = Speed("LiteRT", 2, {"call": 0.01, "float32 pointwise macs": 0.02}, "measured", 230, 10, 0.05, 0.12, 0.9, 1.1)


def costs(graph: bytes, engine: str = "litert"):
    return get_exporter(engine).costs(graph)


def measured_as(speed: Speed):
    """Return what stands in for a measurement that takes minutes."""
    return lambda threads, engine, progress: replace(speed, threads=threads, runtime=RUNTIMES[engine])


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


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_probes_measure_every_term_of_every_test_network(name, precision):
    wanted = {term for network in NETWORKS for term in terms_of(costs(network_graph(network, precision, name), name))}
    known = {term for one in probes(precision, name) for term in terms_of(costs(probe_graph(one, name), name))}
    assert wanted <= known


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_test_network_runs(name, precision, package):
    engine = open_engine(package, network_graph(name, precision, package), threads=1)
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
    monkeypatch.setattr(calibration, "calibrate", measured_as(SPEED))
    report = calibrate_here(tmp_path / "my_pi.toml", base="raspberry_pi_4", threads=(4, 1))
    device = load_device(report.file)
    assert (device.slug, device.name) == ("my_pi", "Raspberry Pi 4 Model B")
    measured = [speed for speed in device.speeds if speed.basis == "measured"]
    # The same counts for each engine that the device's file lists.
    wanted = [("LiteRT", 1), ("LiteRT", 4), ("ONNX Runtime", 1), ("ONNX Runtime", 4)]
    assert [(speed.runtime, speed.threads) for speed in measured] == wanted
    assert measured[0].ms == SPEED.ms
    assert "edgetransfer plan PHOTOS --device" in report.as_text()
    # Measured again, the old figures give way.
    calibrate_here(tmp_path / "my_pi.toml", base=str(report.file), threads=(1,))
    again = load_device(report.file).speeds
    assert len(again) == len(device.speeds)


def test_this_machine_describes_itself_as_a_device_file(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "calibrate", measured_as(SPEED))
    device = load_device(calibrate_here(tmp_path / "this_desk.toml", threads=(1,)).file)
    assert device.slug == "this_desk"
    assert device.cores >= 1
    assert [(engine.name, engine.package) for engine in device.engines] == list(PACKAGES.items())
    assert "weight_int4" in device.engines[0].recipes
    assert device.engines[1].recipes == ("float16", "float32", "static_int8", "static_int8_per_tensor")
    assert [(speed.runtime, speed.threads) for speed in device.speeds] == [("LiteRT", 1), ("ONNX Runtime", 1)]


def test_an_engine_that_the_base_does_not_list_is_left_out_with_the_reason_unless_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "calibrate", measured_as(SPEED))
    base = tmp_path / "desk.toml"
    base.write_text(with_speeds(describe_here("desk", {"litert": "ai-edge-litert"}), [SPEED], "desk"))
    report = calibrate_here(tmp_path / "again.toml", base=str(base), threads=(1,))
    assert [speed.runtime for speed in report.speeds] == ["LiteRT"]
    assert "left out: ONNX Runtime, which the file of" in report.as_text()
    assert len(report.to_json()["left_out"]) == 1
    asked = calibrate_here(tmp_path / "both.toml", base=str(base), engines=("onnx",), threads=(1, 2))
    device = load_device(asked.file)
    assert asked.left_out == ()
    assert [engine.name for engine in device.engines] == ["litert", "onnx"]
    found = [(speed.runtime, speed.threads) for speed in device.speeds]
    assert found == [("LiteRT", 2), ("ONNX Runtime", 1), ("ONNX Runtime", 2)]
    # Measured again, nothing doubles.
    once_more = calibrate_here(tmp_path / "both.toml", base=str(asked.file), engines=("onnx",), threads=(2,))
    assert load_device(once_more.file).to_json() == device.to_json()


def test_an_engine_that_is_not_installed_is_left_out_and_refused_if_asked_for(monkeypatch):
    def version(name):
        if name == "onnx":
            raise EngineError("engine 'onnx': cannot be imported; install it: pip install 'edgetransfer[onnx]'")
        return "2.0"

    monkeypatch.setattr(calibration, "engine_version", version)
    chosen, left_out = choose_engines((), None, "this machine")
    assert chosen == ("litert",)
    assert "pip install" in left_out[0]
    with pytest.raises(EngineError, match="pip install"):
        choose_engines(("onnx",), None, "this machine")
    with pytest.raises(EngineError, match="nothing to measure"):
        choose_engines((), ("onnx", "tflm"), "board")


def test_devices_and_engines_that_cannot_be_measured_are_refused():
    with pytest.raises(DeviceError, match="nothing to measure: LiteRT, which the file of esp32 does not list"):
        choose_engines((), ("tflm",), "esp32")
    with pytest.raises(UnknownNameError, match="litert, onnx"):
        choose_engines(("tflm",), None, "esp32")


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


@pytest.mark.parametrize("engine", PACKAGES)
def test_a_real_measurement_with_two_threads_says_so(monkeypatch, engine):
    few = [probe for probe in probes("float32") if probe.kind in ("add", "mul") and probe.px < 15]
    monkeypatch.setattr(calibration, "PRECISIONS", ("float32",))
    monkeypatch.setattr(calibration, "probes", lambda *_: tuple(few))
    monkeypatch.setattr(calibration, "NETWORKS", {"separable": NETWORKS["separable"]})
    monkeypatch.setattr(calibration, "_SECONDS", 0.0)
    seen = []
    monkeypatch.setattr(
        calibration, "open_engine", lambda *args, threads: seen.append(threads) or open_engine(*args, threads=threads)
    )
    speed = calibration.calibrate(2, engine=engine)
    assert (speed.runtime, speed.threads, set(seen)) == (RUNTIMES[engine], 2, {2})


@pytest.mark.slow
@pytest.mark.parametrize("engine", PACKAGES)
def test_a_real_measurement_predicts_a_network_that_it_never_saw_within_its_order(monkeypatch, tmp_path, engine):
    few = [probe for probe in probes("float32") if probe.kind in ("conv", "depthwise", "mean", "dense", "convert")]
    monkeypatch.setattr(calibration, "PRECISIONS", ("float32",))
    monkeypatch.setattr(calibration, "probes", lambda *_: tuple(few[::2]))
    monkeypatch.setattr(calibration, "NETWORKS", {"separable": NETWORKS["separable"]})
    report = calibrate_here(tmp_path / "desk.toml", engines=(engine,), threads=(1,))
    graph = network_graph("separable", "float32", engine)
    found = predict(costs(graph, engine), load_device(report.file).speeds, engine=engine, threads=1)
    assert found is not None
    assert found.validated
    # Not a timed test: a factor of three is a broken model, not a busy machine.
    assert 1 / 3 < found.ms / calibration.time_graph(graph, 1, engine=engine) < 3
