"""Writes a file whole or not at all, and refuses its place before any work is done."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgetransfer.errors import OutputError


def refuse_place(path: Path, *, force: bool, what: str = "output") -> None:
    """Refuse a place that a file cannot be written to.

    Args:
        path: Of the file.
        force: Allow it where a file is there already.
        what: What messages call it.

    Raises:
        OutputError: a folder or, without `force`, a file is there, or its own folder is not.
    """
    named = f"{what} {str(path)!r}"
    if path.is_dir():
        raise OutputError(f"{named}: is a folder; choose another name")
    if path.exists() and not force:
        raise OutputError(f"{named}: exists already; choose another name or add --force to replace it")
    if not path.parent.is_dir():
        raise OutputError(f"{named}: no such folder: {path.parent}")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a file beside `path` and move it into place; on any failure nothing is left behind.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
