"""Lets each layer of a slimmer network give again what its counterpart in the source gives, by least squares.

He, Zhang and Sun 2017, "Channel Pruning for Accelerating Very Deep Neural Networks" (arXiv 1707.06168): where channels
are left out, a layer's kernel is fitted anew to those that stayed, on what the slimmer network really passes to it, so
that no error is handed on that the next layer could still mend. No labels are needed.

Channels that only sums and further kernels take, as between MobileNetV2's blocks, need not be those of the source: any
mix of them can be undone by the next kernel. There the directions are kept that the source varies most in, not the most
important channels (as Ashkboos et al. 2024, "SliceGPT", arXiv 2401.15024, do with transformers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.models.layers import is_linear
from edgetransfer.transfer.channels import Axis, ChannelGroups, groups_of
from edgetransfer.transfer.keras_graph import KerasGraph, Node
from edgetransfer.transfer.layerwise import LayerwiseRun
from edgetransfer.transfer.mapping import Counterpart

Progress = Callable[[int, int], None]
PLACES = 16
"""Places of each image's map that a layer is fitted at, drawn anew for each layer."""
RIDGE = 1e-3
"""Of the least squares, relative to the mean square of what comes in: places of one image are much alike."""
_FITTED = ("Conv2D", "DepthwiseConv2D", "Dense")
_MIXING = ("Conv2D", "Dense")  # take any mix of channels as well as the channels
_PASSING = ("Add", "Dropout", "ZeroPadding2D", "AveragePooling2D", "GlobalAveragePooling2D")  # hand a mix on


