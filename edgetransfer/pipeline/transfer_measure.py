"""Whether a network that was given another one's weights sees as that one does: both look at the same photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample, load_dataset
from edgetransfer.errors import BackboneError
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.train import labels_of
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.transfer.agreement import Agreement, agreement, read_out
from edgetransfer.transfer.fusion import re_estimate, weights_of
from edgetransfer.transfer.keras_graph import KerasGraph, layers_of_graph
from edgetransfer.transfer.mapping import WeightMapping
from edgetransfer.transfer.new_layers import initial
from edgetransfer.transfer.statistics import make_statistics_true
from edgetransfer.transfer.view_batches import ViewBatches

MOST_IMAGES = 512
"""Images that agreement is measured on."""
STATISTICS_FROM = 256
"""Training images that batch norm statistics are estimated from: at 7 x 7 places still 12,544 numbers a channel."""
EQUAL = 1e-4
"""How far outputs of one function may be apart, relative to the largest: sums in another order, in float32."""


@dataclass(frozen=True, slots=True)
class Photos:
    """What is looked at.

    Attributes:
        measured: Photos of the training and validation splits that agreement is measured on.
        classes: (n,) class of each.
        estimated: Training photos that statistics are estimated from.
        normalisation: What the networks expect of a pixel.
        workers: Threads; None: one a core.
    """

    measured: Sequence[Sample]
    classes: NDArray[np.int64]
    estimated: Sequence[Sample]
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


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen.

    Attributes:
        agreed: Of source and target; None where the source cannot be run.
        untrained: Of the source and an untrained target.
        right: How often a read-out is right by whose features it has: "source", "target", "untrained".
        again: From how many images batch norm statistics were estimated again; 0: they are the source's.
        tried: How much the target agreed with each: "kept" and "estimated again"; empty where nothing was cut.
    """

    agreed: Agreement | None
    untrained: Agreement | None
    right: Mapping[str, float]
    again: int
    tried: Mapping[str, float]


NOT_MEASURED = Measured(None, None, {}, 0, {})


def read_photos(data: Path, normalisation: Normalisation, seed: int, workers: int | None, watcher: Watcher) -> Photos:
    """Return the photos to look at, drawn by content; none is of the test split.

    Raises:
        DataError: the data cannot be used.
    """
    watcher.stage("reading the data")
    dataset = load_dataset(data, kind="image", seed=seed, progress=watcher.step, workers=workers)
    samples = _some([*dataset.split("train"), *dataset.split("val")], MOST_IMAGES)
    classes = labels_of(samples, dataset.labels)
    return Photos(samples, classes, _some(dataset.split("train"), STATISTICS_FROM), normalisation, workers)


def settle_statistics(model: Any, graph: KerasGraph, photos: Photos, watcher: Watcher) -> None:
    """Give the source's batch norms the statistics of the photos; it computes the same."""
    watcher.stage("looking at photos with the source's batch norms")
    make_statistics_true(model, graph, photos.batches(model, photos.estimated, 8))


def measure(
    source: Any, target: Any, graph: KerasGraph, mapping: WeightMapping, photos: Photos, *, seed: int, watcher: Watcher
) -> Measured:
    """Give the target its weights, and look at the same photos with the source, with it, and with an untrained one.

    Where channels were cut, batch norm statistics are also estimated again, for those of the source hold for sums over
    more channels. The better of the two stays: that by which the target agrees more with the source.

    Args:
        source: The Keras model that has the weights; None where they are all there is.
        target: The Keras model that takes them.
        graph: Of the target.
        mapping: From one to the other, not applied yet.
        photos: What to look at.
        seed: Of the untrained network.
        watcher: Is told the stages.

    Raises:
        WeightsError: the mapping has numbers that are not finite.
    """
    tables: dict[str, NDArray[np.float32]] = {}
    if source is not None:
        watcher.stage("looking at photos with the source")
        tables["source"] = photos.features(source)
    watcher.stage("looking at photos with an untrained target")
    before = weights_of(target)
    randomise(graph, seed)
    tables["untrained"] = photos.features(target)
    target.set_weights(before)
    mapping.apply(graph.variables())
    watcher.stage("looking at photos with the target")
    tables["target"] = photos.features(target)
    again = 0
    tried: dict[str, float] = {}
    if source is not None and not mapping.same and graph.norms():
        watcher.stage("estimating batch norm statistics again")
        tables["target"], tried = _better(target, tables, photos)
        again = len(photos.estimated) if tried["estimated again"] > tried["kept"] else 0
    right = {name: photos.right(table) for name, table in tables.items()}
    if source is None:
        return Measured(None, None, right, 0, {})
    agreed, untrained = (agreement(tables["source"], tables[name], photos.classes) for name in ("target", "untrained"))
    return Measured(agreed, untrained, right, again, tried)


def _better(
    target: Any, tables: Mapping[str, NDArray[np.float32]], photos: Photos
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Estimate statistics again and leave the target as it agrees more; return its features and both agreements."""
    kept = weights_of(target)
    re_estimate(target, photos.batches(target, photos.estimated, 64))
    features = photos.features(target)
    tried = {
        name: agreement(tables["source"], table, photos.classes).read_out
        for name, table in (("kept", tables["target"]), ("estimated again", features))
    }
    if tried["estimated again"] > tried["kept"]:
        return features, tried
    target.set_weights(kept)
    return tables["target"], tried


def check(measured: Measured, mapping: WeightMapping, least: float | None) -> None:
    """Refuse a target that did not take over what the source knows.

    Args:
        measured: What was seen.
        mapping: What was done.
        least: Share of the images on which both must say the same; None: what an untrained network reaches.

    Raises:
        BackboneError: says what was measured.
    """
    name, agreed, untrained = mapping.target, measured.agreed, measured.untrained
    if agreed is None or untrained is None:
        _check_read_out(measured, name)
        return
    difference = agreed.relative_difference
    if mapping.same and difference is not None and difference > EQUAL:
        raise BackboneError(
            f"target {name!r}: has all weights of {mapping.source!r}, but features that differ by {difference:.2g} of "
            f"the largest, expected at most {EQUAL:g}; the two are other architectures. Nothing was written"
        )
    wanted = untrained.read_out if least is None else least
    if agreed.read_out < wanted or (least is None and agreed.cka <= untrained.cka):
        whose = "an untrained one reaches" if least is None else "--least-agreement asks for"
        alike = f" (CKA {agreed.cka:.3f}, untrained {untrained.cka:.3f})" if least is None else ""
        raise BackboneError(
            f"target {name!r}: says the same as the source on {agreed.read_out:.1%} of {agreed.images} images, {whose} "
            f"{wanted:.1%}{alike}. Nothing was written"
        )


def randomise(graph: KerasGraph, seed: int) -> None:
    """Give every parameter whose role is known numbers of an untrained network, alike in every process."""
    random, variables = np.random.default_rng(seed), graph.variables()
    for layer in layers_of_graph(graph):
        for tensor in layer.tensors:
            if tensor.mappable:
                variables[tensor.name].assign(initial(tensor, random))


def _check_read_out(measured: Measured, name: str) -> None:
    right = measured.right
    if right["target"] <= right["untrained"]:
        raise BackboneError(
            f"target {name!r}: a read-out of its features is right on {right['target']:.1%} of the images, of an "
            f"untrained one's on {right['untrained']:.1%}; the weights were mapped wrongly, or expect other pixels "
            "(--normalise). Nothing was written"
        )


def _some(samples: Sequence[Sample], most: int) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.sha256)[:most]  # by content: as good as at random
