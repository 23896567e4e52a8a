"""What a page tells, as values: nothing here knows how it will look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.pipeline.page.measured import Evaluation, HeadFigures, plain
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device
from edgetransfer.spec.report import EvalReport, ProfileReport


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one input takes somewhere: measured, or predicted.

    Attributes:
        device: What computes, for the reader: a board, a phone, a processor.
        how: Engine and threads, for the reader.
        ms: The middle: the median of measured times, or the prediction.
        low_ms: Where the range begins; None where only its upper end is known.
        high_ms: Where it ends; None where it is not known.
        interval: What the range means, such as "p50 to p90".
        basis: Where the figures come from: "measured here", "predicted, unvalidated" ...
        measured: Whether a clock was read; False for every prediction.
    """

    device: str
    how: str
    ms: float
    low_ms: float | None
    high_ms: float | None
    interval: str
    basis: str
    measured: bool

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return plain(self)


@dataclass(frozen=True, slots=True)
class FloatModel:
    """The float model's figures on the same photos; `same_data` says whether it learned from the bundle's data."""

    report: EvalReport
    same_data: bool

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {"report": self.report.to_json(), "same_data": self.same_data}


@dataclass(frozen=True, slots=True)
class Profiled:
    """A measurement of this bundle; `source` is the file that it was read from, "" if it was made here and now."""

    report: ProfileReport
    source: str = ""

    @property
    def basis(self) -> str:
        """Where the figures come from, for the reader."""
        return f"measured there ({self.source})" if self.source else "measured here"


@dataclass(frozen=True, slots=True)
class Agreement:
    """On how many of the golden `samples` the artifact gave the float model's answer where it was built."""

    samples: int
    same_answer: int


@dataclass(frozen=True, slots=True)
class FeatureAgreement:
    """How near the features of the golden `samples` are to the float model's: their cosines, at most 1."""

    samples: int
    mean_cosine: float
    least_cosine: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that a page tells of one bundle.

    Where heads are outside of the graph, what was measured on data is in `heads`, not in `evaluation`. What was not
    asked for, or could not be had, is None or empty; `edgetransfer.pipeline.page.gaps` says how to get it.
    """

    bundle: Bundle
    agreement: Agreement | FeatureAgreement | None
    evaluation: Evaluation | None
    floats: FloatModel | None
    profiles: tuple[Profiled, ...]
    latencies: tuple[LatencyRow, ...]
    devices: tuple[Device, ...]
    heads: tuple[HeadFigures, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        agreement = self.agreement
        return {
            "report": "page",
            "bundle": self.bundle.manifest.name,
            "sha256": self.bundle.sha256,
            "manifest": self.bundle.manifest.to_json(),
            "golden_agreement": None if agreement is None else plain(agreement),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "heads": [one.to_json() for one in self.heads],
            "float": None if self.floats is None else self.floats.to_json(),
            "profiles": [{"source": one.source, **one.report.to_json()} for one in self.profiles],
            "latencies": [row.to_json() for row in self.latencies],
            "devices": [device.to_json() for device in self.devices],
        }
