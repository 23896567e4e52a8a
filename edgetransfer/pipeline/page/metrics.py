"""The parts of a page about being right: metrics, and which labels are taken for which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgetransfer.pipeline.page.charts import confusion_chart
from edgetransfer.pipeline.page.evaluation import confused_pairs
from edgetransfer.pipeline.page.facts import percent
from edgetransfer.pipeline.page.figures import Agreement, Figures
from edgetransfer.pipeline.page.gaps import shown_gaps
from edgetransfer.pipeline.page.html import (
    Content,
    Html,
    boxed,
    callout,
    element,
    folded,
    join,
    paragraph,
    section,
    table,
)
from edgetransfer.pipeline.page.measured import Evaluation
from edgetransfer.pipeline.page.words import words, words_of
from edgetransfer.spec.report import EvalReport

MOST_COUNTED_LABELS = 24  # a larger matrix of counts cannot be read; to MOST_MAPPED_LABELS it is drawn as a map
MOST_MAPPED_LABELS = 120
MOST_PAIRS = 15
MANY_CLASSES = 30

Measure = tuple[str, Callable[[EvalReport], float], str]
_SHARE, _NUMBER = "share", "number"
MEASURES: tuple[Measure, ...] = (
    ("accuracy", lambda report: report.accuracy, _SHARE),
    ("macro precision", lambda report: report.macro_precision, _NUMBER),
    ("macro recall", lambda report: report.macro_recall, _NUMBER),
    ("macro F1", lambda report: report.macro_f1, _NUMBER),
    ("calibration error, less is better", lambda report: report.expected_calibration_error, _NUMBER),
    ("log loss, less is better", lambda report: report.log_loss, _NUMBER),
)


def metrics(figures: Figures) -> Html:
    """Return how right the shipped model is, and the float model beside it, of a head inside the graph."""
    evaluation = figures.evaluation
    parts: list[Html] = []
    if evaluation is not None:
        parts += metric_parts(evaluation, None if figures.floats is None else figures.floats.report)
    if figures.floats is not None and not figures.floats.same_data:
        parts.append(callout("Another run.", "The float model learned from other data than the bundle did."))
    return section("metrics", "Metrics", parts, _recorded(figures), shown_gaps(figures, "metrics"))


def metric_parts(evaluation: Evaluation, floats: EvalReport | None = None) -> list[Html]:
    """Return how right a head is, on the whole and by label."""
    many = words_of(evaluation.data.kind).many
    return [_beside(evaluation.report, floats, evaluation.engine, many), _by_class(evaluation.report, many)]


def recorded_table(recorded: Mapping[str, Mapping[str, float]], many: str) -> Html:
    """Return the figures of the build by split; `many` is what samples are called."""
    names = list(dict.fromkeys(name for figures in recorded.values() for name in figures if name != "samples"))
    rows = [
        [split, *(_recorded_cell(name, figures.get(name)) for name in names), f"{figures.get('samples', 0):.0f}"]
        for split, figures in sorted(recorded.items())
    ]
    head = ["split", *(name.replace("_", " ") for name in names), many]
    return table("Recorded when it was built", head, rows)


def _recorded_cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return percent(value) if name == "accuracy" else f"{value:.3f}"


def confusion_parts(evaluation: Evaluation, name: str) -> list[Html]:
    """Return which labels are taken for which; `name` tells a drawing from others of the page."""
    report, many = evaluation.report, words_of(evaluation.data.kind).many
    labels = len(report.classes)
    if labels <= MOST_COUNTED_LABELS:
        shown: Html = matrix([one.label for one in report.classes], report.confusion)
    elif labels <= MOST_MAPPED_LABELS:
        title = f"Map of the confusion matrix of {labels} labels; the pairs below say the same in words"
        caption = (
            f"Stronger is more of a row's {many}. Labels are numbered from 0 in the order of the metrics by label."
        )
        shown = element("figure", confusion_chart(report.confusion, title, name), element("figcaption", caption))
    else:
        shown = paragraph(f"A matrix of {labels} labels cannot be read; these are the pairs that matter.")
    return [shown, _pairs(report, many)]


def _beside(shipped: EvalReport, floats: EvalReport | None, engine: str, many: str) -> Html:
    head = ["measure", "shipped model", *([] if floats is None else ["float model", "shipped minus float"])]
    rows: list[list[Content]] = []
    for name, value, unit in MEASURES:
        reports = [shipped] if floats is None else [shipped, floats]
        cells: list[Content] = [_cell(report, value(report), unit, interval=name == "accuracy") for report in reports]
        if floats is not None:
            cells.append(_difference(value(shipped) - value(floats), unit))
        rows.append([name, *cells])
    caption = f"On the {shipped.samples} {many} of the {shipped.split} split; shipped: {engine}"
    return table(caption, head, rows)


def _cell(report: EvalReport, value: float, unit: str, *, interval: bool) -> Html:
    shown = percent(value) if unit == _SHARE else f"{value:.3f}"
    if not interval:
        return join(shown)
    low, high = (percent(end) for end in report.accuracy_95)
    return join(shown, element("small", f" {low} to {high}"))


def _difference(value: float, unit: str) -> str:
    return f"{value * 100:+.1f} points" if unit == _SHARE else f"{value:+.3f}"


def _by_class(report: EvalReport, many: str) -> Html:
    rows = [[c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support)] for c in report.classes]
    shown = table("Shipped model, by label", ["label", "precision", "recall", "F1", many], rows)
    return shown if len(rows) <= MANY_CLASSES else folded(f"By label: {len(rows)}", shown)


def _recorded(figures: Figures) -> list[Html]:
    """Return what the bundle itself holds: accuracies of the build, and the float model's answers to golden samples."""
    manifest, agreement = figures.bundle.manifest, figures.agreement
    found = []
    if manifest.metrics:
        metrics = {split: one._asdict() for split, one in manifest.metrics.items()}
        found.append(recorded_table(metrics, words(manifest).many))
    if manifest.budget is not None:
        budget = manifest.budget
        points = (budget.val_exported - budget.val_float) * 100
        found.append(
            paragraph(
                f"At the build, on the validation split: shipped model {percent(budget.val_exported)}, float model "
                f"{percent(budget.val_float)}, {points:+.1f} points."
            )
        )
    if isinstance(agreement, Agreement):
        found.append(
            paragraph(
                f"On the {agreement.samples} golden samples that the bundle carries, it gave the float model's answer "
                f"{agreement.same_answer} times."
            )
        )
    return found


