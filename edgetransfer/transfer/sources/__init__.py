"""The seam to the formats of source models: one file each. Files that begin with an underscore are parts.

The format is told by the content, not by the file's ending. Nothing in a file is run: no Keras layer is built, no
pickle calls anything, no graph is executed.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from edgetransfer import registry
from edgetransfer.errors import WeightsError
from edgetransfer.transfer.source import SourceModel

START_BYTES = 512
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Looks:
    """What is seen of a file before it is read.

    Attributes:
        path: The file or folder.
        size_bytes: Size of the file, 0 of a folder.
        start: Its first bytes, at most `START_BYTES`; empty of a folder.
        members: Names in it, of a zip archive or a folder; empty else.
    """

    path: Path
    size_bytes: int
    start: bytes
    members: frozenset[str]


class SourceFormat(Protocol):
    """What a format's file offers."""

    SUMMARY: str
    """What it reads, in a few words, for who gave something else."""

    def recognises(self, looks: Looks) -> bool:
        """Whether the file is of this format, as far as its beginning tells; loads no vendor's package."""

    def read(self, path: Path) -> SourceModel:
        """Return what is in the file.

        Raises:
            WeightsError: it is damaged, or would run code or reach outside of itself.
        """


def formats() -> tuple[str, ...]:
    """Return the names of all formats; imports none."""
    return registry.names(__name__)


def get_format(name: str) -> SourceFormat:
    """Return the reader of the format `name`.

    Raises:
        UnknownNameError: no such format.
    """
    return cast(SourceFormat, registry.load(__name__, name, kind="source format"))


def open_source(path: Path) -> SourceModel:
    """Return the source model at `path`, a file or a SavedModel's folder of any format that is known.

    Raises:
        WeightsError: there is no such file, it is of no known format, or it is damaged or hostile.
    """
    looks = _look(path)
    readers = [get_format(name) for name in formats()]
    for reader in readers:
        if reader.recognises(looks):
            return reader.read(path)
    kind = "folder" if path.is_dir() else "file"
    raise WeightsError(
        f"source {path}: a {kind} of a format that is not known, {_seen(looks)}; readable are: "
        f"{'; '.join(reader.SUMMARY for reader in readers)}"
    )


def _look(path: Path) -> Looks:
    try:
        if path.is_dir():
            return Looks(path, 0, b"", frozenset(entry.name for entry in path.iterdir()))
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        size_bytes = path.stat().st_size
    except OSError as trouble:
        raise WeightsError(f"source {path}: cannot be read ({trouble.strerror})") from trouble
    if not start:
        raise WeightsError(f"source {path}: the file is empty")
    if start.startswith(_LFS):
        raise WeightsError(f"source {path}: is a Git LFS pointer, not the model; run 'git lfs pull' in its repository")
    return Looks(path, size_bytes, start, _members(path) if start[:4] == b"PK\x03\x04" else frozenset())


def _members(path: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as trouble:
        raise WeightsError(
            f"source {path}: expected a whole zip archive, as .keras and .pth files are: {trouble}"
        ) from trouble


def _seen(looks: Looks) -> str:
    if looks.members:
        some = sorted(looks.members)[:5]
        return f"with {', '.join(map(repr, some))}{' ...' if len(looks.members) > len(some) else ''} in it"
    return f"which begins with {looks.start[:8]!r}" if looks.start else "with nothing in it"
