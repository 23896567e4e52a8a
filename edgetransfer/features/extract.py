"""Runs a deployed backbone over samples on all cores: decode, prepare, infer, keep."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import InputError
from edgetransfer.features.augment import augmented
from edgetransfer.features.cache import FeatureCache
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.engines import Engine, open_engine
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.inputs import InputReader
from edgetransfer.spec.cache import cache_folder
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.tensor import TensorSpec

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput

Progress = Callable[[int, int], None]
SHARD_ROWS = 256  # what an interruption can lose: well under a second of work; a multiple of TASK_ROWS
TASK_ROWS = 8  # views a thread takes at a time, so that handing out work costs nothing beside it


@dataclass(frozen=True, slots=True)
class View:
    """One look at one sample: number 0 is the sample itself, 1 and up are augmented."""

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
    spec: ModelInput,
    *,
    engine: str = "litert",
    reader: InputReader | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Features:
    """Return the features of `views`, from the cache where they are there.

    Args:
        graph: The deployed backbone: (1, H, W, channels) uint8 pixels in, or what `spec` says, (1, D) features out.
        views: What to look at.
        spec: How a sample becomes the graph's input.
        engine: The deployed engine.
        reader: Of sounds and sentences, with their tokenizer. Their features are real numbers, the mean over windows.
        workers: Threads, each with a single-threaded engine of its own; None is one a core.
        progress: Called with (done, total) samples.

    Raises:
        InputError: a sample cannot be read.
        CacheError: the cache cannot be written.
    """
    pool = Engines(engine, graph)
    tensor = pool.get().output
    if spec.kind != "image":
        tensor = TensorSpec(tensor.name, tensor.shape, "float32")
    cache = FeatureCache(
        cache_folder("features") / cache_name(graph, spec, pool.get()), width=tensor.shape[-1], dtype=tensor.dtype
    )
    keys = [view.key for view in views]
    missing = [views[position] for position in cache.missing(keys)]
    missing = list({view.key: view for view in missing}.values())  # a view asked for twice is computed once
    done = len(views) - len(missing)
    for some, rows in _computed(pool, missing, _maker(spec, reader), workers or available_cores()):
        cache.put([view.key for view in some], rows)
        done += len(some)
        if progress is not None:
            progress(done, len(views))
    pool.close()
    return Features(cache.get(keys), tensor)


class Engines:
    """One engine a thread: interpreters are not made for two threads, and one core each is the fastest way."""

    def __init__(self, engine: str, graph: bytes) -> None:
        self._engine, self._graph, self._local = engine, graph, threading.local()
        self._opened: list[Engine] = []

    def get(self) -> Engine:
        """Return the engine of the thread that asks."""
        found: Engine | None = getattr(self._local, "engine", None)
        if found is None:
            found = self._local.engine = open_engine(self._engine, self._graph, threads=1)
            self._opened.append(found)
        return found

    def close(self) -> None:
        """Free all of them."""
        for engine in self._opened:
            engine.close()


Maker = Callable[[Engine, View], NDArray[Any]]
"""Gives the features (1, D) of a view."""


def _maker(spec: ModelInput, reader: InputReader | None) -> Maker:
    """Return what computes a view's features: stored ones of an image, the real mean over windows of anything else."""

    def of_image(engine: Engine, view: View) -> NDArray[Any]:
        return engine.run(model_input(view, spec)[None])

    def of_windows(engine: Engine, view: View) -> NDArray[Any]:
        rows = [engine.run(one[None])[0] for one in windows(view, spec, reader)]
        return np.asarray(engine.output.to_real(np.stack(rows)).mean(axis=0, keepdims=True, dtype=np.float32))

    return of_image if spec.kind == "image" else of_windows


def _computed(
    pool: Engines, views: Sequence[View], make: Maker, workers: int
) -> Iterator[tuple[list[View], NDArray[Any]]]:
    """Yield the views in runs of SHARD_ROWS with their rows; threads work ahead over the run's edge."""

    def some(start: int) -> NDArray[Any]:
        engine = pool.get()
        chosen = views[start : min(start + TASK_ROWS, len(views))]
        return np.concatenate([make(engine, view) for view in chosen])

    with ThreadPoolExecutor(workers, thread_name_prefix="edgetransfer-features") as threads:
        try:
            tasks = threads.map(some, range(0, len(views), TASK_ROWS))
            for start in range(0, len(views), SHARD_ROWS):
                shard = list(views[start : start + SHARD_ROWS])
                yield shard, np.concatenate(list(islice(tasks, -(-len(shard) // TASK_ROWS))))
        except BaseException:  # Ctrl-C too: what waits is dropped, what is finished stays in the cache
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def windows(view: View, spec: ModelInput, reader: InputReader | None = None) -> NDArray[Any]:
    """Return what the model is given for `view`, one window after the other: (n, *shape); one of an image or sentence.

    Raises:
        InputError: the sample cannot be read, or has no augmented views.
    """
    if spec.kind == "image":
        return model_input(view, spec)[None]
    if reader is None:
        raise InputError(f"features of {spec.kind}: expected a reader of its inputs, got none")
    raw = reader.read(view.sample.source)
    if view.number == 0:
        return reader.prepare(raw)
    if spec.kind != "audio":
        raise InputError(f"--augment: there are no augmented views of {spec.kind}")
    from edgetransfer.features.augment_audio import augmented_audio

    return augmented_audio(raw, reader, sha256=view.sample.sha256, seed=view.seed, view=view.number)


def model_input(view: View, spec: ModelInput) -> NDArray[np.uint8]:
    """Return what the model is given for the image `view`: (H, W, channels) uint8."""
    if not isinstance(spec, ImageInput):
        raise InputError(f"expected an image, got {spec.kind}")
    image = read_image(view.sample.path, channels=spec.channels)
    if view.number == 0:
        return prepare(image, spec)
    return augmented(image, spec, sha256=view.sample.sha256, seed=view.seed, view=view.number)


def cache_name(graph: bytes, spec: ModelInput, engine: Engine) -> str:
    """Return a folder name over all that the features depend on, but for the sample."""
    parts = {
        "graph": hashlib.sha256(graph).hexdigest(),
        "input": spec.to_json(),
        "engine": [engine.name, engine.version, engine.kernels],
        "rules": 1,  # raise when prepare() or augmented() change what they compute
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
