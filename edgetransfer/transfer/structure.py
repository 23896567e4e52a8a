"""The structure of a network apart from its widths: a spine of layers, and residual blocks that may come and go.

A residual block whose shortcut is the identity can be left out, or put in with a branch that gives 0, and the network
still makes sense (Veit et al. 2016, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", arXiv
1605.06431). All other layers are the spine: two networks correspond only if their spines do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.keras_graph import KERNELS, KerasGraph, Node


@dataclass(frozen=True, slots=True)
class Unit:
    """A layer with parameters and the batch norm that directly follows it.

    Attributes:
        layers: Names of the two, or of the one.
        what: Classes, stride, and whether a window is more than a pixel; alike in networks of any width.
        shrinks: How many times smaller than the input its result is, as a power of two.
    """

    layers: tuple[str, ...]
    what: tuple[Any, ...]
    shrinks: int


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block with an identity shortcut: the units of its branch, and whether a branch of zeros gives 0."""

    units: tuple[Unit, ...]
    can_be_zero: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """A network's spine, and its residual blocks by how many units of the spine stand before them."""

    spine: tuple[Unit, ...]
    blocks: Mapping[int, tuple[Block, ...]]


@dataclass(frozen=True, slots=True)
class Matched:
    """What of two structures corresponds.

    Attributes:
        pairs: (unit of the source, unit of the target).
        left_out: Units of the source without a counterpart.
        new_blocks: Blocks of the target without one.
        new_units: Units of the target's spine without one.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    left_out: tuple[Unit, ...]
    new_blocks: tuple[Block, ...]
    new_units: tuple[Unit, ...]


def structure_of(graph: KerasGraph) -> Structure:
    """Return the structure of `graph`."""
    branches = _branches(graph)
    inside = {name for branch in branches.values() for name in branch}
    units = _units(graph)
    spine = tuple(unit for unit in units if unit.layers[0] not in inside)
    ancestors = graph.ancestors()
    ends = {node.name: node for node in graph.nodes}
    blocks: dict[int, tuple[Block, ...]] = {}
    for end, branch in branches.items():
        place = sum(unit.layers[0] in ancestors[end] for unit in spine)
        own = tuple(unit for unit in units if unit.layers[0] in branch)
        zero = _keeps_zero([ends[name] for name in branch], own[-1])
        blocks[place] = (*blocks.get(place, ()), Block(own, zero))
    return Structure(spine, blocks)


def match(source: Structure, target: Structure) -> Matched:
    """Return what of the two corresponds: spines unit by unit, residual blocks stage by stage.

    Of a stage that has more blocks in the source, the last ones are left out, for they change least; where the target
    has more, its last ones are new. Spines without blocks may differ in the length of runs of equal units.

    Raises:
        BackboneError: the spines differ; names the first units that do.
    """
    if [unit.what for unit in source.spine] != [unit.what for unit in target.spine]:
        if not source.blocks and not target.blocks:
            return _match_runs(source.spine, target.spine)
        _refuse(source.spine, target.spine)
    pairs = list(zip(source.spine, target.spine, strict=True))
    left_out: list[Unit] = []
    new: list[Block] = []
    for place in sorted({*source.blocks, *target.blocks}):
        theirs, ours = source.blocks.get(place, ()), target.blocks.get(place, ())
        for one, other in zip(theirs, ours, strict=False):
            if [unit.what for unit in one.units] != [unit.what for unit in other.units]:
                _refuse(one.units, other.units)
            pairs += zip(one.units, other.units, strict=True)
        left_out += [unit for block in theirs[len(ours) :] for unit in block.units]
        new += ours[len(theirs) :]
    return Matched(tuple(pairs), tuple(left_out), tuple(new), ())


def _match_runs(source: tuple[Unit, ...], target: tuple[Unit, ...]) -> Matched:
    runs = [
        [list(run) for _, run in groupby(side, lambda unit: (unit.what, unit.shrinks))] for side in (source, target)
    ]
    if [run[0].what for run in runs[0]] != [run[0].what for run in runs[1]]:
        _refuse(source, target)
    pairs: list[tuple[Unit, Unit]] = []
    left_out: list[Unit] = []
    new: list[Unit] = []
    for theirs, ours in zip(*runs, strict=True):
        pairs += zip(theirs, ours, strict=False)
        left_out += theirs[len(ours) :]
        new += ours[len(theirs) :]
    return Matched(tuple(pairs), tuple(left_out), (), tuple(new))


def _refuse(source: tuple[Unit, ...], target: tuple[Unit, ...]) -> None:
    ends = (Unit(("(its end)",), (), 0),)
    for one, other in zip((*source, *ends), (*target, *ends), strict=False):
        if one.what != other.what:
            raise BackboneError(
                f"source layer {one.layers[0]!r} and target layer {other.layers[0]!r}: are the first that differ "
                f"({_said(one)}; {_said(other)}). Channels can be chosen only between networks of one structure, "
                "which differ in width, window, or the number of residual blocks in a stage"
            )


def _said(unit: Unit) -> str:
    return ", ".join(str(part) for part in unit.what) or "nothing"


def _units(graph: KerasGraph) -> list[Unit]:
    norms = graph.norms()
    behind = set(norms.values())
    px = next((graph.shapes[node.gives[0]][1] for node in graph.nodes if not node.takes), None)
    found = []
    for node in graph.nodes:
        if not getattr(node.op, "weights", None) or node.name in behind:
            continue
        layers = (node.name, norms[node.name]) if node.name in norms else (node.name,)
        shape = graph.shapes[node.gives[0]]
        shrinks = round(math.log2(px / shape[1])) if px and len(shape) == 4 and shape[1] else 0
        found.append(Unit(layers, _what(node, normed=len(layers) == 2), shrinks))
    return found


def _what(node: Node, *, normed: bool) -> tuple[Any, ...]:
    if node.kind not in KERNELS:
        return (node.kind,)
    window = "1 px" if max(getattr(node.op, "kernel_size", (1,))) == 1 else "window"
    stride = max(getattr(node.op, "strides", (1,)))
    norm = "batch norm" if normed else "no batch norm"
    return (node.kind, window, f"stride {stride}", norm, "bias" if node.op.use_bias else "no bias")


def _branches(graph: KerasGraph) -> dict[str, list[str]]:
    """Return the names of the nodes in the branch of each residual block, by its addition."""
    children, ancestors = graph.children(), graph.ancestors()
    weighted = {node.name for node in graph.nodes if getattr(node.op, "weights", None)}
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        above = graph.parents[node.name]
        if node.kind != "Add" or len(above) != 2:
            continue
        for start, end in (above, above[::-1]):
            if start not in ancestors[end]:
                continue
            branch = [one.name for one in graph.nodes if start in ancestors[one.name] and one.name in ancestors[end]]
            branch.append(end)
            closed = all(
                set(graph.parents[name]) <= {start, *branch} and set(children[name]) <= {node.name, *branch}
                for name in branch
            )
            if closed and weighted & set(branch):
                for inner in [name for name in found if name in branch]:
                    del found[inner]  # a block inside of a block comes and goes with it
                found[node.name] = branch
    return found


def _keeps_zero(branch: list[Node], last: Unit) -> bool:
    """Say whether what stands behind the last unit of a branch gives 0 of 0."""
    at = max(place for place, node in enumerate(branch) if node.name in last.layers)
    return all(node.kind in ("ReLU", "Dropout", "Multiply", "Identity") for node in branch[at + 1 :])
