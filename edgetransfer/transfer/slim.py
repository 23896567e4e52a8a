"""Puts a network's weights into one of the same structure that is narrower or wider, shallower or deeper.

Narrower: of each group of channels the most important are kept, in their order. Wider: channels are repeated, and who
takes them divides by how often, so that the function stays (Chen et al. 2016, "Net2Net", arXiv 1511.05641). A larger
window is cropped about its centre, a smaller one gets zeros around it. Shallower: the last blocks of a stage are left
out. Deeper: what is new begins as the identity where it can, else it is initialised at random, and the report says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.channels import Axis, ChannelGroups, groups_of
from edgetransfer.transfer.importance import Importance, importance_of
from edgetransfer.transfer.keras_graph import KerasGraph, layers_of_graph
from edgetransfer.transfer.mapping import Counterpart, MappedTensor, WeightMapping
from edgetransfer.transfer.new_layers import initial, is_idempotent
from edgetransfer.transfer.source import SourceTensor
from edgetransfer.transfer.structure import Block, Unit, match, structure_of


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which channels of a source group those of a target group are.

    Attributes:
        channels: (n,) int64, of each target channel the source's.
        shares: (n,) float64, 1 divided by how many target channels are that one.
        of: How many channels the source has.
    """

    channels: NDArray[np.int64]
    shares: NDArray[np.float64]
    of: int


def choose(importance: NDArray[np.float64], size: int) -> Chosen:
    """Return `size` channels: the most important, in their order; where more are wanted, copies follow in turn.

    Of equals the first is chosen. Copies begin with the most important channel.
    """
    ranked = np.argsort(-importance, kind="stable")
    if size <= len(importance):
        channels = np.sort(ranked[:size])
    else:
        copies = np.resize(ranked, size - len(importance))
        channels = np.concatenate([np.arange(len(importance)), copies])
    counts = np.bincount(channels, minlength=len(importance))
    return Chosen(channels, 1 / counts[channels], len(importance))


def slim_weights(
    source: KerasGraph, target: KerasGraph, names: tuple[str, str], *, importance: Importance = "l1", seed: int = 0
) -> WeightMapping:
    """Return where each parameter of the target comes from in a source of the same structure, and its numbers.

    Args:
        source: Graph of the source.
        target: Graph of the network to fill.
        names: What the two are called.
        importance: How channels are ranked.
        seed: Of what is initialised at random.

    Raises:
        BackboneError: the structures differ, channels cannot be followed through an op, or importance says nothing.
    """
    work = _Work(source, target, importance, seed)
    found = {one.target: one for one in work.tensors()}
    ordered = tuple(found[tensor.name] for tensor in work.target_tensors)
    used = {name for one in ordered for name in one.sources}
    unused = tuple(tensor.name for tensor in work.source_tensors if tensor.name not in used)
    return WeightMapping(*names, ordered, unused, tuple(work.notes), work.same, work.counterparts())


