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

from edgetransfer import registry
from edgetransfer.errors import InputError
from edgetransfer.runtime import kept_threads
from edgetransfer.runtime.cores import available_cores, cpu_name
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT, Predictor
from edgetransfer.runtime.threads import threads_for
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.report import Latency, ProfileReport

WARM_UP_RUNS = 5
"""Not counted: the first inferences fill caches and start threads."""
ROUNDS = 3
"""Turns of each number of threads while the best is looked for."""
NEAR = 0.05
"""Fewer threads are as good as the best where they take no more than this beyond it: the other cores stay free."""


def profile(
    bundle: Bundle | str | os.PathLike[str],
    *,
    engine: str | None = None,
    providers: Sequence[str] | None = None,
    runs: int = 200,
    seconds: float = 10.0,
    choose: bool = False,
) -> ProfileReport:
    """Return the bundle's latencies on one thread and on all, and what it costs in memory.

    Latencies are of `Predictor.run` on prepared pixels; preparing a frame is not in them. Memory is the growth of
    the process's resident set, looked at after loading and after each series; run in a fresh process for a figure
    that nothing before it blurs. Loading includes importing the engine, if that was not done before. Where threads
    were chosen before, their number is measured too.

    Args:
        bundle: an opened bundle, or its folder.
        engine: an engine's name; None takes that of the bundle's format.
        providers: what computes, for ONNX Runtime; None takes those that the bundle was built for.
        runs: inferences in each series, at least 1.
        seconds: a series ends after that long, though with at least one inference.
        choose: measure 1, 2, ... threads, and keep the best in the user's settings, where `Predictor.load` finds it.
            Fewer win where the median is within 5 % of the best. Each number has its turn three times.

    Raises:
        BundleError: the folder is no bundle, or was changed.
        EngineError: no engine is installed, or it refuses the model.
        InputError: `runs` or `seconds` make no sense.
        OutputError: a choice cannot be kept.
    """
    if runs < 1 or not seconds > 0:
        raise InputError(f"profile: expected at least 1 run and more than 0 seconds, got {runs} and {seconds}")
    if choose:
        kept_threads.check_can_keep()
    memory_bytes = [resident_bytes()]
    started = time.perf_counter()
    opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    with Predictor.load(opened, engine=engine, providers=providers, threads=1) as predictor:
        load_ms = 1e3 * (time.perf_counter() - started)
        memory_bytes.append(resident_bytes())
        series = _Series(opened, engine, providers, runs, seconds, ROUNDS if choose else 1)
        first_ms = _time_ms(predictor, series.pixels)
        series.measure(predictor, 1)
        memory_bytes.append(resident_bytes())
        used = predictor.engine
        words = {"engine": used.name, "engine_version": used.version, "kernels": used.kernels}
        cores = min(available_cores(), getattr(used, "most_threads", available_cores()))
    in_use = series.threads_in_use()
    counts = thread_counts(cores) if choose else (1, *sorted({in_use[0], cores} - {1}))
    memory_bytes.append(series.measure_all(counts))
    latencies = tuple(series.latency(threads) for threads in counts)
    if choose:
        in_use = series.keep(latencies)
    growth_bytes = max(memory_bytes) - memory_bytes[0]
    return _report(opened, load_ms, first_ms, latencies, in_use, growth_bytes, words)


def engines_for(bundle: Bundle) -> tuple[str, ...]:
    """Return the engines to try a bundle on: that of its format first, then what other packages brought."""
    own = ENGINE_OF_FORMAT[bundle.manifest.format]
    others = set(registry.names("edgetransfer.runtime.engines")) - set(ENGINE_OF_FORMAT.values())
    return (own, *sorted(others))


def thread_counts(cores: int) -> tuple[int, ...]:
    """Return the numbers of threads to measure: each up to 8, then doubled, and all."""
    return tuple(sorted({*range(1, min(cores, 8) + 1), *(2**n for n in range(4, cores.bit_length())), cores}))


def best_of(latencies: Sequence[Latency]) -> Latency:
    """Return the series with the least median, or one on fewer threads that is within 5 % of it."""
    limit_ms = (1 + NEAR) * min(latency.p50_ms for latency in latencies)
    return min((one for one in latencies if one.p50_ms <= limit_ms), key=lambda one: one.threads)


