"""The part of a page about whether scores can be believed: reliability diagrams, before and after the temperature."""

from __future__ import annotations

from collections.abc import Sequence

from edgetransfer.pipeline.page.charts import reliability_chart
from edgetransfer.pipeline.page.facts import percent
from edgetransfer.pipeline.page.html import Content, Html, element, folded, paragraph, table
from edgetransfer.pipeline.page.measured import Calibration, Evaluation

READING = (
    "On the dashed line answers are right as often as they claim to be; below it they claim too much. Dots are at "
    "a bin's mean confidence, lines are 95 % intervals; the lower part says how many answers each bin has."
)


def calibration_parts(evaluation: Evaluation, name: str) -> list[Html]:
    """Return the diagrams of the shipped temperature and of temperature 1; `name` tells drawings of a page apart."""
    shipped, before = evaluation.calibration, evaluation.uncalibrated
    if before is None:
        said = f"{_honesty(shipped)} Expected calibration error {shipped.error:.3f}: so far they are apart, bin by bin."
        return [paragraph(said), _figure(shipped, name, READING), _values([shipped])]
    change = "closer to" if shipped.error < before.error else "no closer to"
    said = (
        f"{_honesty(shipped)} The temperature {shipped.temperature:.2f}, fitted on the validation split, brings scores "
        f"{change} the truth on these data: the expected calibration error, how far confidence and accuracy are apart "
        f"bin by bin, is {before.error:.3f} before (temperature 1) and {shipped.error:.3f} after. It changes no answer."
    )
    pair = element(
        "div",
        _figure(before, f"{name}-before", f"Before: temperature 1, calibration error {before.error:.3f}."),
        _figure(
            shipped,
            name,
            f"After: temperature {shipped.temperature:.2f}, calibration error {shipped.error:.3f}, as shipped.",
        ),
        class_="pair",
    )
    return [paragraph(said), pair, element("p", element("small", READING)), _values([before, shipped])]


def _figure(calibration: Calibration, name: str, caption: str) -> Html:
    samples = sum(one.samples for one in calibration.bins)
    title = (
        f"Reliability diagram of {samples} answers at temperature {calibration.temperature:.2f}, calibration error "
        f"{calibration.error:.3f}; its values are in a table"
    )
    return element("figure", reliability_chart(calibration.bins, title, name), element("figcaption", caption))


def _values(calibrations: Sequence[Calibration]) -> Html:
    rows: list[Sequence[Content]] = [
        [f"{one.low:.2f} to {one.high:.2f}", f"{calibration.temperature:.2f}", str(one.samples),
         f"{one.confidence:.3f}", f"{one.accuracy:.3f}", f"{one.accuracy_95[0]:.3f} to {one.accuracy_95[1]:.3f}"]
        for calibration in calibrations
        for one in calibration.bins
    ]  # fmt: skip
    head = ["confidence", "temperature", "answers", "mean confidence", "right", "95 % interval"]
    what = "diagram" if len(calibrations) == 1 else "diagrams"
    return folded(f"The values of the {what}", table("Confidence and accuracy by bin", head, rows))


def _honesty(calibration: Calibration) -> str:
    sure, right = calibration.confidence, calibration.accuracy
    verdict = "surer than it should be" if sure > right else "less sure than it could be"
    return f"On the whole it is {verdict}: mean confidence {percent(sure)}, accuracy {percent(right)}."