class _Work:
    """Both networks, what of them corresponds, and the channels that were chosen."""

    def __init__(self, source: KerasGraph, target: KerasGraph, importance: Importance, seed: int) -> None:
        self._target_graph = target
        self._source, self._target = ({one.name: one for one in layers_of_graph(side)} for side in (source, target))
        self._groups = (groups_of(source), groups_of(target))
        self._matched = match(structure_of(source), structure_of(target))
        _check_twins(self._matched.pairs, target.ancestors())
        self._random = np.random.default_rng(seed)
        self._chosen = self._choose(importance_of(source, self._groups[0], importance))
        self.notes: list[str] = self._what_was_chosen()
        self.same = not self._matched.left_out and all(len(one.channels) >= one.of for one in self._chosen.values())

    @property
    def source_tensors(self) -> list[SourceTensor]:
        """The source's parameters in its order."""
        return [tensor for layer in self._source.values() for tensor in layer.tensors]

    @property
    def target_tensors(self) -> list[SourceTensor]:
        """The target's parameters in its order."""
        return [tensor for layer in self._target.values() for tensor in layer.tensors]

    def tensors(self) -> list[MappedTensor]:
        """Return the target's parameters with their new numbers."""
        found = []
        for unit, other in self._matched.pairs:
            for one, two in zip(unit.layers, other.layers, strict=True):
                found += self._layer(one, two)
        for block in self._matched.new_blocks:
            found += self._new_block(block)
        for unit in self._matched.new_units:
            found += self._new_unit(unit)
        return found

    def counterparts(self) -> dict[str, Counterpart]:
        """Return of each target layer that has one its counterpart in the source."""
        gives = self._groups[1].gives
        return {
            two: Counterpart(one, self._on(self._groups[1], gives[two]).channels)
            for unit, other in self._matched.pairs
            for one, two in zip(unit.layers, other.layers, strict=True)
        }

    # === Which channels ===

    def _choose(self, importance: Mapping[int, NDArray[np.float64]]) -> dict[int, Chosen]:
        theirs, ours = self._groups
        origin: dict[int, tuple[int, str]] = {}
        for unit, other in self._matched.pairs:
            for one, two in zip(unit.layers, other.layers, strict=True):
                for axis, own in ((theirs.takes[one], ours.takes[two]), (theirs.gives[one], ours.gives[two])):
                    _assign(origin, axis, own, (one, two))
        return {group: self._choose_one(group, given, importance) for group, (given, _) in origin.items()}

    def _choose_one(self, group: int, given: int, importance: Mapping[int, NDArray[np.float64]]) -> Chosen:
        size, of = self._groups[1].sizes[group], self._groups[0].sizes[given]
        if given in self._groups[0].fixed or group in self._groups[1].fixed:
            if size != of:
                raise BackboneError(f"expected inputs of as many channels, got {of} in the source and {size}")
            return Chosen(np.arange(size), np.ones(size), of)
        return choose(importance[given], size)

    def _what_was_chosen(self) -> list[str]:
        cut = sum(len(one.channels) < one.of for one in self._chosen.values())
        wider = sum(len(one.channels) > one.of for one in self._chosen.values())
        notes = [f"channels: of {len(self._chosen)} groups {cut} were cut and {wider} widened"]
        if self._matched.left_out:
            names = ", ".join(unit.layers[0] for unit in self._matched.left_out)
            notes.append(f"left out of the source, last of their stage: {names}")
        return notes

    def _on(self, groups: ChannelGroups, axis: Axis) -> Chosen:
        """Return what was chosen of a target's axis, which may be made of several groups."""
        parts = [self._chosen[group] for group in axis]
        begins = np.cumsum([0, *(one.of for one in parts)])
        channels = [one.channels + begin for one, begin in zip(parts, begins[:-1], strict=True)]
        return Chosen(np.concatenate(channels), np.concatenate([one.shares for one in parts]), int(begins[-1]))

    # === What corresponds ===

    def _layer(self, source: str, target: str) -> list[MappedTensor]:
        groups, own = self._groups[1], self._target[target]
        into, out = self._on(groups, groups.takes[target]), self._on(groups, groups.gives[target])
        found = []
        for tensor in own.tensors:
            given = self._source[source].tensor(tensor.role)
            if given is None or not tensor.mappable:
                raise BackboneError(
                    f"target parameter {tensor.name!r}: the source layer {source!r} has none that corresponds"
                )
            values, done = given.values().astype(np.float64), []
            if tensor.role.endswith("kernel"):
                values = _cut_kernel(values, tensor, into, out)
                done = _said("in", into) if "I" in tensor.layout else []
            else:
                values = values[out.channels]
            values, window = _windowed(values, tensor)
            if window:
                self.same, done = False, [*done, window]
            done += _said("out", out)
            values = _epsilon(values, tensor, self._source[source], own, out)
            share = _window_share(given.shape, tensor.shape) if window else 1.0
            found.append(
                MappedTensor(
                    tensor.name, tensor.shape, (given.name,), "place", tuple(done), values.astype(np.float32), share
                )
            )
        return found

    # === What is new ===

    def _new_block(self, block: Block) -> list[MappedTensor]:
        found = []
        for unit in block.units:
            last = unit is block.units[-1] and block.can_be_zero
            for name in unit.layers:
                zero = last and name == unit.layers[-1]
                for tensor in self._target[name].tensors:
                    values = initial(tensor, self._random)
                    if zero and (tensor.role in ("gamma", "beta", "bias") or len(unit.layers) == 1):
                        values = np.zeros(tensor.shape, np.float32)
                    words = "a new block, the identity" if block.can_be_zero else "a new block, random"
                    found.append(MappedTensor(tensor.name, tensor.shape, (), "initialised", (words,), values, 0.0))
        self.same &= block.can_be_zero
        return found

    def _new_unit(self, unit: Unit) -> list[MappedTensor]:
        identity = is_idempotent(self._target_graph, unit) and self._inherits(unit)
        self.same &= identity
        found = []
        for name in unit.layers:
            layer = self._target[name]
            for tensor in layer.tensors:
                values = initial(tensor, self._random, identity=identity, epsilon=layer.epsilon or 0.0)
                words = "a new layer, the identity" if identity else "a new layer, random"
                found.append(MappedTensor(tensor.name, tensor.shape, (), "initialised", (words,), values, 0.0))
        return found

    def _inherits(self, unit: Unit) -> bool:
        """Say whether a new unit's channels are those that go into it, one for one."""
        groups = self._groups[1]
        into, out = groups.takes[unit.layers[0]], groups.gives[unit.layers[0]]
        one = self._chosen.get(into[0]) if len(into) == 1 else None
        if one is None or groups.sizes[into[0]] != groups.sizes[out[0]]:
            return False
        # Where the next layer takes other channels of the source than this one gets, a new layer would have to sort.
        return np.array_equal(self._chosen.setdefault(out[0], one).channels, one.channels)


