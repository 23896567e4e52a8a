"""Runs a deployed backbone over images on all cores: decode, prepare, infer, keep."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.features.augment import augmented
from edgetransfer.features.cache import FeatureCache
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.engines import Engine, open_engine
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.cache import cache_folder
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.tensor import TensorSpec

Progress = Callable[[int, int], None]
SHARD_ROWS = 256  # what an interruption can lose: well under a second of work; a multiple of TASK_ROWS
TASK_ROWS = 8  # views a thread takes at a time, so that handing out work costs nothing beside it


@dataclass(frozen=True, slots=True)
class View:
    """One look at one image: number 0 is the image itself, 1 and up are augmented."""

    sample: Sample
    number: int = 0
    seed: int = 0

    @property
    def key(self) -> str:
        """What the cache knows this view by."""
        return self.sample.sha256 if self.number == 0 else f"{self.sample.sha256}:{self.seed}:{self.number}"


@dataclass(frozen=True, slots=True)
class Features:
    """Features as the deployed graph stores them: (n, D), and what the stored values mean."""

    stored: NDArray[Any]
    tensor: TensorSpec

    @property
    def real(self) -> NDArray[np.float32]:
        """(n, D) float32 real values."""
        return self.tensor.to_real(self.stored)


def extract(
    graph: bytes,
    views: Sequence[View],
    spec: ImageInput,
    *,
    engine: str = "litert",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Features:
    """Return the features of `views`, from the cache where they are there.

    Args:
        graph: The deployed backbone: (1, H, W, 3) uint8 pixels in, (1, D) features out.
        views: What to look at.
        spec: How an image becomes the graph's input.
        engine: The deployed engine.
        workers: Threads, each with a single-threaded engine of its own; None is one a core.
        progress: Called with (done, total) images.

    Raises:
        InputError: an image cannot be read.
        CacheError: the cache cannot be written.
    """
    pool = _Engines(engine, graph)
    tensor = pool.get().output
    cache = FeatureCache(
        cache_folder("features") / _cache_name(graph, spec, pool.get()), width=tensor.shape[-1], dtype=tensor.dtype
    )
    keys = [view.key for view in views]
    missing = [views[position] for position in cache.missing(keys)]
    missing = list({view.key: view for view in missing}.values())  # a view asked for twice is computed once
    done = len(views) - len(missing)
    for some, rows in _computed(pool, missing, spec, workers or available_cores()):
        cache.put([view.key for view in some], rows)
        done += len(some)
        if progress is not None:
            progress(done, len(views))
    pool.close()
    return Features(cache.get(keys), tensor)


class _Engines:
    """One engine a thread: interpreters are not made for two threads, and one core each is the fastest way."""

    def __init__(self, engine: str, graph: bytes) -> None:
        self._engine, self._graph, self._local = engine, graph, threading.local()
        self._opened: list[Engine] = []

    def get(self) -> Engine:
        found: Engine | None = getattr(self._local, "engine", None)
        if found is None:
            found = self._local.engine = open_engine(self._engine, self._graph, threads=1)
            self._opened.append(found)
        return found

    def close(self) -> None:
        for engine in self._opened:
            engine.close()


def _computed(
    pool: _Engines, views: Sequence[View], spec: ImageInput, workers: int
) -> Iterator[tuple[list[View], NDArray[Any]]]:
    """Yield the views in runs of SHARD_ROWS with their rows; threads work ahead over the run's edge."""

    def some(start: int) -> NDArray[Any]:
        engine = pool.get()
        chosen = views[start : min(start + TASK_ROWS, len(views))]
        return np.concatenate([engine.run(model_input(view, spec)[None]) for view in chosen])

    with ThreadPoolExecutor(workers, thread_name_prefix="edgetransfer-features") as threads:
        try:
            tasks = threads.map(some, range(0, len(views), TASK_ROWS))
            for start in range(0, len(views), SHARD_ROWS):
                shard = list(views[start : start + SHARD_ROWS])
                yield shard, np.concatenate(list(islice(tasks, -(-len(shard) // TASK_ROWS))))
        except BaseException:  # Ctrl-C too: what waits is dropped, what is finished stays in the cache
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def model_input(view: View, spec: ImageInput) -> NDArray[np.uint8]:
    """Return what the model is given for `view`: (H, W, 3) uint8 RGB."""
    image = read_image(view.sample.path)
    if view.number == 0:
        return prepare(image, spec)
    return augmented(image, spec, sha256=view.sample.sha256, seed=view.seed, view=view.number)


def _cache_name(graph: bytes, spec: ImageInput, engine: Engine) -> str:
    """Return a folder name over all that the features depend on, but for the image."""
    parts = {
        "graph": hashlib.sha256(graph).hexdigest(),
        "input": spec.to_json(),
        "engine": [engine.name, engine.version, engine.kernels],
        "rules": 1,  # raise when prepare() or augmented() change what they compute
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
