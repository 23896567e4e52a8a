"""The part of a page about what a head turns away, of its own data and of strangers."""

from __future__ import annotations

from edgetransfer.pipeline.page.charts import rejection_chart
from edgetransfer.pipeline.page.facts import percent
from edgetransfer.pipeline.page.html import Content, Html, element, facts, folded, table
from edgetransfer.pipeline.page.measured import Histogram, Rejection, Strangers


def rejection_parts(rejection: Rejection, name: str, many: str) -> list[Html]:
    """Return what is turned away; `name` tells the drawing from others, `many` is what samples are called."""
    low, high = (percent(end) for end in rejection.rejected_95)
    answered = rejection.samples - rejection.rejected
    pairs: list[tuple[str, Content]] = [
        ("Threshold", f"outlier scores above {rejection.threshold:.4g} are turned away"),
        (
            "Chosen price",
            f"at most {percent(rejection.false_reject_rate)} of {many} like the training data, in the mean",
        ),
        (
            "Of these data",
            f"{rejection.rejected} of {rejection.samples} {many} were turned away: "
            f"{percent(rejection.rejected / rejection.samples)} (95 % interval {low} to {high})",
        ),
        ("Of the others", _answered(rejection.answered_right, answered)),
    ]
    if rejection.strangers is not None:
        pairs += _strangers(rejection.strangers, many)
    drawn = f"{rejection.samples} {many}"
    if rejection.strangers is not None:
        drawn += f" and {rejection.strangers.samples} strangers"
    title = f"Histogram of the outlier scores of {drawn}, and the threshold; its values are in a table"
    caption = "Bars and line each add up to 100 %. What is right of the threshold is turned away."
    chart = rejection_chart(rejection.histogram, rejection.threshold, title, name)
    values = _values(rejection.histogram, with_strangers=rejection.strangers is not None)
    return [facts(pairs), element("figure", chart, element("figcaption", caption)), values]


def _answered(right: int, answered: int) -> str:
    if not answered:
        return "none was answered"
    return f"{right} of {answered} answers are right: {percent(right / answered)}"


def _strangers(found: Strangers, many: str) -> list[tuple[str, Content]]:
    low, high = (percent(end) for end in found.rejected_95)
    unread = f"; {found.unreadable} more could not be read" if found.unreadable else ""
    parted = found.separation
    verdict = (
        "the first is better" if parted.low > 0 else "the first is worse" if parted.high < 0 else "no clear winner"
    )
    return [
        (
            "Of strangers",
            f"{found.rejected} of {found.samples} {many} from {found.source!r} were turned away: "
            f"{percent(found.rejected / found.samples)} (95 % interval {low} to {high}){unread}",
        ),
        (
            "Told apart",
            f"AUROC {parted.first:.3f} by the outlier score, {parted.second:.3f} by the largest softmax score: "
            f"{verdict}, difference {parted.difference:+.3f} (95 % interval {parted.low:+.3f} to "
            f"{parted.high:+.3f})",
        ),
    ]


def _values(histogram: Histogram, *, with_strangers: bool) -> Html:
    ends = list(zip(histogram.edges[:-1], histogram.edges[1:], strict=True))
    rows = [
        [f"{low:.4g} to {high:.4g}", str(known), *([str(strange)] if with_strangers else [])]
        for (low, high), known, strange in zip(ends, histogram.known, histogram.strangers, strict=True)
    ]
    head = ["outlier score", "these data", *(["strangers"] if with_strangers else [])]
    return folded("The values of the histogram", table("Inputs by outlier score", head, rows))
