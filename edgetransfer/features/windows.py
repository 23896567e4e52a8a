"""The features of every window of a sample, for heads that do not take their mean."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import CacheError
from edgetransfer.features.extract import Engines, Progress, View, cache_name, windows
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.inputs import InputReader
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.cache import cache_folder

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput


def extract_windows(
    graph: bytes,
    views: Sequence[View],
    spec: ModelInput,
    *,
    engine: str,
    reader: InputReader,
    workers: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the real features (n, W, D) of the windows of `views`; a view with fewer than W has NaN in its last rows.

    All views are cached together: they are of one split, and are asked for again as such.

    Args:
        graph: As `extract`, as are all others.
        views: What to look at, one or more.
        spec: See `extract`.
        engine: See `extract`.
        reader: See `extract`.
        workers: See `extract`.
        progress: See `extract`.

    Raises:
        InputError: a sample cannot be read.
        CacheError: the cache cannot be written.
    """
    pool = Engines(engine, graph)
    try:
        keys = "\n".join(view.key for view in views)
        name = hashlib.sha256(keys.encode()).hexdigest()[:32]
        kept = cache_folder("features") / cache_name(graph, spec, pool.get()) / "windows" / f"{name}.npy"
        found = _kept(kept, len(views))
        if found is None:
            found = _padded(_computed(pool, views, spec, reader, workers or available_cores(), progress))
            table = io.BytesIO()
            np.save(table, found)
            try:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(kept, table.getvalue())
            except OSError as trouble:
                raise CacheError(f"feature cache {kept.parent}: cannot be written ({trouble.strerror})") from trouble
        return found
    finally:
        pool.close()


def _computed(
    pool: Engines,
    views: Sequence[View],
    spec: ModelInput,
    reader: InputReader,
    workers: int,
    progress: Progress | None,
) -> list[NDArray[np.float32]]:
    def of(view: View) -> NDArray[np.float32]:
        engine = pool.get()
        rows = np.stack([engine.run(one[None])[0] for one in windows(view, spec, reader)])
        return engine.output.to_real(rows)

    found = []
    with ThreadPoolExecutor(workers, thread_name_prefix="edgetransfer-windows") as threads:
        try:
            for one in threads.map(of, views):
                found.append(one)
                if progress is not None:
                    progress(len(found), len(views))
        except BaseException:  # Ctrl-C too: what waits is dropped
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _padded(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    found = np.full((len(rows), max(map(len, rows)), rows[0].shape[1]), np.nan, np.float32)
    for number, one in enumerate(rows):
        found[number, : len(one)] = one
    return found


def _kept(path: Path, views: int) -> NDArray[np.float32] | None:
    """Return what the cache has, None where that is nothing or damaged."""
    try:
        found: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 3 and len(found) == views and found.dtype == np.float32 else None
