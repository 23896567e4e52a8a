"""Where a Keras model can be cut to give features, and what of its front can be taken out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BackboneError
from edgetransfer.models.backbones._graph import absorb_offset
from edgetransfer.models.layers import is_linear
from edgetransfer.spec.preprocess import Normalisation

_LISTED = 12
_WHOLE = 1e-3  # how near a zero point must be to a whole grey level to be one: far below what 8 bits can tell


@dataclass(frozen=True, slots=True)
class Graph:
    """Which op of a functional model takes what from which, by name."""

    ops: Mapping[str, Any]
    parents: Mapping[str, frozenset[str]]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: Any) -> Graph:
        """Return the graph of the functional `model`, nested models being one op each."""
        config = model.get_config()
        parents = {layer["name"]: frozenset(_links(layer["inbound_nodes"])) for layer in config["layers"]}
        outputs = tuple(_ends(config["output_layers"]))
        return cls({op.name: op for op in model.operations}, parents, outputs)

    def children(self, name: str) -> list[str]:
        """Return the ops that take something from `name`."""
        return [child for child, parents in self.parents.items() if name in parents]

    def only_child(self, name: str) -> str | None:
        """Return the op that takes all that `name` gives and nothing else, if there is one."""
        found = self.children(name)
        if len(found) != 1 or len(self.parents[found[0]]) != 1 or name in self.outputs:
            return None
        return found[0]

    def ancestors(self, name: str, *, without: str = "") -> set[str]:
        """Return the ops that `name` depends on, itself included, on ways that do not pass through `without`."""
        found, waiting = set(), [name]
        while waiting:
            here = waiting.pop()
            if here not in found and here != without:
                found.add(here)
                waiting += self.parents[here]
        return found

    @property
    def inputs(self) -> set[str]:
        """The ops that take nothing."""
        return {name for name, parents in self.parents.items() if not parents}

    def passes_all(self, name: str) -> bool:
        """Say whether every way from the input to the outputs behind `name` leads through it."""
        behind = [end for end in self.outputs if name in self.ancestors(end)]
        return bool(behind) and not any(self.ancestors(end, without=name) & self.inputs for end in behind)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before a model's first real layer: names to leave out, and the normalisation they amount to.

    `rescaling` says that there is a Rescaling layer, lifted or not.
    """

    skipped: frozenset[str]
    normalisation: Normalisation | None
    rescaling: bool


def cut_at_pooling(model: Any, where: str) -> Any:
    """Return the part of the functional `model` up to its last pooling over the whole map, as (None, D) features.

    Every way to an output behind it must lead through that pooling; so the pooling of a squeeze-excite block is
    not taken for it.

    Raises:
        BackboneError: there is none; lists the last layers.
    """
    import keras

    graph = Graph.of(model)
    for op in reversed(model.operations):
        if not graph.passes_all(op.name):
            continue
        kind = _pooling_kind(op)
        if kind is not None:
            pool = keras.layers.GlobalMaxPooling2D if kind == "max" else keras.layers.GlobalAveragePooling2D
            # Built anew: it flattens, whatever the old one did, and has the same name in every backbone.
            return keras.Model(model.inputs[0], pool(name="features")(op.input), name="backbone")
        if isinstance(op, keras.Model) and _ends_in_pooling(op):
            # Not op.output: of a nested model that is its own output, not what it gives here.
            return keras.Model(model.inputs[0], op._inbound_nodes[-1].output_tensors[0], name="backbone")
    listed = ", ".join(f"{op.name} ({type(op).__name__})" for op in model.operations[-_LISTED:])
    raise BackboneError(
        f"{where}: expected a GlobalAveragePooling2D or GlobalMaxPooling2D layer (or an AveragePooling2D over the "
        f"whole map) that everything passes through; its last layers are {listed}. Save a model that ends "
        "in such a layer: keras.Model(model.input, keras.layers.GlobalAveragePooling2D()(LAST_CONVOLUTION.output))"
    )