def _check_twins(pairs: Sequence[tuple[Unit, Unit]], ancestors: Mapping[str, frozenset[str]]) -> None:
    """Refuse layers alike in branches side by side, whose order means nothing, unless both networks name them alike."""
    unsure = [other for one, other in pairs if one.layers != other.layers]
    for number, unit in enumerate(unsure):
        for earlier in unsure[:number]:
            names = earlier.layers[0], unit.layers[0]
            apart = names[0] not in ancestors[names[1]] and names[1] not in ancestors[names[0]]
            if apart and (earlier.what, earlier.shrinks) == (unit.what, unit.shrinks):
                raise BackboneError(
                    f"target layers {names[0]!r} and {names[1]!r}: AMBIGUOUS, they are alike and stand in parallel "
                    "branches, so that order does not tell which is which; give them the names that they have in the "
                    "source"
                )


def _assign(origin: dict[int, tuple[int, str]], axis: Axis, own: Axis, layers: tuple[str, str]) -> None:
    if len(axis) != len(own):
        raise BackboneError(
            f"source layer {layers[0]!r} and target layer {layers[1]!r}: channels come from {len(axis)} and {len(own)} "
            "tensors; expected networks of one structure"
        )
    for given, group in zip(axis, own, strict=True):
        known = origin.setdefault(group, (given, layers[1]))
        if known[0] != given:
            raise BackboneError(
                f"target layers {known[1]!r} and {layers[1]!r}: have the same channels, which in the source are apart "
                f"(at {layers[0]!r}); expected networks of one structure"
            )


def _cut_kernel(values: NDArray[np.float64], tensor: SourceTensor, into: Chosen, out: Chosen) -> NDArray[np.float64]:
    """Return a kernel in Keras' layout of the chosen channels; copies that come in are divided by their number."""
    if tensor.role == "depthwise_kernel":
        return values[..., out.channels, :]
    return values[..., into.channels, :][..., out.channels] * into.shares[:, None]


def _windowed(values: NDArray[np.float64], tensor: SourceTensor) -> tuple[NDArray[np.float64], str]:
    """Return a kernel with the target's window, cropped about the centre or with zeros around it; and what was done."""
    if not tensor.role.endswith("kernel") or values.shape == tensor.shape:
        return values, ""
    before = values.shape
    for axis, wanted in enumerate(tensor.shape[:-2]):
        size = values.shape[axis]
        if (size - wanted) % 2:
            raise BackboneError(
                f"target parameter {tensor.name!r}: a window of {wanted} has another centre than the source's of {size}"
            )
        if size > wanted:
            begin = (size - wanted) // 2
            values = np.take(values, np.arange(begin, begin + wanted), axis)
        elif size < wanted:
            around = [(0, 0)] * values.ndim
            around[axis] = ((wanted - size) // 2,) * 2
            values = np.pad(values, around)
    shown = [" x ".join(map(str, shape[:-2])) for shape in (before, tensor.shape)]
    return values, f"window {shown[0]} to {shown[1]} about the centre"


def _window_share(source: tuple[int, ...], target: tuple[int, ...]) -> float:
    """Return what share of the target's window the source's covers."""
    covered = [min(one, other) / other for one, other in zip(source[:-2], target[:-2], strict=True)]
    return float(np.prod(covered))


def _epsilon(
    values: NDArray[np.float64], tensor: SourceTensor, source: Any, target: Any, out: Chosen
) -> NDArray[np.float64]:
    """Return the values of a norm that adds another epsilon than the source's: its gamma takes the difference."""
    if tensor.role != "gamma" or source.epsilon == target.epsilon:
        return values
    variance = source.tensor("moving_variance").values().astype(np.float64)[out.channels]
    return np.asarray(values * np.sqrt((variance + target.epsilon) / (variance + source.epsilon)))


def _said(side: str, chosen: Chosen) -> list[str]:
    count = len(chosen.channels)
    if count < chosen.of:
        return [f"{count} of {chosen.of} channels {side}"]
    return [f"{chosen.of} channels {side} widened to {count}"] if count > chosen.of else []
