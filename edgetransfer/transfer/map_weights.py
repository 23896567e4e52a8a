"""Puts the parameters of a source of any framework into a network of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.transfer.alignment import Pair, Rename, align
from edgetransfer.transfer.keras_graph import KerasGraph, layers_of_graph
from edgetransfer.transfer.mapping import MappedTensor, WeightMapping
from edgetransfer.transfer.norms import Norm, identity, norms_by_order, read_norm, scaled
from edgetransfer.transfer.source import Role, SourceLayer, SourceModel, SourceTensor

_EPSILONS = {"PyTorch": 1e-5, "Keras": 1e-3, "TensorFlow": 1e-3}
# The defaults of torch.nn.BatchNorm2d and of keras.layers.BatchNormalization.
_NORM_FIELDS: dict[Role, str] = {
    "gamma": "gamma",
    "beta": "beta",
    "moving_mean": "mean",
    "moving_variance": "variance",
}


def map_weights(
    source: SourceModel,
    graph: KerasGraph,
    name: str,
    *,
    renames: Sequence[Rename] = (),
    source_norms: Mapping[str, str] | None = None,
) -> WeightMapping:
    """Return where each parameter of a network comes from in `source`, and its numbers; changes nothing.

    Args:
        source: Of the same architecture, from any framework; it may have more layers, such as a classifier.
        graph: Of the target.
        name: What the target is called.
        renames: Rules that turn the source's names of layers into the target's.
        source_norms: Which batch norm follows which kernel layer in the source; None: as their order tells.

    Raises:
        WeightsError: layers do not correspond, more than one correspondence is possible, or a bias or norm of the
            source has no place in the target.
    """
    target = layers_of_graph(graph)
    pairs = align(source.parts, target, graph.ancestors(), renames)
    if not pairs:
        raise WeightsError(f"source {source.name!r}: none of its layers corresponds to one of {name!r}")
    norms = norms_by_order(source.parts) if source_norms is None else source_norms
    work = _Work(source, {layer.name: layer for layer in target}, pairs, dict(norms), graph.norms())
    _check_flattened(graph, work)
    found = {one.target: one for layer in target for one in work.layer(layer)}
    tensors = tuple(found[tensor.name] for layer in target for tensor in layer.tensors)
    used = {one for tensor in tensors for one in tensor.sources}
    left = (tensor for tensor in source.tensors if tensor.name not in used)
    unused = tuple(tensor.name for tensor in left if tensor.mappable or tensor.size > 1)  # no counters
    whole = all(one.found != "initialised" for one in tensors)
    return WeightMapping(source.name, name, tensors, unused, tuple(work.notes), same=whole)


class _Work:
    """The layers of both sides by name, and what corresponds to what."""

    def __init__(
        self,
        source: SourceModel,
        target: Mapping[str, SourceLayer],
        pairs: Sequence[Pair],
        source_norms: Mapping[str, str],
        target_norms: Mapping[str, str],
    ) -> None:
        self.framework, self.source, self.target = source.framework.split(" ")[0], source.layers(), target
        self.pairs = {pair.target: pair for pair in pairs}
        self._source_norms, self._target_norms = source_norms, target_norms
        self._kernel_of = {norm: kernel for kernel, norm in target_norms.items()}
        self.notes: list[str] = []

    def layer(self, layer: SourceLayer) -> list[MappedTensor]:
        """Return the new parameters of a layer of the target."""
        pair, kernel = self.pairs.get(layer.name), self._kernel_of.get(layer.name)
        if _is_norm(layer) and (pair is not None or kernel in self.pairs):
            return self._norm(layer, pair, kernel)
        if pair is None:
            return [MappedTensor(one.name, one.shape, (), "initialised", share=0.0) for one in layer.tensors]
        return self._kernel(layer, pair)

    # === Layers with a kernel ===

    def _kernel(self, layer: SourceLayer, pair: Pair) -> list[MappedTensor]:
        origin = self.source[pair.source]
        norm = self._folded_norm(layer, origin)
        bias = self._bias(layer, origin, norm)
        found = []
        used: set[str] = set()
        for tensor in layer.tensors:
            if tensor.role == "bias":
                found.append(MappedTensor(tensor.name, tensor.shape, bias[1], pair.how, bias[2], bias[0]))
                continue
            given = self._alike(tensor, origin, used)
            if given is None:
                found.append(MappedTensor(tensor.name, tensor.shape, (), "initialised", share=0.0))
                continue
            values, done = given.values(tensor.layout), _converted(given, tensor)
            sources: tuple[str, ...] = (given.name,)
            if norm is not None and _makes_channels(layer, tensor):
                values = scaled(values, tensor.layout, norm[0].scale)
                sources += tuple(one.name for one in norm[1].tensors if one.role in ("gamma", "moving_variance"))
                done += (f"batch norm {norm[1].name!r} folded in",)
            found.append(MappedTensor(tensor.name, tensor.shape, sources, pair.how, done, values))
        return found

    def _alike(self, tensor: SourceTensor, origin: SourceLayer, used: set[str]) -> SourceTensor | None:
        """Return the source's parameter of the same role; a dense kernel is a convolution's of 1 x 1 pixel."""
        roles = {"kernel", "dense_kernel"} if tensor.role in ("kernel", "dense_kernel") else {tensor.role}
        for one in origin.tensors:
            if one.role in roles and one.mappable and one.name not in used:
                used.add(one.name)
                return one
        return None

    def _folded_norm(self, layer: SourceLayer, origin: SourceLayer) -> tuple[Norm, SourceLayer] | None:
        """Return the source's norm behind `origin` where the target has none behind `layer`."""
        name = self._source_norms.get(origin.name)
        if name is None or layer.name in self._target_norms or any(p.source == name for p in self.pairs.values()):
            return None
        norm = self.source[name]
        epsilon = _EPSILONS.get(self.framework)
        if norm.epsilon is None and epsilon is None:
            raise WeightsError(
                f"source layer {name!r}: is a batch norm to be folded into {layer.name!r}, but the file does not "
                "say its epsilon; choose a target with batch norms"
            )
        if norm.epsilon is None:
            self._note(f"epsilon of the source's batch norms is not stated: {epsilon:g}, {self.framework}'s default")
        return read_norm(norm, epsilon or 0.0), norm

    def _bias(
        self, layer: SourceLayer, origin: SourceLayer, norm: tuple[Norm, SourceLayer] | None
    ) -> tuple[NDArray[np.float32], tuple[str, ...], tuple[str, ...]]:
        """Return a kernel layer's new bias: numbers, sources, what was done."""
        own, given = layer.tensor("bias"), origin.tensor("bias")
        values = np.zeros(1) if given is None else given.values().astype(np.float64)
        sources: tuple[str, ...] = () if given is None else (given.name,)
        done: tuple[str, ...] = () if sources else ("0, the source has none",)
        if norm is not None:
            values = (values - norm[0].mean) * norm[0].scale + norm[0].beta
            sources += tuple(one.name for one in norm[1].tensors)
            done = (f"batch norm {norm[1].name!r} folded in",)
        if own is None:
            if np.any(values) and layer.name not in self._target_norms:
                what = f"the batch norm {norm[1].name!r}" if norm else f"the bias {sources[0]!r}"
                raise WeightsError(
                    f"target layer {layer.name!r}: has neither a bias nor a batch norm that {what} of the source could "
                    "go into; it is another architecture"
                )
            return np.zeros(0, np.float32), (), ()
        return np.asarray(np.broadcast_to(values, own.shape), np.float32), sources, done

    # === Norms ===

    def _norm(self, layer: SourceLayer, pair: Pair | None, kernel: str | None) -> list[MappedTensor]:
        epsilon = 0.0 if layer.epsilon is None else layer.epsilon
        bias = self._lost_bias(kernel)
        shift = np.zeros(1) if bias is None else bias.values().astype(np.float64)
        origin = self._norm_source(pair, kernel)
        how = pair.how if pair is not None else self.pairs[kernel or ""].how
        if origin is None:
            made = identity(layer.tensors[0].size, epsilon)
            norm = Norm(made.gamma, made.beta + shift, made.mean, made.variance, epsilon)
            done = dict.fromkeys(_NORM_FIELDS, "made up: the source has it folded in")
        else:
            if origin.epsilon is None:
                self._note(f"epsilon of the source's batch norms is not stated: the target's, {epsilon:g}, was taken")
            given = read_norm(origin, epsilon)
            norm = given.with_epsilon(epsilon).after_bias(shift)
            done = {} if given.epsilon == epsilon else {"gamma": f"epsilon {given.epsilon:g} to {epsilon:g}"}
        if bias is not None:
            done["moving_mean" if origin else "beta"] = "takes the bias in front of it"
        self._check_whole(layer, norm, "its kernel" if origin is None else repr(origin.name))
        found = []
        for one in layer.tensors:
            sources = self._norm_sources(one, origin, bias)
            said = (done[one.role],) if one.role in done else ()
            values = np.asarray(getattr(norm, _NORM_FIELDS[one.role]), np.float32)
            found.append(MappedTensor(one.name, one.shape, sources, how, said, values))
        return found

    def _norm_source(self, pair: Pair | None, kernel: str | None) -> SourceLayer | None:
        """Return the source's norm: that which corresponds, else that behind the kernel which does."""
        if pair is not None:
            return self.source[pair.source]
        name = self._source_norms.get(self.pairs[kernel or ""].source)
        free = name is not None and not any(one.source == name for one in self.pairs.values())
        return self.source[name] if name is not None and free else None

    def _norm_sources(
        self, one: SourceTensor, origin: SourceLayer | None, bias: SourceTensor | None
    ) -> tuple[str, ...]:
        given = None if origin is None else origin.tensor(one.role)
        takes_bias = bias is not None and one.role == ("beta" if origin is None else "moving_mean")
        return (() if given is None else (given.name,)) + ((bias.name,) if bias is not None and takes_bias else ())

    def _check_whole(self, layer: SourceLayer, norm: Norm, what: str) -> None:
        """Refuse a target's norm that lacks a part which the source's needs."""
        lacks_gamma = layer.tensor("gamma") is None and not np.allclose(norm.gamma, 1, rtol=1e-4)
        lacks_beta = layer.tensor("beta") is None and bool(np.any(norm.beta))
        if lacks_gamma or lacks_beta:
            raise WeightsError(
                f"target layer {layer.name!r}: is a batch norm without {'gamma' if lacks_gamma else 'beta'}, which "
                f"{what} of the source needs; it is another architecture"
            )

    def _lost_bias(self, kernel: str | None) -> SourceTensor | None:
        """Return the bias of the source's kernel that the target's, in front of a norm, has no place for."""
        if kernel is None or kernel not in self.pairs or self.target[kernel].tensor("bias") is not None:
            return None
        return self.source[self.pairs[kernel].source].tensor("bias")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _is_norm(layer: SourceLayer) -> bool:
    return layer.tensor("moving_mean") is not None