def lift_front(graph: Graph, model: Any, *, lift: bool) -> Front:
    """Return what can be left out between the input of `model` and its first real layer.

    These are layers that only augment and, with `lift`, one Rescaling whose scale and offset are numbers. If its zero
    point is not whole, the rest goes into the convolution that follows, which changes `model`'s weights.
    """
    skipped: set[str] = set()
    name = graph.only_child(next(iter(graph.inputs)))
    rescaling, normalisation = False, None
    while name is not None:
        kind = type(graph.ops[name]).__name__
        if kind == "Rescaling" and not rescaling:
            rescaling = True
            normalisation = _lifted(graph, name) if lift else None
            if normalisation is None:
                break
        elif not _augments(graph.ops[name]):
            break
        skipped.add(name)
        name = graph.only_child(name)
    return Front(frozenset(skipped), normalisation, rescaling)


def _augments(op: Any) -> bool:
    """Say whether `op` only varies images in training: keras.layers.Random..., or a nested model of such."""
    if hasattr(op, "layers"):
        return all(_augments(inner) for inner in _inner(op) if type(inner).__name__ != "InputLayer")
    kind = type(op).__name__
    return kind.startswith("Random") or kind == "GaussianNoise"


def _lifted(graph: Graph, name: str) -> Normalisation | None:
    """Return the normalisation that the Rescaling `name` is, or None if no whole zero point can stand for it."""
    layer = graph.ops[name]
    try:
        scale, offset = float(layer.scale), float(layer.offset)
    except (TypeError, ValueError):  # one number a channel
        return None
    if not 0 < scale < float("inf") or not -0.5 <= -offset / scale <= 255.5:
        return None
    exact = -offset / scale
    if abs(exact - round(exact)) <= _WHOLE:
        return Normalisation(scale, round(exact))
    whole = int(exact)
    return Normalisation(scale, whole) if _absorbed(graph, name, scale * (whole - exact)) else None


def _absorbed(graph: Graph, name: str, offset: float) -> bool:
    """Move `offset` into the convolution after `name`; say whether that was possible."""
    follower = graph.only_child(name)
    while follower is not None and (kind := type(graph.ops[follower]).__name__) in ("ZeroPadding2D", "Activation"):
        if kind == "Activation" and not is_linear(graph.ops[follower]):
            return False
        follower = graph.only_child(follower)
    if follower is None or type(graph.ops[follower]).__name__ not in ("Conv2D", "DepthwiseConv2D"):
        return False
    convolution = graph.ops[follower]
    if convolution.use_bias:
        absorb_offset(convolution, None, offset)
        return True
    after = graph.only_child(follower)
    if after is None or not is_linear(convolution) or type(graph.ops[after]).__name__ != "BatchNormalization":
        return False
    absorb_offset(convolution, graph.ops[after], offset)
    return True


def _pooling_kind(op: Any) -> str | None:
    """Return "average" or "max" if `op` pools the whole map, else None."""
    kind = type(op).__name__
    if kind not in ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "AveragePooling2D"):
        return None
    if op.data_format != "channels_last":
        return None
    if kind == "AveragePooling2D" and tuple(op.pool_size) != tuple(op.input.shape[1:3]):
        return None
    return "max" if kind == "GlobalMaxPooling2D" else "average"


def _ends_in_pooling(model: Any) -> bool:
    """Say whether the nested `model` gives (None, D) straight from a pooling of the whole map."""
    import keras

    if len(model.outputs) != 1 or len(model.output.shape) != 2:
        return False
    last = _inner(model)[-1]
    return _pooling_kind(last) is not None or (isinstance(last, keras.Model) and _ends_in_pooling(last))


def _inner(model: Any) -> list[Any]:
    """Return the ops of a nested `model`, the one that gives its output last; a Sequential has only layers."""
    return list(getattr(model, "operations", None) or model.layers)


def _links(part: Any) -> Iterator[str]:
    """Yield the names of the ops whose results stand in `part` of a Keras configuration."""
    if isinstance(part, dict):
        history = part.get("keras_history")
        if history is not None:
            yield str(history[0])
        for value in part.values():
            yield from _links(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _links(value)


def _ends(part: Any) -> Iterator[str]:
    """Yield the names in a configuration's output_layers: [name, 0, 0], or a list or dict of such."""
    if isinstance(part, list | tuple) and part and isinstance(part[0], str):
        yield part[0]
    elif isinstance(part, dict):
        for value in part.values():
            yield from _ends(value)
    else:
        for value in part:
            yield from _ends(value)
