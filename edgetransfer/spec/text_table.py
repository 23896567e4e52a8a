"""Rows of words as lines of text whose columns stand below each other."""

from __future__ import annotations


def aligned(rows: list[list[str]], *, left: int = 1) -> list[str]:
    """Return `rows` as lines, columns aligned; the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
