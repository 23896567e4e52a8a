"""What a page tells, as values: nothing here knows how it will look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data import DataReport
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.device import Device
from edgetransfer.spec.report import EvalReport, ProfileReport


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one image takes somewhere: measured, or predicted.

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
        return _plain(self)


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Answers of about one confidence: above `low`, at most `high`; how sure they were, and how often right."""

    low: float
    high: float
    samples: int
    confidence: float
    accuracy: float
    accuracy_95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return the bin as JSON values."""
        return _plain(self) | {"accuracy_95": list(self.accuracy_95)}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A photo that was answered wrongly: its file, what it is called for the reader, and the two scores, 0 to 1."""

    file: Path
    name: str
    label: str
    answer: str
    answer_score: float
    label_score: float

    def to_json(self) -> dict[str, Any]:
        """Return the mistake as JSON values, without this machine's path."""
        fields = _plain(self)
        del fields["file"]
        return fields


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A label that was taken for another: how often, and for which part of its photos, 0 to 1."""

    label: str
    answer: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How right the bundle is on one split of some data.

    Attributes:
        report: Accuracy and all that belongs to it.
        engine: Name, version and kernels that computed.
        bins: Confidence against accuracy; bins without an answer are left out.
        mistakes: The worst: wrong answers, the surest first.
        data: What was found in the data.
        same_data: Whether photos, labels and splits are those that the bundle was built with.
    """

    report: EvalReport
    engine: str
    bins: tuple[ConfidenceBin, ...]
    mistakes: tuple[Mistake, ...]
    data: DataReport
    same_data: bool

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return {
            "report": self.report.to_json(),
            "engine": self.engine,
            "bins": [one.to_json() for one in self.bins],
            "mistakes": [one.to_json() for one in self.mistakes],
            "data": self.data.to_json(),
            "same_data": self.same_data,
        }


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
class Figures:
    """Everything that a page tells of one bundle.

    What was not asked for, or could not be had, is None or empty; `edgetransfer.pipeline.page_gaps` says how to get it.
    """

    bundle: Bundle
    agreement: Agreement | None
    evaluation: Evaluation | None
    floats: FloatModel | None
    profiles: tuple[Profiled, ...]
    latencies: tuple[LatencyRow, ...]
    devices: tuple[Device, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        agreement = self.agreement
        return {
            "report": "page",
            "bundle": self.bundle.manifest.name,
            "sha256": self.bundle.sha256,
            "manifest": self.bundle.manifest.to_json(),
            "golden_agreement": None if agreement is None else _plain(agreement),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
            "float": None if self.floats is None else self.floats.to_json(),
            "profiles": [{"source": one.source, **one.report.to_json()} for one in self.profiles],
            "latencies": [row.to_json() for row in self.latencies],
            "devices": [device.to_json() for device in self.devices],
        }


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
