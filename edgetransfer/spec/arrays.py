"""Arrays in a file, read without trust: a zip of .npy members as numpy writes it, held against a limit first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError

if TYPE_CHECKING:
    import zipfile


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of an .npz file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy 2's stub takes them for allow_pickle
    return buffer.getvalue()


def unpack(content: bytes, what: str, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Return the arrays in `content` by name.

    Args:
        content: What `pack` returned, or anything else.
        what: What it is, for messages.
        most_bytes: Files that declare more in all are refused before anything is allocated.

    Raises:
        BundleError: not such a file, pickled objects, or headers that declare too much.
    """
    import zipfile  # here, for a device verifies once and predicts ever after
    import zlib

    broken = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_all(archive, what, most_bytes)
    except broken as error:
        raise BundleError(f"{what}: cannot be read ({error}); copy it again") from error


def _read_all(archive: zipfile.ZipFile, what: str, most_bytes: int) -> dict[str, NDArray[Any]]:
    left_bytes = most_bytes
    for member in archive.infolist():
        with archive.open(member) as stream:
            left_bytes -= max(_declared_bytes(stream, what), member.file_size)
        if left_bytes < 0:
            raise BundleError(f"{what}: {member.filename} declares too much, above {most_bytes} bytes in all; refused")
    arrays = {}
    for member in archive.infolist():
        with archive.open(member) as stream:
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _declared_bytes(stream: Any, what: str) -> int:
    """Return how many bytes the .npy header in `stream` declares, without reading them."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise BundleError(f"{what}: expected .npy version 1.0 or 2.0, got {version}")
    if dtype.hasobject:
        raise BundleError(f"{what}: expected plain numbers, got pickled objects; refused unread")
    count = dtype.itemsize
    for size in shape:
        if size < 0:
            raise BundleError(f"{what}: expected sizes from 0, got {shape}")
        count *= size
    return count
