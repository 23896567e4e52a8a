"""Measures a device's speed where it stands: small graphs are timed, and coefficients fitted to them.

The fit never sees a network. Small networks, timed in the same way, say how far predictions from the coefficients can
be trusted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetransfer.errors import InputError
from edgetransfer.estimate.latency import RUNTIMES, total_ms
from edgetransfer.estimate.terms import terms_of
from edgetransfer.export import get_exporter
from edgetransfer.pipeline.device_here import describe_here, with_speeds
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.probe_graphs import NETWORKS, PRECISIONS, network_graph, probe_graph, probes
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.device import device_file_text
from edgetransfer.spec.device_file import SLUG
from edgetransfer.spec.latency import Speed

ENGINE = "litert"
PACKAGE = "ai-edge-litert"

_WARM_UP = 3
_LEAST_RUNS, _MOST_RUNS = 7, 200
_TURNS = 2  # through all graphs, the quicker one counts: a machine can be slow for a minute
_SECONDS = 0.1  # of measuring for one graph in one turn; a minute or two in all
_QUIET = 10  # percentile of a series that stands for it
_LEAST_SLACK = 0.1  # no interval is narrower: networks differ more than the few that were tried


@dataclass(frozen=True, slots=True)
class Timed:
    """A graph that was timed: milliseconds of one call, and its terms."""

    name: str
    ms: float
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What was measured, and the device file that has it now."""

    file: Path
    speeds: tuple[Speed, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"file": str(self.file), "speeds": [speed.to_json() for speed in self.speeds]}

    def as_text(self) -> str:
        """Return the report for people."""
        rows = []
        for speed in self.speeds:
            threads = "1 thread: " if speed.threads == 1 else f"{speed.threads} threads:"
            rows.append(
                f"{speed.runtime}, {threads} {speed.models} networks that the fit did not see are predicted within "
                f"{speed.error_median:.0%} (median) and {speed.error_p90:.0%} (nine of ten)"
            )
        return "\n".join(
            [*rows, f"device file: {self.file}", "", f"next:  edgetransfer plan PHOTOS --device {_shown(self.file)}"]
        )


def calibrate_here(
    output: Path, *, base: str | None = None, threads: Sequence[int] = (), watcher: Watcher | None = None
) -> CalibrationReport:
    """Measure this machine and write it as the device file `output`; an old one there is replaced at the very end.

    Args:
        output: Ends in .toml.
        base: Slug or file of a device whose other facts are taken; None describes this machine.
        threads: Counts to measure with; empty takes 1 and all cores.
        watcher: Told how far the work is.

    Raises:
        InputError: `output` does not end in .toml, is named as no slug can be, or `threads` has a count below 1.
        UnknownNameError: no device is called `base`.
        DeviceError: the base is malformed, or this machine is none that device files know.
        EngineError: LiteRT is not installed.
    """
    slug = output.name.removesuffix(".toml")
    if output.suffix != ".toml" or not re.fullmatch(SLUG, slug):
        raise InputError(
            f"--output {output}: expected a name such as my_board.toml, of lower-case letters, digits and _"
        )
    text = describe_here(slug, PACKAGE) if base is None else device_file_text(base)
    watcher = watcher or Silent()
    speeds = []
    for count in sorted(set(threads)) or sorted({1, available_cores()}):
        watcher.stage(f"timing small graphs ({count} thread{'s' if count > 1 else ''})")
        speeds.append(calibrate(count, progress=watcher.step))
    write_atomically(output, with_speeds(text, speeds, slug).encode())
    return CalibrationReport(output, tuple(speeds))


def calibrate(threads: int, *, progress: Callable[[int, int], None] | None = None) -> Speed:
    """Return this machine's coefficients for LiteRT with so many `threads`.

    Takes a minute or two; whatever else runs meanwhile is in the figures.

    Args:
        threads: Of the CPU.
        progress: Called with (done, total) graphs.

    Raises:
        InputError: `threads` is below 1.
        EngineError: the engine is not installed.
    """
    if threads < 1:
        raise InputError(f"calibrate: expected at least 1 thread, got {threads}")
    makers = [(probe.name, partial(probe_graph, probe)) for precision in PRECISIONS for probe in probes(precision)]
    singles = len(makers)
    makers += [(f"{name} {kind}", partial(network_graph, name, kind)) for kind in PRECISIONS for name in NETWORKS]
    best = [float("inf")] * len(makers)
    for turn in range(_TURNS):
        for number, (_, make) in enumerate(makers):  # made anew each time: all together would not fit small devices
            best[number] = min(best[number], time_graph(make(), threads))
            if progress is not None:
                progress(turn * len(makers) + number + 1, _TURNS * len(makers))
    costs = get_exporter("litert").costs
    found = [Timed(name, ms, terms_of(costs(make()))) for (name, make), ms in zip(makers, best, strict=True)]
    return fit(found[:singles], found[singles:], threads)


def time_graph(graph: bytes, threads: int, *, seconds: float | None = None) -> float:
    """Return the milliseconds of one call of `graph`, from a series of about so many `seconds`.

    That is the series' tenth percentile: whatever else runs meanwhile only makes calls slower.
    """
    seconds = _SECONDS if seconds is None else seconds
    engine = open_engine(ENGINE, graph, threads=threads)
    x = np.zeros(engine.input.shape, engine.input.dtype)
    for _ in range(_WARM_UP):
        engine.run(x)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _LEAST_RUNS or (time.perf_counter() - began < seconds and len(times) < _MOST_RUNS):
        started = time.perf_counter()
        engine.run(x)
        times.append(1e3 * (time.perf_counter() - started))
    engine.close()
    return float(np.percentile(times, _QUIET))


def fit(singles: Sequence[Timed], networks: Sequence[Timed], threads: int) -> Speed:
    """Return the coefficients that fit `singles` best, tested on `networks`.

    Least squares of the relative errors, with no coefficient below zero: nothing takes less than no time (Lawson and
    Hanson's algorithm).
    """
    from scipy.optimize import nnls

    names = sorted({term for one in singles for term in one.terms})
    work = np.array([[one.terms.get(term, 0.0) for term in names] for one in singles])
    times = np.array([one.ms for one in singles])
    found, _ = nnls(work / times[:, None], np.ones(len(times)))
    ms = dict(zip(names, (float(value) for value in found), strict=True))
    ratios = np.array([one.ms / total_ms(one.terms, ms)[0] for one in networks])
    errors = np.abs(1 / ratios - 1)
    spread = max(float(np.exp(np.abs(np.log(ratios)).max())), 1 + _LEAST_SLACK)  # ten networks tell no side apart
    return Speed(
        runtime=RUNTIMES[ENGINE],
        threads=threads,
        ms=ms,
        basis="measured",
        rows=len(singles),
        models=len(networks),
        error_median=float(np.median(errors)),
        error_p90=float(np.percentile(errors, 90)),
        low=1 / spread,
        high=spread,
    )


def _shown(file: Path) -> str:
    return str(file) if "/" in str(file) else f"./{file}"
