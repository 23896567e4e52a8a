"""The lines that the README gives for a client; what is checked is what is read."""

from __future__ import annotations

import re
from pathlib import Path

from client_checks.failures import CheckFailed

README = Path(__file__).resolve().parents[2] / "README.md"


def lines_for(marker: str, language: str, document: str) -> str:
    """Return the block of `language` that follows the comment `marker` in the text `document`.

    Raises:
        CheckFailed: there is no such block.
    """
    pattern = rf"^<!-- {re.escape(marker)} -->\n```{language}\n(.*?)^```$"
    found = re.search(pattern, document, re.M | re.S)
    if found is None:
        raise CheckFailed(f"README.md: expected a block of {language} after the line <!-- {marker} -->, found none")
    return found[1]
