"""How long one image will take on a device, from its graph and the device's measured or fitted coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgetransfer.estimate.op import Op
from edgetransfer.estimate.terms import terms_of
from edgetransfer.spec.latency import CPU, Speed

RUNTIMES = {
    "litert": "LiteRT", "onnx": "ONNX Runtime", "litert+qnn": "LiteRT with QNN", "onnx+qnn": "ONNX Runtime with QNN",
    "litert+edgetpu": "Edge TPU",
}  # fmt: skip
"""Names of the runtimes behind engines, with an accelerator's delegate too, as `Speed.runtime` has them."""

_STRANGE = 2.0  # how much wider the interval of a runtime becomes that the figures do not speak of: a convention

_WORK = (" macs", " read", " written")  # how terms of an op's kind end


@dataclass(frozen=True, slots=True)
class Prediction:
    """The time that one image is expected to take.

    Attributes:
        ms: Expected milliseconds.
        low_ms: Nine of ten networks take at least this.
        high_ms: Nine of ten networks take at most this.
        threads: Of the CPU.
        runtime: Whose figures the prediction rests on.
        validated: Whether those figures are of the runtime that was asked for, and networks were left out to test them.
        words: How sure it is, as a sentence without full stop.
        unknown: Kinds of work that the figures say nothing of, taken at the rate of what is nearest.
        processor: What computes: "cpu", or the name of an accelerator.
    """

    ms: float
    low_ms: float
    high_ms: float
    threads: int
    runtime: str
    validated: bool
    words: str
    unknown: tuple[str, ...] = ()
    processor: str = CPU

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as JSON values."""
        return {**asdict(self), "unknown": list(self.unknown)}

    def as_text(self) -> str:
        """Return the prediction as one line."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        where = f"with {threads}" if self.processor == CPU else f"on {self.processor}"
        return f"{self.ms:.3g} ms ({self.low_ms:.3g} to {self.high_ms:.3g} ms) {where}: {self.words}"


def predict(
    ops: Iterable[Op], speeds: Sequence[Speed], *, engine: str, threads: int, processor: str = CPU
) -> Prediction | None:
    """Return how long one image of a graph takes on a device of these `speeds`; None if none speaks of its work.

    Figures of the engine's own runtime are preferred to others, then those that speak of the graph's kinds of work in
    its precision, then those of as many threads as asked for.

    Args:
        ops: The graph's, as an exporter's `costs` tells them.
        speeds: What is known of the device.
        engine: The engine that will run the graph there; with "+" and the delegate that brings it to an accelerator.
        threads: That it will have.
        processor: What will compute; figures of others are not looked at.
    """
    runtime = RUNTIMES.get(engine, engine)
    terms = terms_of(ops)
    work = [term for term in terms if term.endswith(" macs")]

    def rank(one: Speed) -> tuple[bool, int, int, bool]:
        unmeasured = sum(term not in one.ms for term in work)
        return (one.runtime != runtime, unmeasured, abs(one.threads - threads), one.basis != "measured")

    speed = min((one for one in speeds if one.processor == processor), key=rank, default=None)
    if speed is None or not _speaks_of(speed, work):
        return None
    ms, unknown = total_ms(terms, speed.ms)
    own = speed.runtime == runtime
    slack = 1.0 if own else _STRANGE
    return Prediction(
        ms=ms,
        low_ms=ms * speed.low / slack,
        high_ms=ms * speed.high * slack,
        threads=speed.threads,
        runtime=speed.runtime,
        validated=own and speed.models > 0,
        words=_words(speed, runtime),
        unknown=unknown,
        processor=processor,
    )


def total_ms(terms: Mapping[str, float], ms: Mapping[str, float]) -> tuple[float, tuple[str, ...]]:
    """Return the time that `terms` take at `ms` a unit, and the terms that it has no figure for.

    Those are taken like float32's of the same kind of work, else work is taken like moving so much, and calls, ops and
    bytes, which are counted in other units, like nothing.
    """
    total, unknown = 0.0, []
    for term, amount in terms.items():
        rate = ms.get(term)
        if rate is None:
            unknown.append(term)
            other = ms.get("float32 move written", 0.0) if term.endswith(_WORK) else 0.0
            rate = ms.get(_as_float(term), other)
        total += amount * rate
    return total, tuple(unknown)


def _speaks_of(speed: Speed, work: Sequence[str]) -> bool:
    """Return whether the figures are of any of this work, or of the same in float32."""
    return not work or any(term in speed.ms or _as_float(term) in speed.ms for term in work)


def _as_float(term: str) -> str:
    return f"float32 {term.partition(' ')[2]}"


def _words(speed: Speed, runtime: str) -> str:
    measured = speed.basis == "measured"
    if speed.runtime != runtime:
        figures = "figures measured there" if measured else f"{speed.rows} public figures"
        return f"unvalidated for {runtime}: from {figures} with {speed.runtime}"
    if speed.models == 0:
        return f"unvalidated: from {speed.rows} figures that no network was compared with"
    error = f"median error {100 * speed.error_median:.0f} %"
    if measured:
        return f"validated for {runtime}: measured there, and tested on {speed.models} networks, {error}"
    return (
        f"validated for {runtime}: from {speed.rows} public figures of {speed.models} networks, each left out in turn, "
        f"{error}"
    )