def reconstruct(
    graphs: tuple[KerasGraph, KerasGraph],
    counterparts: Mapping[str, Counterpart],
    batches: Sequence[NDArray[np.float32]],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[str, ...]:
    """Fit the target's kernels, layer after layer, to what the source gives; return the names of those fitted.

    What is fitted is a kernel with its bias or its batch norm, whose statistics become those of the images. A layer in
    front of a sum with a shortcut is fitted so that the sum is the source's. Layers without a counterpart, or whose map
    has another size than its counterpart's, stay as they are.

    Args:
        graphs: Of the source and of the target, which take images of one size; the target's weights are changed.
        counterparts: Of the target's layers in the source.
        batches: (n, H, W, channels) float32 normalised images.
        seed: Of the places.
        progress: Called with (done, total): batches that the source has looked at, then layers.
    """
    source, target = graphs
    plan = _plan(source, target, counterparts)
    images = sum(map(len, batches))
    places = {fit.layer.name: _places(fit, images, seed + number) for number, fit in enumerate(plan)}
    tell = _Told(progress, len(batches) + len(plan))
    wanted = _wanted(source, plan, places, batches, tell)
    fits = {fit.layer.name: fit for fit in plan}
    run = LayerwiseRun(target, batches)
    for node in target.nodes:
        fit = fits.get(node.name)
        if fit is not None:
            rows = places[node.name]
            left = wanted[node.name] if fit.shortcut is None else wanted[node.name] - run.at(fit.shortcut, rows)
            _fit(fit, run.windows_at(node, rows), left)
            tell()
        run.compute(node)
    return tuple(fits)


class _Told:
    """Counts, and tells how far it is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def __call__(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A layer of the target that is fitted.

    Attributes:
        layer: It.
        norm: The batch norm right behind it, if there is one.
        shape: Of the map that it gives, the batch axis left out.
        source: The tensor of the source that is to be given again: after the norm, and after the sum.
        channels: Which of its channels, where channels are chosen.
        mixed: The group of channels whose main directions are taken instead; None where channels are.
        shortcut: The target's tensor that is added to it; None where nothing is.
    """

    layer: Node
    norm: Any
    shape: tuple[int | None, ...]
    source: int
    channels: NDArray[np.int64]
    mixed: Axis | None
    shortcut: int | None


# === What is fitted to what ===


def _plan(source: KerasGraph, target: KerasGraph, counterparts: Mapping[str, Counterpart]) -> list[_Fit]:
    """Return what is fitted, in the order in which it is computed."""
    theirs, ours = _Side(source), _Side(target)
    found = []
    for node in target.nodes:
        given = counterparts.get(node.name)
        if given is None or node.kind not in _FITTED:
            continue
        if not (is_linear(node.op) and is_linear(theirs.nodes[given.layer].op)):
            continue  # what reaches the activation inside it cannot be seen
        end, own_end = theirs.end(given.layer), ours.end(node.name)
        norm = None if own_end == node.name else ours.nodes[own_end].op
        total, own_total = theirs.sum_of(end), ours.sum_of(own_end)
        shortcut = None
        if total is not None and own_total is not None:
            shortcut = ours.other(own_total, own_end)
            end, own_end = total.name, own_total.name
        complete = norm is None or (norm.gamma is not None and norm.beta is not None)
        if complete and theirs.shape(end)[1:-1] == ours.shape(own_end)[1:-1]:
            tensor = theirs.nodes[end].gives[0]
            found.append(_Fit(node, norm, ours.shape(own_end)[1:], tensor, given.channels, None, shortcut))
    return _with_mixed(found, source, target, counterparts)


def _with_mixed(
    plan: Sequence[_Fit], source: KerasGraph, target: KerasGraph, counterparts: Mapping[str, Counterpart]
) -> list[_Fit]:
    """Return the plan with main directions instead of channels where the next layers can undo any mix of them."""
    theirs, ours = groups_of(source), groups_of(target)
    fitted = {fit.layer.name for fit in plan}
    kept = {axis for name in counterparts if name not in fitted for axis in _kernel_axes(ours, name)}
    free = _mixable(target, ours) - kept
    found = []
    for fit in plan:
        axis = ours.gives[fit.layer.name]
        given = theirs.gives[counterparts[fit.layer.name].layer]
        cut = sum(theirs.sizes[group] for group in given) > ours.sizes[axis[0]]
        mixed = axis if len(axis) == 1 and axis in free and cut else None
        found.append(replace(fit, mixed=mixed))
    return found


def _kernel_axes(groups: ChannelGroups, name: str) -> tuple[Axis, ...]:
    """Return the axes whose channels the kernel of a layer that is not fitted relies on; none of a norm's."""
    return (groups.takes[name], groups.gives[name]) if name in groups.kernels else ()


def _mixable(graph: KerasGraph, groups: ChannelGroups) -> set[Axis]:
    """Return the groups that nothing but sums and kernels takes, by their axes; all that make them must be so."""
    nodes, children, norms = {node.name: node for node in graph.nodes}, graph.children(), graph.norms()

    def passed_on(name: str) -> bool:
        behind = [nodes[child] for child in children[name]]
        alone = name in graph.outputs or not behind
        return not alone and all(
            node.kind in _MIXING or (node.kind in _PASSING and passed_on(node.name)) for node in behind
        )

    found: dict[Axis, bool] = {}
    for name in groups.kernels:
        axis = groups.gives[name]
        own = nodes[name].kind in _MIXING and is_linear(nodes[name].op) and passed_on(norms.get(name, name))
        found[axis] = found.get(axis, True) and own
    return {axis for axis, free in found.items() if free}


class _Side:
    """One network, asked for what stands behind its layers."""

    def __init__(self, graph: KerasGraph) -> None:
        self._graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self._norms, self._children = graph.norms(), graph.children()
        self._order = {node.name: number for number, node in enumerate(graph.nodes)}

    def end(self, layer: str) -> str:
        """Return the name of the batch norm behind a layer, or its own."""
        return self._norms.get(layer, layer)

    def shape(self, name: str) -> tuple[int | None, ...]:
        """Return the shape of what a node gives."""
        return self._graph.shapes[self.nodes[name].gives[0]]

    def sum_of(self, end: str) -> Node | None:
        """Return the sum of two that alone takes what `end` gives, where `end` is the later of the two."""
        children = self._children[end]
        if len(children) != 1 or end in self._graph.outputs:
            return None
        node, parents = self.nodes[children[0]], self._graph.parents[children[0]]
        later = max(parents, key=self._order.__getitem__)
        return node if node.kind == "Add" and len(set(parents)) == 2 and later == end else None

    def other(self, node: Node, end: str) -> int:
        """Return the tensor that a sum takes beside what `end` gives."""
        return next(tensor for tensor in node.takes if tensor not in self.nodes[end].gives)


def _places(fit: _Fit, images: int, seed: int) -> NDArray[np.int64]:
    """Return (images, places): where in each image's map a layer is looked at; every place of a small map."""
    area = int(np.prod([size or 1 for size in fit.shape[:-1]], dtype=np.int64))
    if area <= PLACES:
        return np.tile(np.arange(area), (images, 1))
    return np.random.default_rng(seed).integers(0, area, (images, PLACES))


# === What the source gives ===


def _wanted(
    source: KerasGraph,
    plan: Sequence[_Fit],
    places: Mapping[str, NDArray[np.int64]],
    batches: Sequence[NDArray[np.float32]],
    tell: _Told,
) -> dict[str, NDArray[np.float64]]:
    """Return of each layer of the plan what it is to give at its places, (images x places, channels)."""
    parts: dict[str, list[NDArray[np.float64]]] = {fit.layer.name: [] for fit in plan}
    begin = 0
    for batch in batches:
        run = LayerwiseRun(source, [batch])
        for node in source.nodes:
            run.compute(node)
            for fit in plan:
                if fit.source in node.gives:
                    rows = run.at(fit.source, places[fit.layer.name][begin : begin + len(batch)])
                    parts[fit.layer.name].append(rows if fit.mixed else rows[:, fit.channels])
        begin += len(batch)
        tell()
    found = {name: np.concatenate(some) for name, some in parts.items()}
    directions = _directions(plan, found)
    return {fit.layer.name: _on(directions, fit, found[fit.layer.name]) for fit in plan}


def _directions(plan: Sequence[_Fit], tables: Mapping[str, NDArray[np.float64]]) -> dict[Axis, NDArray[np.float64]]:
    """Return of each mixed group (source's channels, target's channels): where it varies most, all its layers alike."""
    spread: dict[Axis, NDArray[np.float64]] = {}
    sizes: dict[Axis, int] = {}
    for fit in plan:
        if fit.mixed is not None:
            table = tables[fit.layer.name] - tables[fit.layer.name].mean(axis=0)
            own = table.T @ table
            spread[fit.mixed] = spread.get(fit.mixed, np.zeros_like(own)) + own / max(float(np.trace(own)), 1e-12)
            sizes[fit.mixed] = int(fit.shape[-1] or 0)
    # The eigenvalues rise; the last ones' vectors are the main directions.
    return {axis: np.linalg.eigh(one)[1][:, ::-1][:, : sizes[axis]] for axis, one in spread.items()}


def _on(directions: Mapping[Axis, NDArray[np.float64]], fit: _Fit, table: NDArray[np.float64]) -> NDArray[np.float64]:
    return table if fit.mixed is None else table @ directions[fit.mixed]


# === The fit ===


def _fit(fit: _Fit, given: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    """Set the layer's weights so that it gives `wanted` (rows, channels out) for `given` (rows, window x channels)."""
    layer, norm = fit.layer.op, fit.norm
    shifts = norm is not None or layer.bias is not None
    centre = given.mean(axis=0) if shifts else np.zeros(given.shape[1])
    level = wanted.mean(axis=0) if shifts else np.zeros(wanted.shape[1])
    solve = _depthwise if fit.layer.kind == "DepthwiseConv2D" else _dense
    kernel, mean, variance = solve(given - centre, wanted - level, centre)
    layer.kernel.assign(kernel.reshape(layer.kernel.shape))
    if norm is None:
        if layer.bias is not None:
            layer.bias.assign(level - mean)
        return
    if layer.bias is not None:
        layer.bias.assign(np.zeros(len(level)))
    # gamma undoes the division, so that the norm gives what was fitted and still has the images' true statistics.
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
    norm.gamma.assign(np.sqrt(variance + norm.epsilon))
    norm.beta.assign(level)


Solved = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""A kernel (window x channels in, channels out), and mean and variance of what it gives, (channels out,)."""


def _dense(x: NDArray[np.float64], y: NDArray[np.float64], centre: NDArray[np.float64]) -> Solved:
    """Return the kernel with the least squares of x @ kernel - y, x and y centred."""
    kernel = np.asarray(np.linalg.solve(_ridged(x.T @ x), x.T @ y), np.float64)
    return kernel, centre @ kernel, (x @ kernel).var(axis=0)


def _depthwise(x: NDArray[np.float64], y: NDArray[np.float64], centre: NDArray[np.float64]) -> Solved:
    """Return the same of a kernel that makes each channel of its own window alone: (window, channels)."""
    x = x.reshape(len(x), -1, y.shape[1])
    gram, right = np.einsum("rkc,rlc->ckl", x, x), np.einsum("rkc,rc->ck", x, y)
    kernel = np.linalg.solve(_ridged(gram), right[..., None])[..., 0].T
    mean = (centre.reshape(kernel.shape) * kernel).sum(axis=0)
    return kernel, mean, np.asarray(np.einsum("rkc,kc->rc", x, kernel).var(axis=0))


def _ridged(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Gram matrices (..., n, n) with the ridge on their diagonals."""
    size = gram.shape[-1]
    mean = np.trace(gram, axis1=-2, axis2=-1)[..., None, None] / size
    return np.asarray(gram + (RIDGE * mean + 1e-12) * np.eye(size))
