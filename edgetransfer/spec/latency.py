"""What is known of a device's speed, as numbers: how long one unit of each term of work takes there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

BASES = ("measured", "public")
"""Where coefficients come from; see `Speed.basis`."""

CPU = "cpu"
"""What `Speed.processor` calls the device's CPU."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Coefficients of one runtime with so many threads on a device, and how far they can be trusted.

    Attributes:
        runtime: Whose kernels the figures speak of, e.g. "LiteRT" or "ncnn".
        threads: Of the CPU.
        ms: Milliseconds for one unit of each term (see edgetransfer.estimate.terms).
        basis: "measured" on the device by `edgetransfer devices calibrate`, or "public": fitted to published figures.
        rows: Measurements that the coefficients were fitted to.
        models: Networks among them; 0 where only single ops were measured.
        error_median: Absolute relative error of networks that were left out of the fit: their median.
        error_p90: The same, 90th percentile.
        low: Nine of ten left-out networks took at least this times the prediction.
        high: Nine of ten left-out networks took at most this times the prediction.
        processor: What computes: "cpu", or the name of one of the device's accelerators.
    """

    runtime: str
    threads: int
    ms: Mapping[str, float]
    basis: str
    rows: int
    models: int
    error_median: float
    error_p90: float
    low: float
    high: float
    processor: str = CPU

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {**asdict(self), "ms": dict(self.ms)}
