"""Measures a device's speed where it stands: small graphs are timed, and coefficients fitted to them.

The fit never sees a network. Small networks, timed in the same way, say how far predictions from the coefficients can
be trusted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgetransfer.errors import DeviceError, EngineError, InputError, UnknownNameError
from edgetransfer.estimate.latency import RUNTIMES, total_ms
from edgetransfer.estimate.terms import terms_of
from edgetransfer.export import get_exporter
from edgetransfer.pipeline.device_here import describe_here, with_engines, with_speeds
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.probe_graphs import NETWORKS, PRECISIONS, network_graph, probe_graph, probes
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.engines import engine_version, open_engine
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.device import device_file_text, load_device
from edgetransfer.spec.device_file import SLUG
from edgetransfer.spec.latency import Speed

PACKAGES = {"litert": "ai-edge-litert", "onnx": "onnxruntime"}
"""The engines that can be measured, and what is installed for each."""

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
    """What was measured, the device file that has it now, and which engines were left out, each with the reason."""

    file: Path
    speeds: tuple[Speed, ...]
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        speeds = [speed.to_json() for speed in self.speeds]
        return {"file": str(self.file), "speeds": speeds, "left_out": list(self.left_out)}

    def as_text(self) -> str:
        """Return the report for people."""
        rows = []
        for speed in self.speeds:
            threads = "1 thread: " if speed.threads == 1 else f"{speed.threads} threads:"
            rows.append(
                f"{speed.runtime}, {threads} {speed.models} networks that the fit did not see are predicted within "
                f"{speed.error_median:.0%} (median) and {speed.error_p90:.0%} (nine of ten)"
            )
        rows += [f"left out: {reason}" for reason in self.left_out]
        return "\n".join(
            [*rows, f"device file: {self.file}", "", f"next:  edgetransfer plan PHOTOS --device {_shown(self.file)}"]
        )


def calibrate_here(
    output: Path,
    *,
    base: str | None = None,
    engines: Sequence[str] = (),
    threads: Sequence[int] = (),
    watcher: Watcher | None = None,
) -> CalibrationReport:
    """Measure this machine and write it as the device file `output`; an old one there is replaced at the very end.

    Args:
        output: Ends in .toml.
        base: Slug or file of a device whose other facts are taken; None describes this machine.
        engines: Names of those to measure, in `PACKAGES`; empty takes all that are installed and that the base lists.
        threads: Counts to measure with; empty takes 1 and all cores.
        watcher: Told how far the work is.

    Raises:
        InputError: `output` does not end in .toml, is named as no slug can be, or `threads` has a count below 1.
        UnknownNameError: no device is called `base`, or no engine that can be measured is called so.
        DeviceError: the base is malformed, lists no engine that can be measured, or this machine is none that device
            files know.
        EngineError: an engine that was asked for is not installed, or none is.
    """
    slug = output.name.removesuffix(".toml")
    if output.suffix != ".toml" or not re.fullmatch(SLUG, slug):
        raise InputError(
            f"--output {output}: expected a name such as my_board.toml, of lower-case letters, digits and _"
        )
    listed = None if base is None else [support.name for support in load_device(base).engines]
    chosen, left_out = choose_engines(engines, listed, base or "this machine")
    added = {name: PACKAGES[name] for name in chosen if name not in (listed or ())}
    text = describe_here(slug, added) if base is None else with_engines(device_file_text(base), added)
    speeds = tuple(_measured(chosen, threads, watcher or Silent()))
    write_atomically(output, with_speeds(text, speeds, slug).encode())
    return CalibrationReport(output, speeds, left_out)


def _measured(engines: Sequence[str], threads: Sequence[int], watcher: Watcher) -> Iterator[Speed]:
    for engine in engines:
        for count in sorted(set(threads)) or sorted({1, available_cores()}):
            with_so_many = "1 thread" if count == 1 else f"{count} threads"
            watcher.stage(f"timing small graphs ({RUNTIMES[engine]}, {with_so_many})")
            yield calibrate(count, engine=engine, progress=watcher.step)


def choose_engines(
    asked: Sequence[str], listed: Sequence[str] | None, device: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the engines to measure, and of each that is left out the reason.

    Args:
        asked: Names; empty means what is installed and listed.
        listed: What the file of the device lists; None where it will be written anew.
        device: What to call it.

    Raises:
        UnknownNameError: an engine cannot be measured.
        EngineError: one that was asked for is not installed, or none is.
        DeviceError: none that can be measured is listed.
    """
    for name in asked:
        if name not in PACKAGES:
            raise UnknownNameError("engine that can be calibrated", name, PACKAGES)
        engine_version(name)
    if asked:
        return tuple(name for name in PACKAGES if name in asked), ()
    chosen, left_out = [], []
    for name in PACKAGES:
        problem = _why_left_out(name, listed, device)
        if problem:
            left_out.append(problem)
        else:
            chosen.append(name)
    if not chosen:
        error = DeviceError if listed is not None and not set(listed) & set(PACKAGES) else EngineError
        raise error(f"nothing to measure: {'; '.join(left_out)}")
    return tuple(chosen), tuple(left_out)


