"""Draws the worst samples of a parity comparison as one picture: thumbnails, and what each artifact said of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetransfer.pipeline.parity_report import Examined, answer_texts
from edgetransfer.runtime.files import shown_pixels
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.preprocess import ImageInput

COLUMNS = 4
THUMB_PX = 224
GAP_PX = 12
TEXT_PX = 14
LINE_PX = 18
BACKGROUND, INK, RIGHT, WRONG = "#ffffff", "#202020", "#1a7431", "#b3261e"
_NO_GLYPH = "\uffff"  # a code point that no font has: the font's empty box


def draw_grid(samples: Sequence[Examined]) -> bytes:
    """Return a PNG with one tile a sample: the photo, its name and label, and each artifact's answer and score.

    Answers that are the data's are green, others red. What the built-in font cannot show stands as an escape.

    Raises:
        InputError: a photo cannot be read any more, or Pillow is not installed.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT_PX)
    lines = 2 + max(len(sample.answers) for sample in samples)
    columns = min(COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    width, height = THUMB_PX + GAP_PX, THUMB_PX + lines * LINE_PX + GAP_PX
    sheet = Image.new("RGB", (columns * width + GAP_PX, rows * height + GAP_PX), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for number, sample in enumerate(samples):
        left, top = GAP_PX + number % columns * width, GAP_PX + number // columns * height
        sheet.paste(Image.fromarray(_thumbnail(sample)), (left, top))
        for row, (text, colour) in enumerate(_caption(sample)):
            pen.text((left, top + THUMB_PX + row * LINE_PX), _fitting(text, font), fill=colour, font=font)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _thumbnail(sample: Examined) -> Any:
    return prepare(shown_pixels(sample.path, sample.channels), ImageInput(THUMB_PX, THUMB_PX, "pad", pad_value=235))


def _caption(sample: Examined) -> list[tuple[str, str]]:
    colours = [RIGHT if answer.label == sample.label else WRONG for answer in sample.answers.values()]
    said = zip(answer_texts(sample), colours, strict=True)
    return [(Path(sample.path).name, INK), (f"is {sample.label}", INK), *said]


def _fitting(text: str, font: Any) -> str:
    """Return `text` so that the font shows every character and a thumbnail's width holds it; cut in its middle."""
    shown = "".join(c if _can_show(c, font) else c.encode("ascii", "backslashreplace").decode() for c in text)
    if font.getlength(shown) <= THUMB_PX:
        return shown
    kept = min(len(shown) - 1, THUMB_PX)  # no character is narrower than a pixel
    while kept > 2 and font.getlength(_cut(shown, kept)) > THUMB_PX:
        kept -= 1
    return _cut(shown, kept)


def _cut(text: str, kept: int) -> str:
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def _can_show(character: str, font: Any) -> bool:
    if character.isascii():
        return character.isprintable()
    return bytes(font.getmask(character)) != bytes(font.getmask(_NO_GLYPH))
