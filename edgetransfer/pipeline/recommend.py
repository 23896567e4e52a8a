"""Chooses backbone, width, input size and recipe for some photos and a device, within a time that is set.

Every candidate that fits is made as `build` would make it; a quick head in closed form is cross-validated on the
features of a part of the photos, and the graph's cost is predicted for the device. Photos for testing are not looked
at. What was made is in the cache, so that a second run, and the build that follows, are quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgetransfer.data import load_dataset
from edgetransfer.errors import BackboneError, ExportError, RecipeError, WeightsError
from edgetransfer.models import backbones
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.recommend_candidates import Candidate, LeftOut, Space, list_candidates
from edgetransfer.pipeline.recommend_choice import Limits, choose
from edgetransfer.pipeline.recommend_judge import Judge, Judged, drawn
from edgetransfer.pipeline.recommend_report import Recommendation, sorted_by_effort
from edgetransfer.spec.device import load_device

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class RecommendOptions:
    """All choices of `recommend`.

    Attributes:
        data: A folder of photos or a CSV.
        device: Slug or file of the device; None: this machine, where time is measured.
        limits: What the model must not exceed.
        space: What to choose among.
        photos: Judge each candidate on at most so many photos of the training and validation splits.
        seconds: Begin no candidate later than that; one is judged in any case.
        seed: Of splits made here; must be the build's.
        workers: Threads; None: one a core.
    """

    data: Path
    device: str | None = None
    limits: Limits = field(default_factory=Limits)
    space: Space = field(default_factory=Space)
    photos: int = 600
    seconds: float = 300.0
    seed: int = 0
    workers: int | None = None


def recommend(
    options: RecommendOptions, *, watcher: Watcher | None = None, clock: Clock = time.monotonic
) -> Recommendation:
    """Return what to build for the photos and the device that `options` name, and why.

    Raises:
        UnknownNameError: no device, backbone, recipe or format of such a name.
        DeviceError: the device's file is malformed, or it has no engine for the format.
        DataError: the photos cannot be used.
        EngineError: the engine is not installed.
    """
    begun = clock()
    watcher = watcher or Silent()
    device = None if options.device is None else load_device(options.device)
    watcher.stage("finding what fits")
    candidates, left_out = list_candidates(options.space, device, options.limits.max_bytes)
    watcher.stage("reading the data")
    channels = {backbones.channels_of(one.choice) for one in candidates}
    dataset = load_dataset(
        options.data,
        seed=options.seed,
        channels=channels.pop() if len(channels) == 1 else 3,
        progress=watcher.step,
        workers=options.workers,
    )
    samples = tuple(drawn(dataset, options.photos))
    judge = Judge(dataset, samples, device, options.workers)
    search = _Search(judge, options.limits, watcher, lambda: clock() - begun > options.seconds)
    search.run(candidates)
    judged = sorted_by_effort(search.judged)
    best, reason = choose(judged, options.limits)
    return Recommendation(
        data=options.data,
        device=options.device,
        space=options.space,
        limits=options.limits,
        seed=options.seed,
        photos=len(samples),
        pool=sum(len(dataset.split(name)) for name in ("train", "val")),
        judged=judged,
        best=best,
        reason=reason,
        left_out=(*left_out, *search.left_out),
        seconds=clock() - begun,
    )


class _OutOfTime(Exception):
    """The time is over in the middle of a candidate; its features so far are in the cache."""


class _Search:
    """The candidates judged so far, and what was left out on the way."""

    def __init__(self, judge: Judge, limits: Limits, watcher: Watcher, late: Callable[[], bool]) -> None:
        self.judged: list[Judged] = []
        self.left_out: list[LeftOut] = []
        self._judge, self._limits, self._watcher, self._late = judge, limits, watcher, late
        self._seen: list[tuple[Candidate, float]] = []  # with milliseconds an image

    def run(self, candidates: list[Candidate]) -> None:
        """Judge the most promising first: first recipes before others, the largest that is expected to be in time."""
        pending, total = list(candidates), len(candidates)
        while pending:
            if self.judged and self._late():
                self.left_out += [LeftOut(one.name, "time", "") for one in sorted(pending, key=self._promise)]
                return
            one = min(pending, key=self._promise)
            pending.remove(one)
            self._watcher.stage(f"judging {one.name} ({total - len(pending)} of {total})")
            try:
                self._try(one)
            except (BackboneError, ExportError, RecipeError, WeightsError) as trouble:
                self.left_out.append(LeftOut(one.name, "failed", str(trouble)))
            except _OutOfTime:
                self.left_out.append(LeftOut(one.name, "time", ""))

    def _try(self, one: Candidate) -> None:
        graph, spec = self._judge.deployed(one)
        cost = self._judge.cost(one, graph)
        if cost.time is not None:
            self._seen.append((one, cost.time.ms))
        broken = self._limits.broken_by(cost)
        if broken:
            self.left_out.append(LeftOut(one.name, "limit", broken))
            return
        self.judged.append(self._judge.judged(one, graph, spec, cost, self._step))

    def _step(self, done: int, total: int) -> None:
        self._watcher.step(done, total)
        if self.judged and done < total and self._late():
            raise _OutOfTime

    def _promise(self, one: Candidate) -> tuple[int, bool, float, float, str]:
        """Return a key that is least for what should be judged next."""
        same = [judged.accuracy for judged in self.judged if judged.candidate.choice == one.choice]
        expected_ms, most_ms = self._expected_ms(one), self._limits.max_latency_ms
        late = most_ms is not None and expected_ms is not None and expected_ms > most_ms
        # Other recipes of a network come after all networks, in the order of what those did.
        return one.rank, late, -max(same, default=0.0), one.macs if late else -one.macs, one.name

    def _expected_ms(self, one: Candidate) -> float | None:
        """Return the time that the nearest candidate seen so far suggests, None where there is none."""
        alike = [pair for pair in self._seen if pair[0].recipe == one.recipe] or self._seen
        if not alike:
            return None
        near, ms = min(alike, key=lambda pair: abs(pair[0].macs - one.macs))
        return ms * one.macs / max(near.macs, 1)