def matrix(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Html:
    """Return confusion[true][answered] counts, in the order of `labels`, as a shaded table."""
    caption = "Rows: the data's label. Columns: the answer. Shaded by the share of the row."
    head = element("tr", element("th", "label \\ answer", scope="col"),
                   [element("th", element("span", label), scope="col") for label in labels])  # fmt: skip
    body = [
        element(
            "tr",
            element("th", label, scope="row"),
            [_count(count, sum(row), right=i == j) for j, count in enumerate(row)],
        )
        for i, (label, row) in enumerate(zip(labels, confusion, strict=True))
    ]
    shown = element(
        "table",
        element("caption", element("span", caption)),
        element("thead", head),
        element("tbody", body),
        class_="matrix",
    )
    return boxed("Confusion matrix", shown)


def _count(count: int, total: int, *, right: bool) -> Html:
    kind = "zero" if not count else "right" if right else "wrong"
    return element("td", str(count), class_=kind, style=f"--share:{count / max(total, 1):.3f}")


def _pairs(report: EvalReport, many: str) -> Html:
    pairs = confused_pairs(report)
    if not pairs:
        return paragraph("No label was taken for another.")
    rows: Sequence[Sequence[Content]] = [
        [pair.label, pair.answer, str(pair.count), percent(pair.share)] for pair in pairs[:MOST_PAIRS]
    ]
    more = f", the first {MOST_PAIRS} of {len(pairs)}" if len(pairs) > MOST_PAIRS else ""
    return table(f"Most confused pairs{more}", ["label", "taken for", many, f"of this label's {many}"], rows, texts=2)
