"""The picture of `recommend`: accuracy against time, or multiply-adds, with the Pareto front."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from edgetransfer.pipeline.recommend_choice import effort, timed
from edgetransfer.pipeline.recommend_judge import Judged
from edgetransfer.pipeline.recommend_report import Recommendation

WIDTH_IN, HEIGHT_IN = 7.0, 4.6
LINE_IN = 0.19  # of the list below the chart
LOGARITHMIC_FROM = 6.0  # from this ratio of slowest to fastest on
INK, MUTED, ACCENT, BEST = "#202020", "#8a8a8a", "#1f5fa8", "#b3261e"
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recommend",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.labelcolor": INK,
}


def draw_front(found: Recommendation, kind: str) -> bytes:
    """Return the picture as "svg" or "png", the same bytes for the same figures.

    A dot is a candidate with its number in the table, its standard error, and the range of its time; filled dots are
    the front, the line joins the most accurate for each time.
    """
    listed = [one for one in found.judged if one in found.front]
    with matplotlib.style.context(["default", _SETTINGS]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a viewer's fonts have what matplotlib's lack
        below_in = LINE_IN * (len(listed) + 1)
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN + below_in))
        above, below = figure.subplots(2, 1, height_ratios=(HEIGHT_IN, below_in))
        _chart(above, found)
        below.axis("off")
        below.text(0, 1, "\n".join(_line(found, one) for one in listed), va="top", fontsize=9, linespacing=1.4)
        content = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type")) if kind == "svg" else {"Software": None}
        figure.savefig(content, format=kind, dpi=150, metadata=nothing)
    return content.getvalue()


def _line(found: Recommendation, one: Judged) -> str:
    best = ", best" if one is found.best else ""
    return f"{found.judged.index(one) + 1}  {one.name}: {one.accuracy:.1%}, {one.cost.model_bytes / 1e6:.2f} MB{best}"


def _chart(axes: Any, found: Recommendation) -> None:
    known, front = timed(found.judged), found.front
    efforts = [effort(one, by_time=known) / (1 if known else 1e6) for one in found.judged]
    for number, (one, x) in enumerate(zip(found.judged, efforts, strict=True)):
        y, colour = 100 * one.accuracy, BEST if one is found.best else ACCENT if one in front else MUTED
        error = 100 * one.standard_error
        axes.plot([x, x], [y - error, y + error], color=colour, linewidth=1, alpha=0.6)
        if known and one.cost.time is not None:
            axes.plot([one.cost.time.low_ms, one.cost.time.high_ms], [y, y], color=colour, linewidth=1, alpha=0.6)
        face = colour if one in front else "white"
        axes.plot([x], [y], "o", markersize=7, color=colour, markerfacecolor=face, zorder=3)
        axes.annotate(str(number + 1), (x, y), (5, 5), textcoords="offset points", fontsize=9, color=colour)
    if found.judged:
        pairs = sorted(zip(efforts, [100 * one.accuracy for one in found.judged], strict=True))
        axes.step([x for x, _ in pairs], np.maximum.accumulate([y for _, y in pairs]), where="post", color=ACCENT,
                  linewidth=1, alpha=0.5)  # fmt: skip
        if max(efforts) > LOGARITHMIC_FROM * min(efforts):
            axes.set_xscale("log")
        else:
            axes.set_xlim(left=0)
    if known and found.limits.max_latency_ms is not None:
        axes.axvline(found.limits.max_latency_ms, color=BEST, linewidth=1, linestyle=(0, (4, 3)))
    basis = next((one.cost.time for one in found.judged if one.cost.time is not None), None)
    how = "measured here" if basis is not None and basis.measured else f"predicted for {_device(found)}"
    axes.set(
        xlabel=f"milliseconds an image, {how}" if known else "millions of multiply-adds an image",
        ylabel="accuracy on held-out photos, %",
        title=f"{found.data.name}: {len(found.judged)} candidates on {found.photos} photos",
    )


def _device(found: Recommendation) -> str:
    return Path(found.device or "this machine").name.removesuffix(".toml")
