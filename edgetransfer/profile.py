"""How fast and how large a bundle is on the machine that this runs on."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import InputError
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.report import Latency, ProfileReport

WARM_UP_RUNS = 5
"""Not counted: the first inferences fill caches and start threads."""


def profile(
    bundle: Bundle | str | os.PathLike[str],
    *,
    engine: str | None = None,
    providers: Sequence[str] | None = None,
    runs: int = 200,
    seconds: float = 10.0,
) -> ProfileReport:
    """Return the bundle's latencies on one thread and on all, and what it costs in memory.

    Latencies are of `Predictor.run` on prepared pixels; preparing a frame is not in them. Memory is the growth of
    the process's resident set, looked at after loading and after each series; run in a fresh process for a figure
    that nothing before it blurs. Loading includes importing the engine, if that was not done before.

    Args:
        bundle: an opened bundle, or its folder.
        engine: an engine's name; None takes that of the bundle's format.
        providers: what computes, for ONNX Runtime; None takes those that the bundle was built for.
        runs: inferences in each series, at least 1.
        seconds: a series ends after that long, though with at least one inference.

    Raises:
        BundleError: the folder is no bundle, or was changed.
        EngineError: no engine is installed, or it refuses the model.
        InputError: `runs` or `seconds` make no sense.
    """
    if runs < 1 or not seconds > 0:
        raise InputError(f"profile: expected at least 1 run and more than 0 seconds, got {runs} and {seconds}")
    memory_bytes = [resident_bytes()]
    started = time.perf_counter()
    opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    with Predictor.load(opened, engine=engine, providers=providers) as predictor:
        load_ms = 1e3 * (time.perf_counter() - started)
        memory_bytes.append(resident_bytes())
        pixels = np.random.default_rng(0).integers(0, 256, opened.manifest.preprocess.shape, np.uint8)
        first_ms = _time_ms(predictor, pixels)
        one_thread = _series(predictor, pixels, threads=1, runs=runs, seconds=seconds)
        memory_bytes.append(resident_bytes())
        used = predictor.engine
        words = {"engine": used.name, "engine_version": used.version, "kernels": used.kernels}
        cores = min(available_cores(), getattr(used, "most_threads", available_cores()))
    all_threads = one_thread
    if cores > 1:
        with Predictor.load(opened, engine=engine, providers=providers, threads=cores) as predictor:
            all_threads = _series(predictor, pixels, threads=cores, runs=runs, seconds=seconds)
            memory_bytes.append(resident_bytes())
    growth_bytes = max(memory_bytes) - memory_bytes[0]
    return _report(opened, load_ms, first_ms, one_thread, all_threads, growth_bytes, words)


def resident_bytes() -> int:
    """Return how much memory this process holds; where /proc is missing, the most that it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere (getrusage(2))
    return pages * resource.getpagesize()


def cpu_name() -> str:
    """Return what the machine calls its board or processor."""
    try:
        board = Path("/proc/device-tree/model").read_text().strip("\0\n ")  # "Raspberry Pi 4 Model B Rev 1.4"
        return f"{board} ({platform.machine()})"
    except OSError:
        pass
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _report(
    bundle: Bundle,
    load_ms: float,
    first_ms: float,
    one: Latency,
    every: Latency,
    growth_bytes: int,
    words: dict[str, str],
) -> ProfileReport:
    return ProfileReport(
        bundle=bundle.manifest.name,
        sha256=bundle.sha256,
        load_ms=load_ms,
        first_ms=first_ms,
        one_thread=one,
        all_threads=every,
        peak_memory_bytes=growth_bytes,
        model_bytes=bundle.manifest.files[bundle.manifest.model.file].size_bytes,
        versions={"python": platform.python_version(), "numpy": np.__version__, "system": platform.platform()},
        cpu=cpu_name(),
        **words,
    )


def _series(predictor: Predictor, pixels: NDArray[np.uint8], *, threads: int, runs: int, seconds: float) -> Latency:
    ends = time.perf_counter() + seconds
    for _ in range(WARM_UP_RUNS):
        if time.perf_counter() < ends:
            _time_ms(predictor, pixels)
    times_ms = [_time_ms(predictor, pixels)]
    while len(times_ms) < runs and time.perf_counter() < ends:
        times_ms.append(_time_ms(predictor, pixels))
    p50, p90, p99 = (float(value) for value in np.percentile(np.array(times_ms), (50, 90, 99)))
    return Latency(threads, len(times_ms), p50, p90, p99)


def _time_ms(predictor: Predictor, pixels: NDArray[Any]) -> float:
    started = time.perf_counter()
    predictor.run(pixels)
    return 1e3 * (time.perf_counter() - started)
