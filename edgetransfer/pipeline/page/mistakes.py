"""The part of a page about the worst mistakes: photos as thumbnails, sounds and sentences in words."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from edgetransfer.pipeline.page.facts import percent
from edgetransfer.pipeline.page.html import Content, Html, element, paragraph, table
from edgetransfer.pipeline.page.measured import Evaluation, Mistake
from edgetransfer.pipeline.page.words import words_of
from edgetransfer.runtime.files import shown_pixels
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.preprocess import ImageInput

THUMB_PX = 192
THUMB_QUALITY = 82
TURNED_AWAY = "turned away on the device"


def mistake_parts(evaluation: Evaluation) -> list[Html]:
    """Return the worst mistakes.

    Raises:
        InputError: a photo that should be shown cannot be read any more.
    """
    report, shown = evaluation.report, evaluation.mistakes
    kind = evaluation.data.kind
    many = words_of(kind).many
    wrong = report.samples - sum(row[i] for i, row in enumerate(report.confusion))
    if not shown:
        what = "pictures" if kind == "image" else many
        said = f"{wrong} of {report.samples} answers are wrong; no {what} were asked for."
        return [paragraph(said if wrong else "None: every answer was right.")]
    said = (
        f"{wrong} of {report.samples} answers are wrong. These {len(shown)} were the surest of them: first the data's "
        "label, then the answer, each with its score."
    )
    if kind == "image":
        return [paragraph(f"{said} The photos are inside this page."), element("div", _tiles(shown), class_="tiles")]
    if kind == "text":
        return [paragraph(f"{said} The sentences are inside this page."), _rows(shown, "sentence")]
    return [paragraph(said), _rows(shown, "sound")]


def _tiles(shown: Sequence[Mistake]) -> list[Html]:
    return [
        element(
            "figure",
            thumbnail(one),
            element(
                "figcaption",
                element("span", element("b", one.label), f" {percent(one.label_score)}"),
                element("span", "taken for ", element("b", one.answer), f" {percent(one.answer_score)}"),
                element("span", TURNED_AWAY) if one.rejected else None,
                element("small", one.name),
            ),
        )
        for one in shown
    ]


def _rows(shown: Sequence[Mistake], noun: str) -> Html:
    """Return a row for each sentence or sound."""
    clips = noun == "sound"
    away = any(one.rejected for one in shown)
    head = [
        noun,
        "label",
        "taken for",
        *(["on the device"] if away else []),
        *(["length"] if clips else []),
        "label's score",
        "answer's score",
    ]
    rows: list[Sequence[Content]] = [
        [
            one.name if clips else one.text,
            one.label,
            one.answer,
            *([TURNED_AWAY.partition(" on")[0] if one.rejected else "answered"] if away else []),
            *([_length(one.seconds)] if clips else []),
            percent(one.label_score),
            percent(one.answer_score),
        ]
        for one in shown
    ]
    return table("The surest wrong answers", head, rows, texts=4 if away else 3)


def _length(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f} s"


def thumbnail(mistake: Mistake) -> Html:
    """Return the photo as the model sees it, at most `THUMB_PX` wide and high, as an image inside the page.

    EXIF data are left behind.

    Raises:
        InputError: the photo cannot be read any more.
    """
    from PIL import Image

    pixels = shown_pixels(mistake.file, mistake.channels)
    scale = min(1.0, THUMB_PX / max(pixels.shape[:2]))
    height, width = (max(1, round(size * scale)) for size in pixels.shape[:2])
    content = io.BytesIO()
    small = prepare(pixels, ImageInput(height, width, "squash"))
    Image.fromarray(small).save(content, "JPEG", quality=THUMB_QUALITY)
    data = base64.b64encode(content.getvalue()).decode()
    said = f"{mistake.name}: {mistake.label}, taken for {mistake.answer}"
    return element("img", src=f"data:image/jpeg;base64,{data}", alt=said, width=width, height=height)
