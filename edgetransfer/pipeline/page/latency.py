"""Latencies of a bundle as rows: measured here, measured elsewhere by `edgetransfer profile --json`, and predicted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgetransfer.errors import BundleError, InputError
from edgetransfer.estimate.latency import Prediction
from edgetransfer.pipeline.forecast import forecast_bundle
from edgetransfer.pipeline.page.figures import LatencyRow, Profiled
from edgetransfer.pipeline.placement import place_bundle
from edgetransfer.spec import json_shape
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device
from edgetransfer.spec.latency import CPU
from edgetransfer.spec.report import ProfileReport

INTERVAL = "p50 to p90"


def read_profile(path: Path, bundle: Bundle) -> Profiled:
    """Return the measurement of `bundle` in the file `path`.

    Raises:
        OSError: the file cannot be read.
        InputError: it is no profile, or one of another bundle; says what to run.
    """
    again = f"run 'edgetransfer profile {bundle.manifest.name}.bundle --json' on the device and keep what it prints"
    try:
        report = ProfileReport.from_json(json_shape.parse(path.read_bytes(), str(path)))
    except (BundleError, InputError) as error:
        raise InputError(
            f"profile {str(path)!r}: expected what 'edgetransfer profile --json' prints: {error}; {again}"
        ) from error
    if report.sha256 != bundle.sha256:
        raise InputError(
            f"profile {str(path)!r}: expected a measurement of this bundle ({bundle.sha256[:12]}), got one of "
            f"{report.bundle!r} ({report.sha256[:12]}); {again}"
        )
    for latency in (report.one_thread, *report.series, report.all_threads):
        if not 0 < latency.p50_ms <= latency.p90_ms <= latency.p99_ms:
            raise InputError(f"profile {str(path)!r}: expected 0 < p50 <= p90 <= p99 ms, got {latency}; {again}")
    return Profiled(report, path.name)


def measured_rows(profiles: Iterable[Profiled]) -> tuple[LatencyRow, ...]:
    """Return a row for each number of threads of each measurement."""
    return tuple(row for one in profiles for row in _rows(one))


def predicted_rows(bundle: Bundle, devices: Iterable[Device]) -> tuple[LatencyRow, ...]:
    """Return a row for each device of whose speed something is known."""
    found = [(device, expected) for device in devices for expected in _expected(bundle, device)]
    return tuple(
        LatencyRow(
            device=device.name,
            how=f"{expected.runtime}, "
            + (_threads(expected.threads) if expected.processor == CPU else f"on {expected.processor}"),
            ms=expected.ms,
            low_ms=expected.low_ms,
            high_ms=expected.high_ms,
            interval="nine of ten networks",
            basis=f"predicted, {expected.words}",
            measured=False,
        )
        for device, expected in found
    )


def _expected(bundle: Bundle, device: Device) -> list[Prediction]:
    """Return what is expected on the CPU of `device` and on each of its accelerators, where something is known."""
    placed = [one.predicted for one in place_bundle(bundle, device)]
    return [one for one in (forecast_bundle(bundle, device), *placed) if one is not None]


def _rows(profiled: Profiled) -> list[LatencyRow]:
    report = profiled.report
    measured = (report.one_thread, *report.series, report.all_threads)
    series = {latency.threads: latency for latency in measured}.values()
    return [
        LatencyRow(
            device=report.cpu,
            how=f"{report.engine} {report.engine_version}, {_threads(latency.threads)}",
            ms=latency.p50_ms,
            low_ms=latency.p50_ms,
            high_ms=latency.p90_ms,
            interval=INTERVAL,
            basis=f"{profiled.basis}, {latency.runs} runs",
            measured=True,
        )
        for latency in series
    ]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"
