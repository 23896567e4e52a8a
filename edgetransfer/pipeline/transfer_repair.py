"""Mends a network whose channels were cut: what stayed was learned for sums over more of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.transfer_photos import STATISTICS_FROM, Photos
from edgetransfer.transfer.agreement import agreement
from edgetransfer.transfer.fusion import re_estimate, weights_of
from edgetransfer.transfer.keras_graph import KerasGraph
from edgetransfer.transfer.layerwise import images_within
from edgetransfer.transfer.mapping import WeightMapping
from edgetransfer.transfer.reconstruction import reconstruct
from edgetransfer.transfer.surgery import with_input_size

Repair = Literal["none", "statistics", "reconstruction"]
"""The weights as they were cut; batch norm statistics estimated again; each layer fitted to give what the source's
gives (`transfer.reconstruction`)."""
_BATCH = 16
_MOST_BYTES = 1 << 30  # of one tensor of the target on all images; two or three are held at a time
_LEAST_IMAGES = 32


@dataclass(frozen=True, slots=True)
class Repaired:
    """Which repairs were tried, and which stays.

    Attributes:
        tried: On what share of the images source and target then say the same; empty where nothing was cut.
        taken: The one after which they agree most, by that share and then by CKA; it stays.
        images: How many the layers were fitted on; 0 where they were not.
    """

    tried: Mapping[Repair, float]
    taken: Repair
    images: int


NOT_REPAIRED = Repaired({}, "none", 0)


def repair(
    models: tuple[Any, Any],
    graph: KerasGraph,
    mapping: WeightMapping,
    wanted: NDArray[np.float32],
    photos: Photos,
    watcher: Watcher,
    *,
    seed: int,
) -> tuple[Repaired, NDArray[np.float32]]:
    """Try each repair and leave the target with the one after which it agrees most with the source.

    Returns what was done, and (n, D) features of the target then.

    Args:
        models: Source and target, which has its mapped weights.
        graph: Of the target.
        mapping: What was put where.
        wanted: (n, D) features of the source of the photos that agreement is measured on.
        photos: What to look at.
        watcher: Is told the stages.
        seed: Of the places that layers are fitted at.
    """
    source, target = models
    cut = weights_of(target)
    found: dict[Repair, list[NDArray[Any]]] = {"none": cut}
    if graph.norms():
        watcher.stage("estimating batch norm statistics again")
        re_estimate(target, photos.batches(target, photos.learned[:STATISTICS_FROM], 64))
        found["statistics"] = weights_of(target)
        target.set_weights(cut)
    images = 0
    if mapping.counterparts:
        images = _reconstruct(source, target, graph, mapping, photos, watcher, seed)
        if images:
            found["reconstruction"] = weights_of(target)
    watcher.stage("looking at photos with the target")
    features, agreed = {}, {}
    for name, weights in found.items():
        target.set_weights(weights)
        features[name] = photos.features(target)
        agreed[name] = agreement(wanted, features[name], photos.classes)
    best = max(agreed, key=lambda name: (agreed[name].read_out, agreed[name].cka))
    target.set_weights(found[best])
    return Repaired({name: one.read_out for name, one in agreed.items()}, best, images), features[best]


def _reconstruct(
    source: Any, target: Any, graph: KerasGraph, mapping: WeightMapping, photos: Photos, watcher: Watcher, seed: int
) -> int:
    """Fit the target's layers to the source's and return on how many images; 0 where the source cannot take them."""
    height, width = target.input.shape[1:3]
    try:
        same_size = tuple(source.input.shape[1:3]) == (height, width)
        given = source if same_size else with_input_size(source, height, width).model
    except BackboneError as trouble:
        watcher.note(f"layers are not fitted to the source's: {trouble}")
        return 0
    watcher.stage("fitting each layer to the source's")
    some = photos.learned[: images_within(graph, _MOST_BYTES, _LEAST_IMAGES)]
    batches = list(photos.batches(target, some, _BATCH))
    graphs = KerasGraph.of(given), graph
    fitted = reconstruct(graphs, mapping.counterparts, batches, seed=seed, progress=watcher.step)
    return len(some) if fitted else 0
