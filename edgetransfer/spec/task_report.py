"""What evaluate found for tasks other than one label of several: values that become JSON, and text for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a sample of examples, and its 95 % bootstrap interval from `low` to `high`."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the figure as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def text(self, form: str) -> str:
        """Return the figure in this format with its interval."""
        return f"{self.value:{form}} (95 % interval {self.low:{form}} to {self.high:{form}})"


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How one label of several fared; 0 where nothing was given (precision) or nothing there (recall).

    `average_precision` is None where no example has the label.
    """

    label: str
    threshold: float
    precision: float
    recall: float
    f1: float
    average_precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """How right an artifact is that gives any number of labels at once.

    Attributes:
        artifact: What was evaluated, as the reader should call it.
        split: The name of the split.
        samples: How many examples it had.
        micro_f1: F1 of all labels counted together.
        macro_f1: Unweighted mean of the labels' F1.
        mean_average_precision: Unweighted mean of the labels' average precision, of those that occur; it does not
            depend on the thresholds.
        labels: One entry a label, in label order.
    """

    artifact: str
    split: str
    samples: int
    micro_f1: Figure
    macro_f1: Figure
    mean_average_precision: Figure
    labels: tuple[LabelScores, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        figures = _figures(self, ("micro_f1", "macro_f1", "mean_average_precision"))
        labels = [{name: getattr(one, name) for name in LabelScores.__slots__} for one in self.labels]
        return _head("multi_label", self) | figures | {"labels": labels}

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        lines = [
            f"{self.artifact}: {self.split} split, {self.samples} samples",
            f"micro F1 {self.micro_f1.text('.3f')}",
            f"macro F1 {self.macro_f1.text('.3f')}",
            f"mean average precision {self.mean_average_precision.text('.3f')}",
        ]
        rows = [["label", "threshold", "precision", "recall", "F1", "average precision", "samples"]]
        for one in self.labels:
            figures = (one.threshold, one.precision, one.recall, one.f1)
            precision = "-" if one.average_precision is None else f"{one.average_precision:.3f}"
            rows.append([one.label, *(f"{value:.3f}" for value in figures), precision, str(one.support)])
        return "\n".join([*lines, "", *aligned(rows)])


@dataclass(frozen=True, slots=True)
class OrdinalReport:
    """How right an artifact is that answers on a scale of labels.

    Attributes:
        artifact: What was evaluated, as the reader should call it.
        split: The name of the split.
        samples: How many examples it had.
        accuracy: The part that got exactly the right label, 0 to 1.
        mean_absolute_error: Mean distance from the right label, in labels.
        quadratic_kappa: Cohen's kappa with squared distances: 1 is perfect, 0 what answers unrelated to the truth get.
        labels: The labels, in order.
        confusion: confusion[true][answered] counts, in label order.
    """

    artifact: str
    split: str
    samples: int
    accuracy: Figure
    mean_absolute_error: Figure
    quadratic_kappa: Figure
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        figures = _figures(self, ("accuracy", "mean_absolute_error", "quadratic_kappa"))
        table = {"labels": list(self.labels), "confusion": [list(row) for row in self.confusion]}
        return _head("ordinal", self) | figures | table

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        lines = [
            f"{self.artifact}: {self.split} split, {self.samples} samples",
            f"accuracy {self.accuracy.text('.2%')}",
            f"mean absolute error {self.mean_absolute_error.text('.3f')} labels",
            f"quadratic weighted kappa {self.quadratic_kappa.text('.3f')}",
        ]
        counts = [[name, *map(str, row)] for name, row in zip(self.labels, self.confusion, strict=True)]
        return "\n".join([*lines, "", *aligned([["true \\ answered", *self.labels], *counts])])


@dataclass(frozen=True, slots=True)
class RegressionReport:
    """How right an artifact is that gives a quantity.

    Attributes:
        artifact: What was evaluated, as the reader should call it.
        split: The name of the split.
        samples: How many examples it had.
        quantity: What was asked for.
        unit: Of the values and errors.
        mean_absolute_error: Mean distance from the true value, in the unit.
        root_mean_square_error: Root of the mean squared distance, in the unit.
        r2: The part of the values' variance that the answers account for; below 0, their mean would be better.
        interval_coverage: The part of the true values that lie within the interval given, 0 to 1; None where the task
            gives no interval.
        coverage_promised: How often they are to; None likewise.
    """

    artifact: str
    split: str
    samples: int
    quantity: str
    unit: str
    mean_absolute_error: Figure
    root_mean_square_error: Figure
    r2: Figure
    interval_coverage: Figure | None
    coverage_promised: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        figures = _figures(self, ("mean_absolute_error", "root_mean_square_error", "r2", "interval_coverage"))
        what = {"quantity": self.quantity, "unit": self.unit, "coverage_promised": self.coverage_promised}
        return _head("regression", self) | what | figures

    def as_text(self) -> str:
        """Return the report as aligned plain text."""
        unit = f" {self.unit}" if self.unit else ""
        lines = [
            f"{self.artifact}: {self.split} split, {self.samples} samples, {self.quantity}",
            f"mean absolute error {self.mean_absolute_error.text('.4g')}{unit}",
            f"root mean square error {self.root_mean_square_error.text('.4g')}{unit}",
            f"R2 {self.r2.text('.3f')}",
        ]
        if self.interval_coverage is not None and self.coverage_promised is not None:
            held = self.interval_coverage.text(".1%")
            lines.append(f"the interval holds the true value in {held}, {self.coverage_promised:.0%} promised")
        return "\n".join(lines)


TaskReport = MultiLabelReport | OrdinalReport | RegressionReport
AnyTaskReport = EvalReport | TaskReport
"""The report of any kind of task: EvalReport is that of one label of several."""


def figures_of(report: AnyTaskReport) -> dict[str, float]:
    """Return the figures that files keep of a report, by name, and the number of its samples."""
    names = {
        MultiLabelReport: ("micro_f1", "macro_f1", "mean_average_precision"),
        OrdinalReport: ("accuracy", "mean_absolute_error", "quadratic_kappa"),
        RegressionReport: ("mean_absolute_error", "root_mean_square_error", "r2"),
    }
    if isinstance(report, EvalReport):
        return {"accuracy": report.accuracy, "samples": report.samples}
    return {name: getattr(report, name).value for name in names[type(report)]} | {"samples": report.samples}


def _head(kind: str, report: TaskReport) -> dict[str, Any]:
    named = {"artifact": report.artifact, "split": report.split, "samples": report.samples}
    return {"report": f"evaluate_{kind}"} | named


def _figures(report: TaskReport, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: getattr(report, name) for name in names}
    return {name: None if one is None else one.to_json() for name, one in found.items()}
