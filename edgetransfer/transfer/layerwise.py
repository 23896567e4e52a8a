"""Computes a network layer by layer on all images, so that each layer can be looked at, and changed, in its turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.transfer.keras_graph import KerasGraph, Node


class LayerwiseRun:
    """A network and the images that go through it; a tensor is kept until the last node that takes it is computed.

    For each node of the graph in its order: look at what it takes, `compute` it, look at what it gives.
    """

    def __init__(self, graph: KerasGraph, batches: Sequence[NDArray[np.float32]]) -> None:
        """Begin with nothing computed.

        Args:
            graph: The network.
            batches: (n, H, W, channels) float32 normalised images, which its one input takes.
        """
        self._batches = batches
        self._values: dict[int, list[Any]] = {}
        self._last = {tensor: node.name for node in graph.nodes for tensor in node.takes}

    def compute(self, node: Node) -> None:
        """Compute `node` with the weights that it has now, as at inference."""
        if node.kind == "InputLayer":
            self._values[node.gives[0]] = list(self._batches)
            return
        given: list[list[Any]] = [[] for _ in node.gives]
        done = {tensor for tensor in node.takes if self._last[tensor] == node.name}
        for number in range(len(self._batches)):
            found = node.call([self._values[tensor][number] for tensor in node.takes])
            for some, one in zip(given, found if isinstance(found, list | tuple) else [found], strict=True):
                some.append(one)
            for tensor in done:
                self._values[tensor][number] = None  # now, not after the last batch: that would hold both in full
        for tensor in done:
            del self._values[tensor]
        self._values.update(zip(node.gives, given, strict=True))

    def at(self, tensor: int, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (images x places, channels) of a tensor, at `places` (images, places) of its flattened map."""
        return _gathered(self._values[tensor], places)

    def windows_at(self, node: Node, places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (images x places, window x channels) of what a kernel layer makes each of `places` of its map from."""
        return _gathered((_windows(node.op, value) for value in self._values[node.takes[0]]), places)


def images_within(graph: KerasGraph, most_bytes: int, least: int) -> int:
    """Return of how many images the network's largest tensor fits into `most_bytes`, in float32; at least `least`."""
    largest = max(int(np.prod([size or 1 for size in shape], dtype=np.int64)) for shape in graph.shapes.values())
    return max(least, most_bytes // (4 * largest))


def _windows(layer: Any, value: Any) -> Any:
    """Return (n, h, w, window x channels in): what each place of a kernel layer's result is made of."""
    import tensorflow as tf

    if type(layer).__name__ == "Dense" or (layer.kernel_size == (1, 1) and layer.strides == (1, 1)):
        return value
    sizes, strides, rates = ((1, *some, 1) for some in (layer.kernel_size, layer.strides, layer.dilation_rate))
    return tf.image.extract_patches(value, sizes, strides, rates, layer.padding.upper())


def _gathered(values: Iterable[Any], places: NDArray[np.int64]) -> NDArray[np.float64]:
    found, begin = [], 0
    for value in values:
        table = np.asarray(value)
        flat = table.reshape(len(table), -1, table.shape[-1])
        rows = places[begin : begin + len(table)]
        found.append(np.take_along_axis(flat, rows[..., None], axis=1).reshape(-1, table.shape[-1]))
        begin += len(table)
    return np.concatenate(found).astype(np.float64)
