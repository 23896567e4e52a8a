"""What keeping ops at higher precision costs: bytes, and time on this machine, both graphs measured in turn."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgetransfer.runtime.engines import open_engine

ROUNDS = 60  # of one inference each; medians of interleaved runs drift alike


@dataclass(frozen=True, slots=True)
class KeptCost:
    """Bytes and median milliseconds (one thread, here) of the backbone without and with ops kept."""

    plain_bytes: int
    kept_bytes: int
    plain_ms: float
    kept_ms: float

    def to_json(self) -> dict[str, Any]:
        """Return the cost as JSON values."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the cost as one line."""
        return (
            f"keeping them costs {self.kept_bytes - self.plain_bytes:+,} bytes and "
            f"{self.kept_ms - self.plain_ms:+.2f} ms ({self.plain_ms:.2f} to {self.kept_ms:.2f} ms on one thread here)"
        )


def kept_cost(plain: bytes, kept: bytes, engine_name: str) -> KeptCost:
    """Return what `kept` costs over `plain`, two deployed graphs with the same input."""
    engines = [open_engine(engine_name, graph, threads=1) for graph in (plain, kept)]
    pixels = np.random.default_rng(0).integers(0, 256, engines[0].input.shape, np.uint8)
    times_ms: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for engine, times in zip(engines, times_ms, strict=True):
            started = time.perf_counter()
            engine.run(pixels)
            times.append(1e3 * (time.perf_counter() - started))
    for engine in engines:
        engine.close()
    plain_ms, kept_ms = (float(np.median(times)) for times in times_ms)
    return KeptCost(len(plain), len(kept), plain_ms, kept_ms)
