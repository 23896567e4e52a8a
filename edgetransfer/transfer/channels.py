"""Which channels of a network must be chosen together.

A layer's channels out are the next one's channels in; an addition ties those of all its inputs. So channels come in
groups: who leaves out channel 7 of one tensor of a group leaves it out of all. Groups are found by union of the axes
along the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.transfer.keras_graph import KerasGraph, Node

Axis = tuple[int, ...]
"""The groups that a tensor's channels are made of, one after the other: several after a concatenation."""

_PASSING = {
    "ReLU", "Relu", "Relu6", "LeakyReLU", "ELU", "Activation", "Sigmoid", "HardSigmoid", "HardSwish", "Silu", "Tanh",
    "Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "Identity", "Rescaling", "ZeroPadding2D",
    "Cropping2D", "MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D",
}  # fmt: skip
_TYING = {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "TrueDivide"}


@dataclass(frozen=True, slots=True)
class ChannelGroups:
    """The groups of a network's channels.

    Attributes:
        sizes: Channels of each group.
        fixed: Groups that the outside gives, such as the colours of a pixel: nothing is chosen there.
        takes: Of each node that has parameters the groups of its channels in.
        gives: The same of its channels out.
        kernels: Which of them have a kernel.
    """

    sizes: Mapping[int, int]
    fixed: frozenset[int]
    takes: Mapping[str, Axis]
    gives: Mapping[str, Axis]
    kernels: frozenset[str]

    def makers(self, group: int) -> list[str]:
        """Return the kernel layers that make the channels of `group`, depthwise ones included."""
        return [name for name, axis in self.gives.items() if name in self.kernels and axis == (group,)]


def groups_of(graph: KerasGraph) -> ChannelGroups:
    """Return the groups of channels in `graph`.

    Raises:
        BackboneError: an op does something else with channels than is known here, such as to reshape them; says which.
    """
    work = _Work(graph)
    for node in graph.nodes:
        work.visit(node)
    return work.result()


class _Work:
    """Axes of the tensors seen so far, in a forest of groups."""

    def __init__(self, graph: KerasGraph) -> None:
        self._graph = graph
        self._above: list[int] = []
        self._sizes: list[int] = []
        self._fixed: set[int] = set()
        self._axes: dict[int, Axis] = {}
        self._takes: dict[str, Axis] = {}
        self._gives: dict[str, Axis] = {}

    def visit(self, node: Node) -> None:
        """Find the axis of what `node` gives."""
        handler = self._handler(node)
        if getattr(node.op, "data_format", "channels_last") != "channels_last":
            raise BackboneError(f"layer {node.name!r}: expected channels last, got {node.op.data_format}")
        given = [self._axes[tensor] for tensor in node.takes]
        axis = handler(node, given)
        if getattr(node.op, "weights", None):
            self._takes[node.name], self._gives[node.name] = given[0], axis
        for tensor in node.gives:
            self._axes[tensor] = axis

    def result(self) -> ChannelGroups:
        """Return the groups, each by its lowest number."""

        def settled(axes: Mapping[str, Axis]) -> dict[str, Axis]:
            return {name: tuple(self._root(group) for group in axis) for name, axis in axes.items()}

        sizes = {number: size for number, size in enumerate(self._sizes) if self._root(number) == number}
        fixed = frozenset(self._root(number) for number in self._fixed)
        kernels = frozenset(
            node.name for node in self._graph.nodes if node.name in self._gives and hasattr(node.op, "kernel")
        )
        return ChannelGroups(sizes, fixed, settled(self._takes), settled(self._gives), kernels)

    def _handler(self, node: Node) -> Callable[[Node, list[Axis]], Axis]:
        kind = node.kind
        if kind in _PASSING:
            return lambda _, given: given[0]
        if kind in _TYING:
            return self._tied
        found = {
            "InputLayer": self._input,
            "Conv2D": self._convolution,
            "Dense": self._convolution,
            "DepthwiseConv2D": self._depthwise,
            "BatchNormalization": self._norm,
            "Concatenate": self._concatenated,
            "Reshape": self._reshaped,
            "Flatten": self._reshaped,
        }.get(kind)
        if found is None:
            raise BackboneError(
                f"layer {node.name!r} ({kind}): what it does with channels is not known here, so none can be chosen "
                "around it"
            )
        return found

    def _new(self, size: int) -> int:
        self._above.append(len(self._above))
        self._sizes.append(size)
        return len(self._above) - 1

    def _root(self, number: int) -> int:
        while self._above[number] != number:
            number = self._above[number]
        return number

    def _input(self, node: Node, given: list[Axis]) -> Axis:
        group = self._new(int(self._graph.shapes[node.gives[0]][-1] or 0))
        self._fixed.add(group)
        return (group,)

    def _convolution(self, node: Node, given: list[Axis]) -> Axis:
        if getattr(node.op, "groups", 1) != 1:
            raise BackboneError(
                f"layer {node.name!r}: is a convolution in {node.op.groups} groups, whose channels cannot be chosen "
                "singly"
            )
        return (self._new(int(self._graph.shapes[node.gives[0]][-1] or 0)),)

    def _depthwise(self, node: Node, given: list[Axis]) -> Axis:
        if node.op.depth_multiplier != 1:
            raise BackboneError(
                f"layer {node.name!r}: makes {node.op.depth_multiplier} channels of each; channels can be chosen only "
                "where it makes one"
            )
        return given[0]

    def _norm(self, node: Node, given: list[Axis]) -> Axis:
        axis, rank = node.op.axis, len(self._graph.shapes[node.takes[0]])
        if axis not in (-1, rank - 1):
            raise BackboneError(f"layer {node.name!r}: normalises axis {axis}, expected the last, the channels")
        return given[0]

    def _tied(self, node: Node, given: list[Axis]) -> Axis:
        first = max(given, key=self._width)
        for axis in given:
            if self._width(axis) == 1 != self._width(first):
                continue  # one number for all channels, such as attention over places
            if [self._sizes[group] for group in axis] != [self._sizes[group] for group in first]:
                raise BackboneError(
                    f"layer {node.name!r} ({node.kind}): its inputs are concatenated of "
                    f"{' and '.join('+'.join(str(self._sizes[group]) for group in some) for some in given)} channels, "
                    "whose borders differ; channels cannot be chosen there"
                )
            for one, other in zip(axis, first, strict=True):
                low, high = sorted((self._root(one), self._root(other)))
                self._above[high] = low
                if high in self._fixed:
                    self._fixed.add(low)
        return first

    def _width(self, axis: Axis) -> int:
        return sum(self._sizes[group] for group in axis)

    def _concatenated(self, node: Node, given: list[Axis]) -> Axis:
        rank = len(self._graph.shapes[node.gives[0]])
        if node.op.axis not in (-1, rank - 1):
            raise BackboneError(f"layer {node.name!r}: concatenates axis {node.op.axis}, expected the last")
        return tuple(group for axis in given for group in axis)

    def _reshaped(self, node: Node, given: list[Axis]) -> Axis:
        shapes = [self._graph.shapes[node.takes[0]], self._graph.shapes[node.gives[0]]]
        if any(size != 1 for shape in shapes for size in shape[1:-1]) or shapes[0][-1] != shapes[1][-1]:
            shown: list[Any] = [shape[1:] for shape in shapes]
            raise BackboneError(
                f"layer {node.name!r} ({node.kind}): makes {shown[1]} of {shown[0]}, so that channels and places are "
                "mixed; choose a network that pools before it flattens"
            )
        return given[0]
