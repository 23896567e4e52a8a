"""Ranks the ops of a backbone by what quantizing each of them, and nothing else, does to its features."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgetransfer.export import OpFact, get_exporter
from edgetransfer.features.deploy import Calibration, FloatBackbone, float_graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.recipe import Override, Recipe

IMAGES = 8  # of the calibration images; the order of the noisiest ops hardly changes with more


@dataclass(frozen=True, slots=True)
class RankedOp:
    """One op: its name as overrides match it, its noise and its cost.

    `noise` is the squared error of the features, relative to the float features' squares, when only this op is
    quantized; `macs` what it computes for one image.
    """

    name: str
    noise: float
    macs: int


def rank_ops(
    backbone: FloatBackbone,
    recipe: Recipe,
    given: Calibration,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[RankedOp, ...]:
    """Return the ops that `recipe` would quantize, the noisiest first.

    Args:
        backbone: The float backbone.
        recipe: Whose dtypes are looked at; its overrides stay out of it.
        given: Calibration images and ranges.
        progress: Called with (done, total) ops.
    """
    exporter = get_exporter(backbone.format)
    plain = float_graph(backbone)
    ops = [op for op in exporter.survey(plain) if op.macs and not op.edge and not _kept(op, recipe)]
    wanted = _features(exporter.FLOAT_ENGINE, plain, given)
    found = []
    for done, op in enumerate(ops):
        one = _only(op, recipe)
        graph = exporter.carry_out(backbone.graph, one, backbone.normalisation, given.ranges, given.images)
        error = _features(exporter.ENGINE, graph, given) - wanted
        found.append(RankedOp(op.name, float(np.sum(error**2) / max(float(np.sum(wanted**2)), 1e-12)), op.macs))
        if progress is not None:
            progress(done + 1, len(ops))
    return tuple(sorted(found, key=lambda one: (-one.noise, one.name)))


def keep_in_floats(recipe: Recipe, names: tuple[str, ...]) -> Recipe:
    """Return `recipe` with the ops called `names` computing in float32."""
    kept = tuple(Override(f"^{re.escape(name)}$", "float32", "float32") for name in names)
    return replace(recipe, overrides=(*recipe.overrides, *kept))


def _kept(op: OpFact, recipe: Recipe) -> bool:
    override = recipe.override_of(op.name)
    return override is not None and override.activations == "float32"


def _only(op: OpFact, recipe: Recipe) -> Recipe:
    every_other = Override(f"^(?!{re.escape(op.name)}$)", "float32", "float32")
    return replace(recipe, weight_ranges="min_max", overrides=(*recipe.overrides, every_other))


def _features(engine_name: str, graph: bytes, given: Calibration) -> NDArray[np.float64]:
    engine = open_engine(engine_name, graph, threads=1)
    tensor = engine.output
    rows = [tensor.to_real(engine.run(image[None])) for image in given.images[:IMAGES]]
    engine.close()
    return np.concatenate(rows).astype(np.float64)
