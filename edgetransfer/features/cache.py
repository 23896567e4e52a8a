"""Keeps features by content, so that no image goes twice through the same graph.

A folder belongs to one graph, one preprocessing and one engine. In it lie shards: `ID.npy` with the rows and
`ID.keys` with one key a line. A shard is complete when its `.keys` is there, which is written last, and both are
written beside and moved into place. So an interrupted run loses at most one shard, and any number of runs can share
the folder without a lock: at worst two of them compute the same rows.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import CacheError
from edgetransfer.spec.atomic import write_atomically


class FeatureCache:
    """The features of one graph, preprocessing and engine: rows by key."""

    def __init__(self, folder: Path, *, width: int, dtype: str) -> None:
        """Open `folder`, making it if need be; rows are (width,) of `dtype`.

        Raises:
            CacheError: the folder cannot be made.
        """
        self.folder = folder
        self._width, self._dtype = width, np.dtype(dtype)
        self._rows: dict[str, tuple[int, int]] = {}
        self._shards: list[NDArray[Any]] = []
        self._seen: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as trouble:
            raise CacheError(
                f"feature cache {folder}: cannot be made ({trouble.strerror}); set EDGETRANSFER_CACHE to a folder "
                "that can be written"
            ) from trouble
        self.refresh()

    def refresh(self) -> None:
        """Take in shards that this or another run has completed since."""
        for listing in sorted(self.folder.glob("*.keys")):
            if listing.stem not in self._seen:
                self._seen.add(listing.stem)
                self._take_in(listing)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Return the positions in `keys` that have no row yet."""
        return [position for position, key in enumerate(keys) if key not in self._rows]

    def put(self, keys: Sequence[str], rows: NDArray[Any]) -> None:
        """Keep `rows` (n, width) under `keys`, as one shard.

        Raises:
            CacheError: the disk is full or the folder cannot be written.
        """
        table = io.BytesIO()
        np.save(table, rows.astype(self._dtype, copy=False))
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:32]
        try:
            write_atomically(self.folder / f"{name}.npy", table.getvalue())
            write_atomically(self.folder / f"{name}.keys", "\n".join(keys).encode())
        except OSError as trouble:
            raise CacheError(f"feature cache {self.folder}: cannot be written ({trouble.strerror})") from trouble
        self.refresh()

    def get(self, keys: Sequence[str]) -> NDArray[Any]:
        """Return the rows of `keys` as (n, width); every key must be there."""
        out = np.empty((len(keys), self._width), self._dtype)
        for position, key in enumerate(keys):
            shard, row = self._rows[key]
            out[position] = self._shards[shard][row]
        return out

    def _take_in(self, listing: Path) -> None:
        table = listing.with_suffix(".npy")
        try:
            keys = listing.read_text().split("\n")
            rows = np.load(table, mmap_mode="r", allow_pickle=False)
            whole = rows.shape == (len(keys), self._width) and rows.dtype == self._dtype
        except (OSError, ValueError, EOFError):
            whole = False
        if not whole:  # a damaged shard is computed again
            for path in (listing, table):
                path.unlink(missing_ok=True)
            return
        self._shards.append(rows)
        self._rows.update({key: (len(self._shards) - 1, row) for row, key in enumerate(keys)})
