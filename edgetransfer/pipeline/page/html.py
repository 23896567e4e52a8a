"""HTML that escapes by itself: what is not markup already is text, whatever a label or a file is called."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

VOID = ("br", "img", "link", "meta")  # elements without an end tag, of those that the page uses
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no HTML document may hold these


class Html(str):
    """Markup; all other text is escaped where it is put into an element."""

    __slots__ = ()


Content = str | Iterable[str] | None
"""What an element may hold: text, markup, several of both, or nothing."""


def element(name: str, *content: Content, **attributes: str | int | None) -> Html:
    """Return the element `name`; text in it and in its attributes is escaped, `Html` is taken as it is.

    Attributes are written with underscores: `class_`, `aria_label`, `data_label`. One that is None is left out.
    """
    words = [
        f' {key.rstrip("_").replace("_", "-")}="{_shown(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{name}{''.join(words)}>"
    return Html(start if name in VOID else f"{start}{join(*content)}</{name}>")


def join(*content: Content) -> Html:
    """Return pieces of text and markup one after the other; text is escaped."""
    pieces: list[str] = []
    for piece in content:
        if isinstance(piece, Html):
            pieces.append(piece)
        elif isinstance(piece, str):
            pieces.append(_shown(piece))
        elif piece is not None:
            pieces.append(join(*piece))
    return Html("".join(pieces))


def link(address: str, text: str) -> Html:
    """Return a link, which is followed only where a reader clicks; the text alone where it is no web address."""
    if not re.match(r"https?://", address):
        return join(text)
    return element("a", text, href=address, rel="noreferrer noopener")


def paragraph(*content: Content) -> Html:
    """Return a paragraph."""
    return element("p", *content)


def bullets(items: Iterable[Content]) -> Html:
    """Return a list of points."""
    return element("ul", [element("li", item) for item in items])


def facts(pairs: Sequence[tuple[str, Content]]) -> Html:
    """Return names and what they stand for, as a description list."""
    return element("dl", [element("div", element("dt", name), element("dd", value)) for name, value in pairs])


def code(text: str, language: str) -> Html:
    """Return lines to be typed or copied."""
    return element("pre", element("code", text, class_=f"language-{language}"), tabindex=0)


def callout(title: str, *content: Content) -> Html:
    """Return a box with something that the reader should not miss."""
    return element("aside", element("strong", title), " ", *content, class_="callout")


def section(name: str, title: str, *content: Content) -> Html:
    """Return a part of the page; `name` is where links lead to."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Content]], *, texts: int = 1) -> Html:
    """Return a table in a box that scrolls sideways by itself.

    The first column names its row; the first `texts` columns are text, the others are numbers, to the right.
    """
    top = element(
        "tr", [element("th", name, scope="col", class_=_column(number, texts)) for number, name in enumerate(head)]
    )
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            [element("td", cell, class_=_column(number, texts)) for number, cell in enumerate(row[1:], 1)],
        )
        for row in rows
    ]
    return boxed(
        caption,
        element("table", element("caption", element("span", caption)), element("thead", top), element("tbody", body)),
    )


def boxed(name: str, *content: Content) -> Html:
    """Return `content` in a box that scrolls sideways, also by the keyboard."""
    return element("div", *content, class_="scroll", role="region", aria_label=name, tabindex=0)


def folded(summary: str, *content: Content) -> Html:
    """Return content that opens when it is asked for."""
    return element("details", element("summary", summary), *content)


def replaced(text: str, by: Mapping[str, str]) -> str:
    """Return `text` with each key of `by` replaced by its value."""
    for old, new in by.items():
        text = text.replace(old, new)
    return text


def _column(number: int, texts: int) -> str | None:
    return None if number < texts else "number"


def _shown(text: str) -> str:
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)
