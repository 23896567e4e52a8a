"""The part of a page about what more data would bring."""

from __future__ import annotations

from edgetransfer.pipeline.page.charts import learning_chart
from edgetransfer.pipeline.page.html import Html, element, folded, paragraph, table
from edgetransfer.spec.learning_curve import LearningCurve


def curve_parts(curve: LearningCurve, name: str, many: str) -> list[Html]:
    """Return the curve as a sentence, a chart and a table.

    `name` tells the drawing from others of the page, `many` is what samples are called.
    """
    last = curve.points[-1]
    title = f"Learning curve from {curve.points[0].examples} to {last.examples} examples; its values are in a table"
    caption = (
        f"Accuracy on {many} that were left out in turn, of heads that learned from so many others. Lines are 95 % "
        "intervals of the mean over the parts; the dashed line is the power law through the dots, up to twice the data."
    )
    rows = [
        [str(point.examples), f"{point.accuracy:.1%}", f"{point.low:.1%} to {point.high:.1%}"] for point in curve.points
    ]
    advice = curve.advice
    return [
        paragraph(f"{advice[0].upper()}{advice[1:]}."),
        element("figure", learning_chart(curve, title, name), element("figcaption", caption)),
        folded(
            "The values of the curve",
            table("Accuracy by number of examples", ["examples", "accuracy", "95 % interval"], rows),
        ),
    ]
