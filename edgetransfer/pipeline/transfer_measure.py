"""Whether a network that was given another one's weights sees as that one does: both look at the same photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.transfer_photos import STATISTICS_FROM, Photos
from edgetransfer.pipeline.transfer_repair import NOT_REPAIRED, Repaired, repair
from edgetransfer.transfer.agreement import Agreement, agreement
from edgetransfer.transfer.fusion import weights_of
from edgetransfer.transfer.keras_graph import KerasGraph, layers_of_graph
from edgetransfer.transfer.mapping import WeightMapping
from edgetransfer.transfer.new_layers import initial
from edgetransfer.transfer.statistics import make_statistics_true

EQUAL = 1e-4
"""How far outputs of one function may be apart, relative to the largest: sums in another order, in float32."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen.

    Attributes:
        agreed: Of source and target; None where the source cannot be run.
        untrained: Of the source and an untrained target.
        right: How often a read-out is right by whose features it has: "source", "target", "untrained".
        repaired: What was done about what a cut leaves.
    """

    agreed: Agreement | None
    untrained: Agreement | None
    right: Mapping[str, float]
    repaired: Repaired


NOT_MEASURED = Measured(None, None, {}, NOT_REPAIRED)


def settle_statistics(model: Any, graph: KerasGraph, photos: Photos, watcher: Watcher) -> None:
    """Give the source's batch norms the statistics of the photos; it computes the same."""
    watcher.stage("looking at photos with the source's batch norms")
    make_statistics_true(model, graph, photos.batches(model, photos.learned[:STATISTICS_FROM], 8))


def measure(
    source: Any, target: Any, graph: KerasGraph, mapping: WeightMapping, photos: Photos, *, seed: int, watcher: Watcher
) -> Measured:
    """Give the target its weights, and look at the same photos with the source, with it, and with an untrained one.

    Where channels were cut, what is left is repaired, see `transfer_repair`.

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
    repaired = NOT_REPAIRED
    if source is not None and not mapping.same:
        models = source, target
        repaired, tables["target"] = repair(models, graph, mapping, tables["source"], photos, watcher, seed=seed)
    else:
        watcher.stage("looking at photos with the target")
        tables["target"] = photos.features(target)
    right = {name: photos.right(table) for name, table in tables.items()}
    if source is None:
        return Measured(None, None, right, NOT_REPAIRED)
    agreed, untrained = (agreement(tables["source"], tables[name], photos.classes) for name in ("target", "untrained"))
    return Measured(agreed, untrained, right, repaired)


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