def _makes_channels(layer: SourceLayer, tensor: SourceTensor) -> bool:
    """Say whether the kernel is the one that makes the layer's channels out: the second of a separable convolution."""
    kernels = [one for one in layer.tensors if one.role.endswith("kernel")]
    return bool(kernels) and kernels[-1] is tensor


def _converted(given: SourceTensor, wanted: SourceTensor) -> tuple[str, ...]:
    return () if given.layout == wanted.layout else (f"{given.layout} to {wanted.layout}",)


def _check_flattened(graph: KerasGraph, work: _Work) -> None:
    """Refuse dense layers on flattened maps whose rows another framework counts in another order."""
    kinds: dict[str, Any] = {node.name: node for node in graph.nodes}
    for name, pair in work.pairs.items():
        above = graph.parents.get(name, ())
        if not above or kinds[above[0]].kind != "Flatten":
            continue
        shape = graph.shapes[kinds[above[0]].takes[0]]
        kernel = work.source[pair.source].tensor("dense_kernel")
        if len(shape) == 4 and shape[1:3] != (1, 1) and kernel is not None and kernel.layout == "OI":
            raise WeightsError(
                f"target layer {name!r}: is dense on a flattened map {shape[1:]}, which {work.framework} flattens "
                "channels first; cut both models at their last pooling"
            )
