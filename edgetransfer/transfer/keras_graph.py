"""A functional Keras model as nodes and tensors, nested models unfolded; and its parameters as a source model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.models.layers import is_linear
from edgetransfer.transfer.source import SourceLayer, SourceModel, SourceTensor
from edgetransfer.transfer.sources._keras_layers import PARAMETERS, KerasLayer, as_tensor

KERNELS = ("Conv1D", "Conv2D", "DepthwiseConv2D", "Dense")
"""Classes whose one kernel makes channels of channels; a norm behind one can be folded into it."""


@dataclass(frozen=True, slots=True)
class Node:
    """An op at its one place in the network.

    Attributes:
        name: Its name, after those of the models around it, with "/".
        op: The Keras layer or op.
        takes: Numbers of the tensors that go in.
        gives: Numbers of those that come out.
        call: Computes it: given the values of `takes`, returns those of `gives`, as the op does.
    """

    name: str
    op: Any
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    call: Callable[[Sequence[Any]], Any] = field(repr=False, compare=False)

    @property
    def kind(self) -> str:
        """Its class."""
        return type(self.op).__name__


@dataclass(frozen=True, slots=True)
class KerasGraph:
    """What takes what from which.

    Attributes:
        nodes: In an order in which they can be computed.
        shapes: Shape of each tensor, the batch axis included.
        parents: Names of the nodes that each node takes something from, in the order of its inputs.
        outputs: Names of the nodes that give the model's results.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[int, tuple[int | None, ...]]
    parents: Mapping[str, tuple[str, ...]]
    outputs: frozenset[str]

    @classmethod
    def of(cls, model: Any) -> KerasGraph:
        """Return the graph of the functional `model`.

        Raises:
            BackboneError: a layer with weights stands at several places; such weights belong to no single place.
        """
        shapes: dict[int, tuple[int | None, ...]] = {}
        alias: dict[int, int] = {}
        nodes = list(_walk(model, "", alias, shapes))
        makers = {tensor: node.name for node in nodes for tensor in node.gives}
        parents = {node.name: tuple(makers[tensor] for tensor in node.takes) for node in nodes}
        outputs = frozenset(makers[alias[id(tensor)]] for tensor in model.outputs)
        return cls(tuple(nodes), shapes, parents, outputs)

    def children(self) -> dict[str, list[str]]:
        """Return the names of the nodes that take something from each node."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for parent in dict.fromkeys(self.parents[node.name]):
                found[parent].append(node.name)
        return found

    def ancestors(self) -> dict[str, frozenset[str]]:
        """Return the names of all nodes that each node depends on, without itself."""
        found: dict[str, frozenset[str]] = {}
        for node in self.nodes:
            above = self.parents[node.name]
            found[node.name] = frozenset(above).union(*(found[name] for name in above))
        return found

    def norms(self) -> dict[str, str]:
        """Return the batch norm of each kernel layer that one follows directly, with nothing between, by name."""
        ops = {node.name: node for node in self.nodes}
        found = {}
        for name, children in self.children().items():
            if ops[name].kind not in KERNELS or len(children) != 1 or name in self.outputs:
                continue
            if is_linear(ops[name].op) and ops[children[0]].kind == "BatchNormalization":
                found[name] = children[0]
        return found

    def variables(self) -> dict[str, Any]:
        """Return the Keras variable of each parameter by the name that `source_of` gives it."""
        return {name: variable for node in self.nodes for name, variable in _parameters(node)}


def source_of(graph: KerasGraph, name: str, sha256: str) -> SourceModel:
    """Return the parameters of a model that is in memory; they are read when they are asked for.

    Args:
        graph: Of the model.
        name: What to call it.
        sha256: Of its weights.
    """
    return SourceModel(name, "Keras", "keras_model", Path(name), sha256, layers_of_graph(graph))


def layers_of_graph(graph: KerasGraph) -> tuple[SourceLayer, ...]:
    """Return the layers of `graph` that have parameters, each called "LAYER/WORD", in its order."""
    found = []
    for node in graph.nodes:
        if not getattr(node.op, "weights", None):
            continue
        layer = KerasLayer(node.name, node.kind, node.op.get_config())
        tensors = tuple(_tensor(layer, name, variable) for name, variable in _parameters(node))
        if tensors:
            found.append(SourceLayer(node.name, node.kind, tensors, layer.attributes, layer.epsilon))
    return tuple(found)


def _walk(model: Any, outer: str, alias: dict[int, int], shapes: dict[int, tuple[int | None, ...]]) -> Iterator[Node]:
    inner = getattr(model, "_functional", None) or model  # a Sequential model keeps its graph there
    seen: dict[str, int] = {}
    for depth in sorted(inner._nodes_by_depth, reverse=True):
        for node in inner._nodes_by_depth[depth]:
            op = node.operation
            if outer and type(op).__name__ == "InputLayer":
                continue
            seen[op.name] = seen.get(op.name, 0) + 1
            if seen[op.name] > 1 and getattr(op, "weights", None):
                raise BackboneError(
                    f"layer {op.name!r}: stands at several places of the network, which share its weights; such "
                    "weights cannot be transferred"
                )
            again = "" if seen[op.name] == 1 else f" ({seen[op.name]})"
            takes = tuple(alias[id(tensor)] for tensor in node.input_tensors)
            if hasattr(op, "_nodes_by_depth") or hasattr(op, "_functional"):
                part = getattr(op, "_functional", None) or op
                alias.update((id(own), tensor) for own, tensor in zip(part.inputs, takes, strict=True))
                yield from _walk(op, f"{outer}{op.name}{again}/", alias, shapes)
                alias.update((id(out), alias[id(own)]) for out, own in zip(node.outputs, part.outputs, strict=True))
                continue
            gives = tuple(_number(tensor, alias, shapes) for tensor in node.outputs)
            yield Node(f"{outer}{op.name}{again}", op, takes, gives, partial(_call, node))


def _call(node: Any, given: Sequence[Any]) -> Any:
    """Compute a Keras node on values, with whatever else it was called with when the model was made."""
    values = dict(zip(map(id, node.input_tensors), given, strict=True))
    arguments, options = node.arguments.fill_in(values)
    return node.operation(*arguments, **options)


def _number(tensor: Any, alias: dict[int, int], shapes: dict[int, tuple[int | None, ...]]) -> int:
    number = len(shapes)
    alias[id(tensor)] = number
    shapes[number] = tuple(tensor.shape)
    return number


def _parameters(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield name and variable of each parameter of a layer; of classes that are not known, all its weights."""
    if not getattr(node.op, "weights", None):
        return
    if node.kind not in PARAMETERS:
        for number, variable in enumerate(node.op.weights):
            yield f"{node.name}/{number}", variable
        return
    for parameter in PARAMETERS[node.kind]:
        variable = getattr(node.op, parameter.word, None)
        if variable is not None:
            yield f"{node.name}/{parameter.word}", variable


def _tensor(layer: KerasLayer, name: str, variable: Any) -> SourceTensor:
    word = name.rpartition("/")[2]
    parameter = next((one for one in PARAMETERS.get(layer.kind, ()) if one.word == word), None)
    shape = tuple(int(size) for size in variable.shape)
    read: Callable[[], NDArray[Any]] = partial(np.array, variable)
    return as_tensor(layer, name, parameter, shape, str(variable.dtype), read)
