"""What is said to people of a head that was trained: its figures beside the float model's, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.spec.task_report import AnyTaskReport, Figure, MultiLabelReport, OrdinalReport

if TYPE_CHECKING:
    from edgetransfer.pipeline.split_head import TrainedHead

_WIDTH = 14


def head_lines(
    trained: TrainedHead,
    exported: Mapping[str, AnyTaskReport],
    recipe: str,
    size_bytes: int,
    rejected: float | None,
) -> list[str]:
    """Return a head as lines.

    Args:
        trained: The head.
        exported: Split to how right it is, through the bundle.
        recipe: Name of the bundle's recipe.
        size_bytes: Of the head's file.
        rejected: The share of the test split that it rejects; None where there is none.
    """
    head = trained.head
    lines = [f"head {head.name}: {_asked(head.task)}, {size_bytes:,} bytes", *_table(trained, exported, recipe)]
    lines += [*_few(trained), *_scores(trained, exported), *_pooling(trained)]
    if head.outliers is not None:
        share = "" if rejected is None else f"; of the test split it rejects {rejected:.1%}"
        rate = head.outliers.false_reject_rate
        lines.append(_line("rejects", f"what is unlike its training data, at {rate:.0%}{share}"))
    if trained.curve is not None:
        lines.append(_line("more data", trained.curve.advice))
    elif trained.no_curve:
        lines.append(_line("more data", trained.no_curve))
    return lines


def figures_in(report: AnyTaskReport) -> list[tuple[str, str, str]]:
    """Return what a report tells of its kind of task, the first figure first: (name, value, 95 % interval)."""
    if isinstance(report, EvalReport):
        low, high = report.accuracy_95
        return [("accuracy", f"{report.accuracy:.1%}", f"{low:.1%} to {high:.1%}")]
    if isinstance(report, MultiLabelReport):
        return [
            _figure("mean average precision", report.mean_average_precision, ".3f"),
            _figure("micro F1", report.micro_f1, ".3f"),
            _figure("macro F1", report.macro_f1, ".3f"),
        ]
    if isinstance(report, OrdinalReport):
        return [
            _figure("mean error, labels", report.mean_absolute_error, ".3f"),
            _figure("accuracy", report.accuracy, ".1%"),
            _figure("quadratic kappa", report.quadratic_kappa, ".3f"),
        ]
    unit = f", {report.unit}" if report.unit else ""
    found = [
        _figure(f"mean error{unit}", report.mean_absolute_error, ".4g"),
        _figure(f"root mean square error{unit}", report.root_mean_square_error, ".4g"),
        _figure("R2", report.r2, ".3f"),
    ]
    if report.interval_coverage is not None and report.coverage_promised is not None:
        found.append(_figure(f"in its {report.coverage_promised:.0%} interval", report.interval_coverage, ".1%"))
    return found


def _asked(task: Task) -> str:
    if task.kind == "regression":
        return f"{task.kind}, {task.labels[0]}{f' in {task.unit}' if task.unit else ''}"
    order = f", {' < '.join(task.labels)}" if task.kind == "ordinal" else ""
    return f"{task.kind}, {len(task.labels)} labels{order}"


def _table(trained: TrainedHead, exported: Mapping[str, AnyTaskReport], recipe: str) -> list[str]:
    if not exported:
        return ["  nothing measured: there are too few examples to keep some for it"]
    rows = [(name, reports) for name, reports in (("float32", trained.floats), (recipe, exported)) if reports]
    names = [name for name, _, _ in figures_in(next(iter(exported.values())))]
    if len(names) == 1:
        head = f"  {'model':<{_WIDTH}}{'validation':>12}{'test':>10}   95 % interval of test"
        return [head, *(_cells(name, reports, 0) for name, reports in rows)]
    lines = []
    for place, figure in enumerate(names):
        lines.append(f"  {figure:<{_WIDTH + 12}}{'validation':>12}{'test':>10}   95 % interval of test")
        lines += [_cells(f"  {name}", reports, place, wide=12) for name, reports in rows]
    return lines


def _cells(name: str, reports: Mapping[str, AnyTaskReport], place: int, wide: int = 0) -> str:
    val, test = reports.get("val"), reports.get("test")
    cells = ["-" if report is None else figures_in(report)[place][1] for report in (val, test)]
    interval = "" if test is None else f"{figures_in(test)[place][2]} ({test.samples} samples)"
    return f"  {name:<{_WIDTH + wide}}{cells[0]:>12}{cells[1]:>10}   {interval}".rstrip()


def _few(trained: TrainedHead) -> list[str]:
    few = trained.few
    if few is None:
        return []
    lines = [_line("few examples", f"penalty {few.penalty:g}: {few.because}")]
    if few.accuracy is not None and few.accuracy_95 is not None:
        low, high = few.accuracy_95
        floats = trained.float_few
        beside = "" if floats is None or floats.accuracy is None else f"; float32 {floats.accuracy:.1%}"
        lines.append(_line("left out", f"{few.accuracy:.1%} right (95 % interval {low:.1%} to {high:.1%}){beside}"))
    if "val" in trained.trained_on:
        lines.append(_line("", "the validation samples were trained on too, so nothing was measured on them"))
    return lines


def _scores(trained: TrainedHead, exported: Mapping[str, AnyTaskReport]) -> list[str]:
    test, plain = exported.get("test"), trained.uncalibrated.get("test")
    temperature = trained.head.task.temperature
    if isinstance(test, EvalReport) and isinstance(plain, EvalReport):
        if temperature == 1:
            return [_line("scores", f"expected calibration error {plain.expected_calibration_error:.3f} (test)")]
        return [
            _line(
                "scores",
                f"temperature {temperature:.2f}: expected calibration error {plain.expected_calibration_error:.3f} "
                f"at 1, {test.expected_calibration_error:.3f} with it (test)",
            )
        ]
    return [] if temperature == 1 else [_line("scores", f"temperature {temperature:.2f}, fitted on validation")]


def _pooling(trained: TrainedHead) -> list[str]:
    found = trained.pooling
    if found is None:
        return []
    taken = "mean" if found.pool is None else "attention"
    return [
        _line(
            "windows",
            f"pooled by {taken}: attention gains {found.gain:.4g} +- {found.gain_error:.2g} over the mean (validation)",
        )
    ]


def _figure(name: str, figure: Figure, form: str) -> tuple[str, str, str]:
    return name, f"{figure.value:{form}}", f"{figure.low:{form}} to {figure.high:{form}}"


def _line(name: str, text: str) -> str:
    return f"  {name:<15}{text}"
