"""The part of a page about one head outside of the graph: what it answers, how right it is, what it turns away."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from edgetransfer.pipeline.page.calibration import calibration_parts
from edgetransfer.pipeline.page.curve import curve_parts
from edgetransfer.pipeline.page.data import data_parts
from edgetransfer.pipeline.page.facts import labels_list, megabytes, percent, task_text
from edgetransfer.pipeline.page.figures import Figures
from edgetransfer.pipeline.page.gaps import shown_gaps
from edgetransfer.pipeline.page.html import Content, Html, element, facts, paragraph, section, table
from edgetransfer.pipeline.page.measured import HeadFigures, TaskEvaluation
from edgetransfer.pipeline.page.metrics import confusion_parts, matrix, metric_parts, recorded_table
from edgetransfer.pipeline.page.mistakes import mistake_parts
from edgetransfer.pipeline.page.rejection import rejection_parts
from edgetransfer.pipeline.page.words import Words, words
from edgetransfer.spec.task_report import Figure


def head_id(name: str) -> str:
    """Return where links to the head `name` lead to."""
    return f"head-{name}"


def head_section(figures: Figures, one: HeadFigures) -> Html:
    """Return all that is known of a head; without data that is what the build recorded.

    Raises:
        InputError: a photo that should be shown cannot be read any more.
    """
    name, said = head_id(one.head.name), words(figures.bundle.manifest)
    many = said.many
    evaluation = one.evaluation
    parts: list[Html] = [_facts(one, said)]
    if one.recorded:
        parts.append(recorded_table(one.recorded, many))
    if one.task_evaluation is not None:
        parts += _part("Data", data_parts(one.task_evaluation))
        parts += _part("Metrics", task_parts(one.task_evaluation, many))
    if evaluation is not None:
        parts += _part("Data", data_parts(evaluation))
        parts += _part("Metrics", metric_parts(evaluation))
        parts += _part("Confusion", confusion_parts(evaluation, f"{name}-confusion"))
        parts += _part("Calibration of confidence", calibration_parts(evaluation, f"{name}-reliability"))
        parts += _part("Worst mistakes", mistake_parts(evaluation))
    if one.rejection is not None:
        parts += _part("What it turns away", rejection_parts(one.rejection, f"{name}-rejection", many))
    if one.curve is not None:
        parts += _part("Would more data help?", curve_parts(one.curve, f"{name}-curve", many))
    elif one.no_curve:
        parts += _part("Would more data help?", [paragraph(one.no_curve)])
    return section(name, f"Head {one.head.name}", parts, shown_gaps(figures, name))


def task_parts(evaluation: TaskEvaluation, many: str) -> list[Html]:
    """Return the figures of a task that is no single label, with their intervals; `many` is what samples are called."""
    report = evaluation.report
    document = report.to_json()
    named: dict[str, Figure] = {
        name: value for name in report.__slots__ if isinstance(value := getattr(report, name), Figure)
    }
    rows = [
        [name.replace("_", " "), f"{value.value:.4g}", f"{value.low:.4g} to {value.high:.4g}"]
        for name, value in named.items()
    ]
    caption = (
        f"On the {report.samples} {many} of the {report.split} split{_in_unit(document)}; shipped: {evaluation.engine}"
    )
    shown = [table(caption, ["measure", "value", "95 % interval"], rows)]
    if document["report"] == "evaluate_multi_label":
        shown.append(_by_label(document["labels"], many))
    if document["report"] == "evaluate_ordinal":
        shown.append(matrix(document["labels"], document["confusion"]))
    return shown


def _in_unit(document: dict[str, Any]) -> str:
    unit = document.get("unit")
    return f"; errors in {unit}" if unit else ""


def _by_label(labels: Iterable[dict[str, Any]], many: str) -> Html:
    names = ("threshold", "precision", "recall", "f1", "average_precision")
    rows = [
        [one["label"], *("-" if one[name] is None else f"{one[name]:.3f}" for name in names), str(one["support"])]
        for one in labels
    ]
    return table("By label", ["label", "threshold", "precision", "recall", "F1", "average precision", many], rows)


def _part(title: str, content: list[Html]) -> list[Html]:
    return [element("h3", title), *content]


def _facts(one: HeadFigures, said: Words) -> Html:
    head, many = one.head, said.many
    where = "a file beside the bundle, added later" if one.added else "a file of the bundle"
    away = "nothing: it always gives a label"
    if head.outliers is not None:
        away = f"what is unlike its training data, at {percent(head.outliers.false_reject_rate)} of {many} like it"
        share = head.training.get("rejects", {}).get("test")
        away += "" if share is None else f"; at the build {percent(share)} of the test split"
    pairs: list[tuple[str, Content]] = [
        ("Task", task_text(head.task, said.one)),
        ("Labels", labels_list(head.task.labels)),
        ("Size", f"{megabytes(one.size_bytes)} ({one.size_bytes:,} bytes), {where}"),
        ("Turns away", away),
    ]
    if head.memory is not None:
        pairs.append(("Learns", f"new labels on the device; carries features of some validation {many} for that"))
    return facts(pairs)
