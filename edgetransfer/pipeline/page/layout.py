"""Puts the parts of a page in their order."""

from __future__ import annotations

from importlib.resources import files

import edgetransfer
from edgetransfer.pipeline.page.calibration import calibration_parts
from edgetransfer.pipeline.page.card import card
from edgetransfer.pipeline.page.data import data
from edgetransfer.pipeline.page.facts import about, heading, usage
from edgetransfer.pipeline.page.figures import Figures
from edgetransfer.pipeline.page.heads import head_id, head_section
from edgetransfer.pipeline.page.html import Html, element, section
from edgetransfer.pipeline.page.metrics import confusion_parts, metrics
from edgetransfer.pipeline.page.mistakes import mistake_parts
from edgetransfer.pipeline.page.speed import speed

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""Nothing may come from elsewhere and nothing may run, whatever a label or a file is called."""

Part = tuple[str, str, Html]
"""A section: its id, what links to it say, its content."""


def render(figures: Figures) -> bytes:
    """Return the page: HTML in UTF-8 that needs nothing else.

    Raises:
        InputError: a photo that should be shown cannot be read any more.
    """
    shown = [
        ("about", "What it is", about(figures)),
        ("data", "Data", data(figures)),
        *(_of_heads(figures) if figures.bundle.manifest.is_split else _of_graph(figures)),
        ("speed", "Size and speed", speed(figures)),
        ("usage", "How to run it", usage(figures)),
        ("card", "Model card", card(figures)),
    ]
    links = [element("li", element("a", title, href=f"#{name}")) for name, title, _ in shown]
    manifest = figures.bundle.manifest
    body = element(
        "body",
        heading(figures),
        element("nav", element("ul", links), aria_label="Parts of this page"),
        element("main", [content for _, _, content in shown]),
        element("footer", f"edgetransfer {edgetransfer.__version__}, bundle {figures.bundle.sha256[:12]}."),
    )
    page = element("html", _head(f"{manifest.name}: edgetransfer report"), body, lang="en")
    # File names may hold what is no text; a page must not fail for that.
    return f"<!DOCTYPE html>\n{page}\n".encode("utf-8", "backslashreplace")


def _of_graph(figures: Figures) -> list[Part]:
    """Return the parts about a head that is inside the graph; without data there are metrics of the build only."""
    evaluation = figures.evaluation
    found = [("metrics", "Metrics", metrics(figures))]
    if evaluation is None:
        return found
    more = (
        ("confusion", "Confusion", "Confusion", confusion_parts(evaluation, "confusion")),
        ("reliability", "Calibration", "Calibration of confidence", calibration_parts(evaluation, "reliability")),
        ("mistakes", "Mistakes", "Worst mistakes", mistake_parts(evaluation)),
    )
    return [*found, *((name, word, section(name, title, parts)) for name, word, title, parts in more)]


def _of_heads(figures: Figures) -> list[Part]:
    return [(head_id(one.head.name), f"Head {one.head.name}", head_section(figures, one)) for one in figures.heads]


def _head(title: str) -> Html:
    css = files("edgetransfer.pipeline.page").joinpath("page.css").read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content_="light dark"),
        element("title", title),
        element("style", Html(css)),
    )
