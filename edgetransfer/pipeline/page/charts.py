"""The page's charts, as SVG that takes its colours from the page.

matplotlib draws with three colours that stand for the page's own; they are replaced by CSS names, so that one drawing
is right on light and on dark ground. Text stays text, in the reader's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from edgetransfer.pipeline.page.figures import LatencyRow
from edgetransfer.pipeline.page.html import Html, element, replaced
from edgetransfer.pipeline.page.measured import ConfidenceBin, Histogram
from edgetransfer.spec.learning_curve import LearningCurve

INK, ACCENT, MUTED = "#010203", "#040506", "#070809"  # no colours, but names: what no chart would use
CSS_COLOURS = {INK: "currentColor", ACCENT: "var(--accent)", MUTED: "var(--muted)"}
WIDTH_IN = 4.6  # 331 units of the drawing, so that text keeps its size on a phone of 360 px
ROW_IN = 0.5
LOGARITHMIC_FROM = 20.0  # from this ratio of slowest to fastest on, the fast ones would be slivers
LONGEST_NAME = 52


def reliability_chart(bins: Sequence[ConfidenceBin], title: str, name: str = "reliability") -> Html:
    """Return how often answers were right against how sure they were, and below it how many there were.

    `name` must be another for each drawing of a page; so in all functions here.
    """
    with _style():
        figure = Figure(figsize=(WIDTH_IN, 4.3))
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        middle, width = np.array([(one.low + one.high) / 2 for one in bins]), 0.9 * (bins[0].high - bins[0].low)
        right = np.array([one.accuracy for one in bins])
        spread = np.abs(np.array([one.accuracy_95 for one in bins]) - right[:, None]).T
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        above.bar(middle, right, width, color=ACCENT, alpha=0.35)
        sure = [one.confidence for one in bins]
        above.errorbar(sure, right, spread, fmt="o", markersize=4, color=INK, markerfacecolor=ACCENT, elinewidth=1)
        above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="right, share of answers")
        below.bar(middle, [one.samples for one in bins], width, color=ACCENT, alpha=0.35)
        below.set(xlabel="confidence, score of the answer", ylabel="answers")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        return _svg(figure, name, title)


def latency_chart(rows: Sequence[LatencyRow], title: str) -> Html:
    """Return a dot with its range for each row: filled where it was measured, hollow where it is predicted."""
    with _style():
        figure = Figure(figsize=(WIDTH_IN, ROW_IN * len(rows) + 0.55))
        axes = figure.subplots()
        for number, row in enumerate(reversed(rows)):
            ends = (row.ms if row.low_ms is None else row.low_ms, row.ms if row.high_ms is None else row.high_ms)
            axes.plot(ends, (number, number), color=ACCENT, linewidth=2.5, alpha=0.6, marker="|", markersize=9)
            face = ACCENT if row.measured else "none"
            axes.plot([row.ms], [number], "o", markersize=6, color=ACCENT, markerfacecolor=face, markeredgewidth=1.5)
            name = f"{row.device}, {row.how}"
            shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
            axes.text(
                0.012, number + 0.42, shown, transform=axes.get_yaxis_transform(), fontsize=9.5, va="center", color=INK
            )
        _scale(axes, [row.ms for row in rows])
        axes.set(ylim=(-0.5, len(rows) - 0.25), yticks=(), xlabel="milliseconds an input")
        return _svg(figure, "latency", title)


def confusion_chart(confusion: Sequence[Sequence[int]], title: str, name: str = "confusion") -> Html:
    """Return a map of a large confusion matrix: a cell is as strong as its share of its row."""
    with _style():
        counts = np.array(confusion, np.float64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        figure = Figure(figsize=(WIDTH_IN, WIDTH_IN))
        axes = figure.subplots()
        rows, columns = np.nonzero(counts)
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) - 0.5
        squares = np.stack([columns, rows], axis=1)[:, None, :] + corners
        colours = [matplotlib.colors.to_rgba(ACCENT, 0.15 + 0.85 * round(share, 2)) for share in shares[rows, columns]]
        axes.add_collection(PolyCollection(list(squares), facecolors=colours, linewidths=0))
        edge = len(counts) - 0.5
        axes.set(xlim=(-0.5, edge), ylim=(edge, -0.5), xlabel="answer, number of the label", ylabel="true label")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_aspect("equal")
        return _svg(figure, name, title)


def rejection_chart(histogram: Histogram, threshold: float, title: str, name: str) -> Html:
    """Return how strange the data are, as bars, and the strangers, as a line over them; and the threshold."""
    edges = np.array(histogram.edges)
    known, strange = (np.array(counts, np.float64) for counts in (histogram.known, histogram.strangers))
    with _style():
        figure = Figure(figsize=(WIDTH_IN, 2.7))
        axes = figure.subplots()
        bars = axes.bar(edges[:-1], 100 * known / known.sum(), np.diff(edges), align="edge", color=ACCENT, alpha=0.35)
        bars.set_label("these data")
        if strange.sum():
            axes.stairs(100 * strange / strange.sum(), edges, color=INK, linewidth=1.5, label="strangers")
        axes.axvline(threshold, color=ACCENT, linewidth=1.8, linestyle=(0, (3, 2)), label="threshold", zorder=3)
        axes.set(xlim=(edges[0], edges[-1]), xlabel="outlier score, higher is stranger", ylabel="share, %")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9, borderaxespad=0.2)
        return _svg(figure, name, title)


def learning_chart(curve: LearningCurve, title: str, name: str) -> Html:
    """Return accuracy at growing numbers of examples, and the power law through it up to twice as many."""
    examples = np.array([point.examples for point in curve.points])
    right = 100 * np.array([point.accuracy for point in curve.points])
    spread = np.abs(100 * np.array([(point.low, point.high) for point in curve.points]) - right[:, None]).T
    law = np.geomspace(examples[0], 2 * examples[-1], 60).round(1)
    expected = [100 * (1 - curve.floor - curve.factor * float(n) ** -curve.exponent) for n in law]
    with _style():
        figure = Figure(figsize=(WIDTH_IN, 2.7))
        axes = figure.subplots()
        axes.plot(law, expected, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.errorbar(examples, right, spread, fmt="o", markersize=5, color=INK, markerfacecolor=ACCENT, elinewidth=1)
        axes.plot([2 * examples[-1]], expected[-1:], "o", markersize=6, color=ACCENT, markerfacecolor="none")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator([*examples[::2], 2 * int(examples[-1])]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.set(xlabel="training examples", ylabel="accuracy, %")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return _svg(figure, name, title)


@contextmanager
def _style() -> Iterator[None]:
    """Draw alike on every machine, whatever the user's matplotlib is set to; no fonts are measured in vain."""
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.solid_capstyle": "butt",
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    }
    with matplotlib.style.context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's fonts have what matplotlib's lack
        yield


def _svg(figure: Figure, name: str, title: str) -> Html:
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(content, format="svg", transparent=True, metadata=nothing)
    drawing = re.search(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>(.*)</svg>', content.getvalue(), re.S)
    if drawing is None:
        raise RuntimeError("matplotlib wrote an SVG that has no viewBox")
    inside = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", drawing[2], flags=re.S)
    inside = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", inside).replace("xlink:href=", "href=")
    inside = replaced(inside, CSS_COLOURS)
    return element("svg", Html(inside), viewBox=drawing[1], role="img", aria_label=title, class_="chart")


def _scale(axes: Any, times_ms: Sequence[float]) -> None:
    if max(times_ms) > LOGARITHMIC_FROM * min(times_ms):
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