def resident_bytes() -> int:
    """Return how much memory this process holds; where /proc is missing, the most that it ever held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere (getrusage(2))
    return pages * resource.getpagesize()


class _Series:
    """What is measured of one bundle: times by number of threads, in one or more rounds."""

    def __init__(
        self,
        bundle: Bundle,
        engine: str | None,
        providers: Sequence[str] | None,
        runs: int,
        seconds: float,
        rounds: int,
    ) -> None:
        spec = bundle.manifest.preprocess
        self.pixels = np.random.default_rng(0).integers(0, 256, spec.shape).astype(spec.dtype)
        self._bundle, self._engine, self._providers = bundle, engine, providers
        self._runs, self._seconds, self._rounds = -(-runs // rounds), seconds / rounds, rounds
        self._times_ms: dict[int, list[float]] = {}

    def measure(self, predictor: Predictor, threads: int) -> None:
        """Add one round on `threads` threads, which `predictor` has."""
        ends = time.perf_counter() + self._seconds
        for _ in range(WARM_UP_RUNS):
            if time.perf_counter() < ends:
                _time_ms(predictor, self.pixels)
        times_ms = [_time_ms(predictor, self.pixels)]
        while len(times_ms) < self._runs and time.perf_counter() < ends:
            times_ms.append(_time_ms(predictor, self.pixels))
        self._times_ms.setdefault(threads, []).extend(times_ms)

    def measure_all(self, counts: Sequence[int]) -> int:
        """Add all rounds but the first on one thread, one number after the other; return the most memory seen.

        In turn, for a board grows hot and a machine busy: else what came first would look better than it is.
        """
        most_bytes = resident_bytes()
        for turn in [(number, threads) for number in range(self._rounds) for threads in counts][1:]:
            how: dict[str, Any] = {"engine": self._engine, "providers": self._providers, "threads": turn[1]}
            with Predictor.load(self._bundle, **how) as predictor:
                self.measure(predictor, turn[1])
                most_bytes = max(most_bytes, resident_bytes())
        return most_bytes

    def latency(self, threads: int) -> Latency:
        """Return the percentiles on `threads` threads, over all rounds."""
        times_ms = self._times_ms[threads]
        p50, p90, p99 = (float(value) for value in np.percentile(np.array(times_ms), (50, 90, 99)))
        return Latency(threads, len(times_ms), p50, p90, p99)

    def threads_in_use(self) -> tuple[int, str]:
        """Return what `Predictor.load` takes here when it is given no number, and why."""
        return threads_for(*self._asked())

    def keep(self, latencies: Sequence[Latency]) -> tuple[int, str]:
        """Keep the best number of threads in the user's settings; return it, and why it is that one."""
        best = best_of(latencies)
        p50_ms = {latency.threads: latency.p50_ms for latency in latencies}
        path = kept_threads.keep(kept_threads.situation(*self._asked()), best.threads, p50_ms)
        return best.threads, f"the best of {', '.join(map(str, sorted(p50_ms)))}, now kept in {path}"

    def _asked(self) -> tuple[str, str, tuple[str, ...]]:
        manifest = self._bundle.manifest
        providers = manifest.model.providers if self._providers is None else tuple(self._providers)
        return manifest.files[manifest.model.file].sha256, self._engine or ENGINE_OF_FORMAT[manifest.format], providers


def _report(
    bundle: Bundle,
    load_ms: float,
    first_ms: float,
    latencies: tuple[Latency, ...],
    in_use: tuple[int, str],
    growth_bytes: int,
    words: dict[str, str],
) -> ProfileReport:
    return ProfileReport(
        bundle=bundle.manifest.name,
        sha256=bundle.sha256,
        load_ms=load_ms,
        first_ms=first_ms,
        one_thread=latencies[0],
        all_threads=latencies[-1],
        peak_memory_bytes=growth_bytes,
        model_bytes=bundle.manifest.files[bundle.manifest.model.file].size_bytes,
        versions={"python": platform.python_version(), "numpy": np.__version__, "system": platform.platform()},
        cpu=cpu_name(),
        threads=in_use[0],
        threads_because=in_use[1],
        series=latencies,
        **words,
    )


def _time_ms(predictor: Predictor, pixels: NDArray[Any]) -> float:
    started = time.perf_counter()
    predictor.run(pixels)
    return 1e3 * (time.perf_counter() - started)
