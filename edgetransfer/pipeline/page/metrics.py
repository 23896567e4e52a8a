"""The parts of a page about being right: metrics, confusion, calibration, worst mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgetransfer.pipeline.page_evaluation import confused_pairs
from edgetransfer.pipeline.page_facts import percent
from edgetransfer.pipeline.page_figures import ConfidenceBin, Figures
from edgetransfer.pipeline.page_gaps import shown_gaps
from edgetransfer.pipeline.page_html import (
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
from edgetransfer.pipeline.page_pictures import confusion_chart, reliability_chart, thumbnail
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
    """Return how right the shipped model is, and the float model beside it."""
    evaluation = figures.evaluation
    parts: list[Html] = []
    if evaluation is not None:
        other = None if figures.floats is None else figures.floats.report
        parts += [_beside(evaluation.report, other, evaluation.engine), _by_class(evaluation.report)]
    if figures.floats is not None and not figures.floats.same_data:
        parts.append(callout("Another run.", "The float model learned from other data than the bundle did."))
    return section("metrics", "Metrics", parts, _recorded(figures), shown_gaps(figures, "metrics"))


def confusion(figures: Figures) -> Html | None:
    """Return which labels are taken for which; None where no photos were given."""
    if figures.evaluation is None:
        return None
    report = figures.evaluation.report
    labels = len(report.classes)
    if labels <= MOST_COUNTED_LABELS:
        matrix: Content = _matrix(report)
    elif labels <= MOST_MAPPED_LABELS:
        title = f"Map of the confusion matrix of {labels} labels; the pairs below say the same in words"
        caption = "Stronger is more of a row's photos. Labels are numbered from 0 in the order of the metrics by label."
        matrix = element("figure", confusion_chart(report.confusion, title), element("figcaption", caption))
    else:
        matrix = paragraph(f"A matrix of {labels} labels cannot be read; these are the pairs that matter.")
    return section("confusion", "Confusion", matrix, _pairs(report))


def reliability(figures: Figures) -> Html | None:
    """Return whether confidence can be believed; None where no photos were given."""
    if figures.evaluation is None:
        return None
    report, bins = figures.evaluation.report, figures.evaluation.bins
    error = f"{report.expected_calibration_error:.3f}"
    title = f"Reliability diagram of {report.samples} answers, calibration error {error}; its values are in a table"
    caption = (
        "On the dashed line answers are right as often as they claim to be; below it they claim too much. Dots are at "
        "a bin's mean confidence, lines are 95 % intervals; the lower part says how many answers each bin has."
    )
    rows = [
        [f"{one.low:.2f} to {one.high:.2f}", str(one.samples), f"{one.confidence:.3f}", f"{one.accuracy:.3f}",
         f"{one.accuracy_95[0]:.3f} to {one.accuracy_95[1]:.3f}"]
        for one in bins
    ]  # fmt: skip
    head = ["confidence", "answers", "mean confidence", "right", "95 % interval"]
    return section(
        "reliability",
        "Calibration of confidence",
        paragraph(f"{_honesty(report, bins)} Expected calibration error {error}: so far they are apart, bin by bin."),
        element("figure", reliability_chart(bins, title), element("figcaption", caption)),
        folded("The values of the diagram", table("Confidence and accuracy by bin", head, rows)),
    )


def mistakes(figures: Figures) -> Html | None:
    """Return the worst mistakes as pictures; None where no photos were given."""
    evaluation = figures.evaluation
    if evaluation is None:
        return None
    report = evaluation.report
    wrong = report.samples - sum(row[i] for i, row in enumerate(report.confusion))
    if not evaluation.mistakes:
        said = f"{wrong} of {report.samples} answers are wrong; no pictures were asked for."
        said = said if wrong else "None: every answer was right."
        return section("mistakes", "Worst mistakes", paragraph(said))
    tiles = [
        element(
            "figure",
            thumbnail(one),
            element(
                "figcaption",
                element("span", element("b", one.label), f" {percent(one.label_score)}"),
                element("span", "taken for ", element("b", one.answer), f" {percent(one.answer_score)}"),
                element("small", one.name),
            ),
        )
        for one in evaluation.mistakes
    ]
    said = (
        f"{wrong} of {report.samples} answers are wrong. These {len(tiles)} were the surest of them: first the data's "
        "label, then the answer, each with its score. The photos are inside this page."
    )
    return section("mistakes", "Worst mistakes", paragraph(said), element("div", tiles, class_="tiles"))


def _honesty(report: EvalReport, bins: Sequence[ConfidenceBin]) -> str:
    sure = sum(one.confidence * one.samples for one in bins) / report.samples
    verdict = "surer than it should be" if sure > report.accuracy else "less sure than it could be"
    return f"On the whole it is {verdict}: mean confidence {percent(sure)}, accuracy {percent(report.accuracy)}."


def _beside(shipped: EvalReport, floats: EvalReport | None, engine: str) -> Html:
    head = ["measure", "shipped model", *([] if floats is None else ["float model", "shipped minus float"])]
    rows: list[list[Content]] = []
    for name, value, unit in MEASURES:
        reports = [shipped] if floats is None else [shipped, floats]
        cells: list[Content] = [_cell(report, value(report), unit, interval=name == "accuracy") for report in reports]
        if floats is not None:
            cells.append(_difference(value(shipped) - value(floats), unit))
        rows.append([name, *cells])
    caption = f"On the {shipped.samples} photos of the {shipped.split} split; shipped: {engine}"
    return table(caption, head, rows)


def _cell(report: EvalReport, value: float, unit: str, *, interval: bool) -> Html:
    shown = percent(value) if unit == _SHARE else f"{value:.3f}"
    if not interval:
        return join(shown)
    low, high = (percent(end) for end in report.accuracy_95)
    return join(shown, element("small", f" {low} to {high}"))


def _difference(value: float, unit: str) -> str:
    return f"{value * 100:+.1f} points" if unit == _SHARE else f"{value:+.3f}"


def _by_class(report: EvalReport) -> Html:
    rows = [[c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support)] for c in report.classes]
    shown = table("Shipped model, by label", ["label", "precision", "recall", "F1", "photos"], rows)
    return shown if len(rows) <= MANY_CLASSES else folded(f"By label: {len(rows)}", shown)


def _recorded(figures: Figures) -> list[Html]:
    """Return what the bundle itself holds: accuracies of the build, and the float model's answers to golden samples."""
    manifest, agreement = figures.bundle.manifest, figures.agreement
    found = []
    if manifest.metrics:
        rows = [[split, percent(one.accuracy), str(one.samples)] for split, one in sorted(manifest.metrics.items())]
        found.append(table("Recorded in the bundle when it was built", ["split", "accuracy", "photos"], rows))
    if manifest.budget is not None:
        budget = manifest.budget
        points = (budget.val_exported - budget.val_float) * 100
        found.append(
            paragraph(
                f"At the build, on the validation split: shipped model {percent(budget.val_exported)}, float model "
                f"{percent(budget.val_float)}, {points:+.1f} points."
            )
        )
    if agreement is not None:
        found.append(
            paragraph(
                f"On the {agreement.samples} golden samples that the bundle carries, it gave the float model's answer "
                f"{agreement.same_answer} times."
            )
        )
    return found


def _matrix(report: EvalReport) -> Html:
    labels = [scores.label for scores in report.classes]
    caption = "Rows: the data's label. Columns: the answer. Shaded by the share of the row."
    head = element("tr", element("th", "label \\ answer", scope="col"),
                   [element("th", element("span", label), scope="col") for label in labels])  # fmt: skip
    body = [
        element(
            "tr",
            element("th", label, scope="row"),
            [_count(count, sum(row), right=i == j) for j, count in enumerate(row)],
        )
        for i, (label, row) in enumerate(zip(labels, report.confusion, strict=True))
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


def _pairs(report: EvalReport) -> Html:
    pairs = confused_pairs(report)
    if not pairs:
        return paragraph("No label was taken for another.")
    rows: Sequence[Sequence[Content]] = [
        [pair.label, pair.answer, str(pair.count), percent(pair.share)] for pair in pairs[:MOST_PAIRS]
    ]
    more = f", the first {MOST_PAIRS} of {len(pairs)}" if len(pairs) > MOST_PAIRS else ""
    return table(
        f"Most confused pairs{more}", ["label", "taken for", "photos", "of this label's photos"], rows, texts=2
    )
