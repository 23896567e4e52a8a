"""The photos that two networks look at while weights go from one to the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample, load_dataset
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.train import labels_of
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.transfer.agreement import read_out
from edgetransfer.transfer.view_batches import ViewBatches

MOST_IMAGES = 512
"""Images that agreement is measured on."""
STATISTICS_FROM = 256
"""Training images that batch norm statistics are estimated from: at 7 x 7 places still 12,544 numbers a channel."""
RECONSTRUCTED_FROM = 1024
"""Training images that layers are fitted on, as far as memory allows: from 256 over 512 to 1,024 agreement rose from
53.3 over 58.4 to 61.9 % (MobileNetV2 1.0 to 0.5 at 96 px, TrashNet)."""


@dataclass(frozen=True, slots=True)
class Photos:
    """What is looked at.

    Attributes:
        measured: Photos of the training and validation splits that agreement is measured on.
        classes: (n,) class of each.
        learned: Training photos that statistics are estimated from and layers fitted on; as long as there are enough,
            none of those that agreement is measured on.
        normalisation: What the networks expect of a pixel.
        workers: Threads; None: one a core.
    """

    measured: Sequence[Sample]
    classes: NDArray[np.int64]
    learned: Sequence[Sample]
    normalisation: Normalisation
    workers: int | None

    def batches(self, model: Any, samples: Sequence[Sample], size: int) -> Iterator[NDArray[np.float32]]:
        """Yield normalised pixels (n, H, W, channels) as `model` takes them."""
        height, width, channels = (int(size) for size in model.input.shape[1:])
        spec = ImageInput(height, width, "squash", channels=channels)
        return ViewBatches(samples, spec, self.normalisation, size, views=0, workers=self.workers).plain_pixels()

    def features(self, model: Any) -> NDArray[np.float32]:
        """Return (n, D) what `model` makes of the photos that are measured on."""
        found = [model.predict_on_batch(pixels) for pixels in self.batches(model, self.measured, 32)]
        return np.concatenate(found)

    def right(self, features: NDArray[np.float32]) -> float:
        """Return how often a read-out of `features` is right."""
        return float((read_out(features, self.classes) == self.classes).mean())


def read_photos(data: Path, normalisation: Normalisation, seed: int, workers: int | None, watcher: Watcher) -> Photos:
    """Return the photos to look at, drawn by content; none is of the test split.

    Raises:
        DataError: the data cannot be used.
    """
    watcher.stage("reading the data")
    dataset = load_dataset(data, kind="image", seed=seed, progress=watcher.step, workers=workers)
    measured = _by_content([*dataset.split("train"), *dataset.split("val")])[:MOST_IMAGES]
    seen = {sample.sha256 for sample in measured}
    train = _by_content(dataset.split("train"))
    others = [sample for sample in train if sample.sha256 not in seen]
    learned = [*others, *(sample for sample in train if sample.sha256 in seen)][:RECONSTRUCTED_FROM]
    return Photos(measured, labels_of(measured, dataset.labels), learned, normalisation, workers)


def _by_content(samples: Sequence[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.sha256)  # as good as at random
