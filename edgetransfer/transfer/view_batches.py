"""Batches of training images as the device prepares them, each epoch seen otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.features.extract import View, model_input
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.preprocess import ImageInput, Normalisation

_AHEAD = 2  # batches that are decoded while one is trained on


@dataclass(frozen=True, slots=True)
class ViewBatches:
    """The samples of one split, in batches.

    Attributes:
        samples: Of the split.
        spec: How an image becomes the model's input.
        normalisation: What the Keras model expects of a pixel.
        batch_size: Images a batch; fewer where there are fewer samples.
        seed: Of the order and of the views.
        views: How many augmented views of each image there are: epoch e sees view 1 + e % views; 0: only the images
            themselves.
        workers: Threads; None: one a core.
    """

    samples: Sequence[Sample]
    spec: ImageInput
    normalisation: Normalisation
    batch_size: int = 32
    seed: int = 0
    views: int = 1_000_000
    workers: int | None = None

    @property
    def steps(self) -> int:
        """Batches an epoch; what is left over waits for another epoch's order."""
        return max(1, len(self.samples) // self._size)

    def view_number(self, epoch: int) -> int:
        """Return which view of each image the epoch (0, 1, ...) sees."""
        return 1 + epoch % self.views if self.views else 0

    def epoch(self, epoch: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield (rows, normalised pixels (n, H, W, 3)) of each batch; the order is the seed's and the epoch's.

        Raises:
            InputError: an image cannot be read.
        """
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.samples))
        number = self.view_number(epoch)
        yield from self._batches([order[self._size * n : self._size * (n + 1)] for n in range(self.steps)], number)

    def plain(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the same of the images themselves, in order, all of them."""
        rows = np.arange(len(self.samples))
        yield from self._batches([rows[at : at + self._size] for at in range(0, len(rows), self._size)], 0)

    def plain_pixels(self) -> Iterator[NDArray[np.float32]]:
        """Yield the pixels of `plain` alone."""
        return (pixels for _, pixels in self.plain())

    @property
    def _size(self) -> int:
        return min(self.batch_size, len(self.samples))

    def _batches(
        self, batches: Sequence[NDArray[np.int64]], number: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        def one(row: np.int64) -> NDArray[np.uint8]:
            return model_input(View(self.samples[int(row)], number, self.seed), self.spec)

        with ThreadPoolExecutor(self.workers or available_cores(), thread_name_prefix="edgetransfer-views") as pool:
            waiting: list[list[Future[NDArray[np.uint8]]]] = []
            try:
                for at in range(len(batches) + _AHEAD):
                    if at < len(batches):
                        waiting.append([pool.submit(one, row) for row in batches[at]])
                    if at >= _AHEAD:
                        pixels = np.stack([job.result() for job in waiting.pop(0)])
                        yield batches[at - _AHEAD], self.normalisation.to_real(pixels)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