def _why_left_out(name: str, listed: Sequence[str] | None, device: str) -> str:
    """Return why the engine is not measured if nobody asked for it; "" if it is."""
    if listed is not None and name not in listed:
        return f"{RUNTIMES[name]}, which the file of {device} does not list; --engine {name} measures it all the same"
    try:
        engine_version(name)
    except EngineError as error:
        return f"{RUNTIMES[name]}: {error}"
    return ""


def calibrate(threads: int, *, engine: str = "litert", progress: Callable[[int, int], None] | None = None) -> Speed:
    """Return this machine's coefficients for `engine` with so many `threads`.

    Takes a minute or two; whatever else runs meanwhile is in the figures.

    Args:
        threads: Of the CPU.
        engine: A name in `PACKAGES`.
        progress: Called with (done, total) graphs.

    Raises:
        InputError: `threads` is below 1.
        EngineError: the engine is not installed.
    """
    if threads < 1:
        raise InputError(f"calibrate: expected at least 1 thread, got {threads}")
    makers = [(one.name, partial(probe_graph, one, engine)) for kind in PRECISIONS for one in probes(kind, engine)]
    singles = len(makers)
    makers += [
        (f"{name} {kind}", partial(network_graph, name, kind, engine)) for kind in PRECISIONS for name in NETWORKS
    ]
    best = [float("inf")] * len(makers)
    for turn in range(_TURNS):
        for number, (_, make) in enumerate(makers):  # made anew each time: all together would not fit small devices
            best[number] = min(best[number], time_graph(make(), threads, engine=engine))
            if progress is not None:
                progress(turn * len(makers) + number + 1, _TURNS * len(makers))
    costs = get_exporter(engine).costs
    found = [Timed(name, ms, terms_of(costs(make()))) for (name, make), ms in zip(makers, best, strict=True)]
    return fit(found[:singles], found[singles:], threads, engine=engine)


def time_graph(graph: bytes, threads: int, *, engine: str = "litert", seconds: float | None = None) -> float:
    """Return the milliseconds of one call of `graph` with `engine`, from a series of about so many `seconds`.

    That is the series' tenth percentile: whatever else runs meanwhile only makes calls slower.
    """
    seconds = _SECONDS if seconds is None else seconds
    opened = open_engine(engine, graph, threads=threads)
    x = np.zeros(opened.input.shape, opened.input.dtype)
    for _ in range(_WARM_UP):
        opened.run(x)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < _LEAST_RUNS or (time.perf_counter() - began < seconds and len(times) < _MOST_RUNS):
        started = time.perf_counter()
        opened.run(x)
        times.append(1e3 * (time.perf_counter() - started))
    opened.close()
    return float(np.percentile(times, _QUIET))


def fit(singles: Sequence[Timed], networks: Sequence[Timed], threads: int, *, engine: str = "litert") -> Speed:
    """Return the coefficients of `engine` that fit `singles` best, tested on `networks`.

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
        runtime=RUNTIMES[engine],
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
