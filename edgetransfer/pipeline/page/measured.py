"""What was measured of a head on labelled data, as values: nothing here knows how it will look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.data import DataReport
from edgetransfer.estimate.separation import AurocDifference
from edgetransfer.spec.head import Head
from edgetransfer.spec.learning_curve import LearningCurve
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task_report import TaskReport


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
        return plain(self) | {"accuracy_95": list(self.accuracy_95)}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How honest the scores are at a temperature: expected calibration error, 0 to 1, and the bins it is made of.

    `confidence` and `accuracy` are the means of all answers, 0 to 1.
    """

    temperature: float
    error: float
    confidence: float
    accuracy: float
    bins: tuple[ConfidenceBin, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return plain(self) | {"bins": [one.to_json() for one in self.bins]}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A sample that was answered wrongly.

    Attributes:
        file: The photo or sound; of a sentence its table.
        name: What it is called for the reader.
        label: The data's label, and in `label_score` its score, 0 to 1.
        answer: What was answered, and in `answer_score` its score.
        text: The sentence; "" of anything else.
        seconds: The sound's length; None of anything else.
        rejected: Whether the device turns it away instead of giving this answer.
        channels: With how many the photo is looked at.
    """

    file: Path
    name: str
    label: str
    answer: str
    answer_score: float
    label_score: float
    text: str = ""
    seconds: float | None = None
    rejected: bool = False
    channels: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the mistake as JSON values, without this machine's path."""
        fields = plain(self)
        del fields["file"]
        return fields


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A label that was taken for another: how often, and for which part of its samples, 0 to 1."""

    label: str
    answer: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How right a bundle, or one of its heads, is on one split of some data.

    Attributes:
        report: Accuracy and all that belongs to it.
        engine: Name, version and kernels that computed.
        calibration: With the temperature that is shipped.
        uncalibrated: At temperature 1; None where that is what is shipped, or only scores come out of the graph.
        mistakes: The worst: wrong answers, the surest first.
        data: What was found in the data.
        same_data: Whether samples, labels and splits are those of the build; None where that cannot be told.
    """

    report: EvalReport
    engine: str
    calibration: Calibration
    uncalibrated: Calibration | None
    mistakes: tuple[Mistake, ...]
    data: DataReport
    same_data: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return {
            "report": self.report.to_json(),
            "engine": self.engine,
            "calibration": self.calibration.to_json(),
            "temperature_1": None if self.uncalibrated is None else self.uncalibrated.to_json(),
            "mistakes": [one.to_json() for one in self.mistakes],
            "data": self.data.to_json(),
            "same_data": self.same_data,
        }


@dataclass(frozen=True, slots=True)
class TaskEvaluation:
    """How right a head is whose task is no single label; fields as those of `Evaluation`."""

    report: TaskReport
    engine: str
    data: DataReport
    same_data: bool | None

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON values."""
        return {
            "report": self.report.to_json(),
            "engine": self.engine,
            "data": self.data.to_json(),
            "same_data": self.same_data,
        }


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many outlier scores fall between `edges[i]` and `edges[i + 1]`; the last bin has all above it too."""

    edges: tuple[float, ...]
    known: tuple[int, ...]
    strangers: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {name: list(values) for name, values in plain(self).items()}


@dataclass(frozen=True, slots=True)
class Strangers:
    """How inputs of none of the labels fared.

    Attributes:
        source: Name of the folder or file, without its path.
        samples: How many could be read.
        unreadable: How many could not.
        rejected: How many were turned away.
        rejected_95: Wilson interval of their share.
        separation: AUROC of the outlier score, beside that of the largest softmax score, strangers against the data.
    """

    source: str
    samples: int
    unreadable: int
    rejected: int
    rejected_95: tuple[float, float]
    separation: AurocDifference

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return plain(self) | {"rejected_95": list(self.rejected_95), "separation": plain(self.separation)}


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a head turns away as unlike its training data.

    Attributes:
        threshold: Outlier scores above it are turned away.
        false_reject_rate: The price that was chosen: share of inputs like the training data, 0 to 1.
        samples: Of the split that was evaluated.
        rejected: How many of them were turned away.
        rejected_95: Wilson interval of their share.
        answered_right: How many of the others were answered rightly.
        histogram: Of the outlier scores.
        strangers: None where none were given.
    """

    threshold: float
    false_reject_rate: float
    samples: int
    rejected: int
    rejected_95: tuple[float, float]
    answered_right: int
    histogram: Histogram
    strangers: Strangers | None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return plain(self) | {
            "rejected_95": list(self.rejected_95),
            "histogram": self.histogram.to_json(),
            "strangers": None if self.strangers is None else self.strangers.to_json(),
        }


@dataclass(frozen=True, slots=True)
class HeadFigures:
    """A head outside of the graph, and what was measured of it.

    Attributes:
        head: The head.
        size_bytes: Of its file.
        added: Whether it lies beside the bundle, not in it.
        recorded: Split to figures by name, from when it was built.
        evaluation: None where no data were given, or the task is no single label.
        task_evaluation: The same of other tasks.
        rejection: None where it never rejects, or no data were given.
        curve: What more data would bring; None where it was not worked out.
        no_curve: Why there is none, a sentence; "" where there is one or none was wanted.
    """

    head: Head
    size_bytes: int
    added: bool
    recorded: Mapping[str, Mapping[str, float]]
    evaluation: Evaluation | None = None
    task_evaluation: TaskEvaluation | None = None
    rejection: Rejection | None = None
    curve: LearningCurve | None = None
    no_curve: str = ""

    @property
    def measured(self) -> Evaluation | TaskEvaluation | None:
        """What was measured, whatever the task."""
        return self.evaluation or self.task_evaluation

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        parts = {name: getattr(self, name) for name in ("evaluation", "task_evaluation", "rejection", "curve")}
        return {
            "name": self.head.name,
            "task": self.head.task.to_json(),
            "bytes": self.size_bytes,
            "added": self.added,
            "recorded": {split: dict(figures) for split, figures in self.recorded.items()},
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "no_curve": self.no_curve,
        }


def plain(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with slots."""
    return {name: getattr(value, name) for name in value.__slots__}
