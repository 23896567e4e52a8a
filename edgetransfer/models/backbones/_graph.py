"""Small repairs of a built Keras graph: names that are the same everywhere, constants moved into weights."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgetransfer.models.layers import flat_layers

Shape = tuple[int | None, ...]

# What TensorFlow takes as the name of a scope at the root; a name with a leading "_" fails in the SavedModel step.
_SCOPE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*")


def settle_automatic_names(model: Any) -> None:
    """Rename the layers and ops that Keras named by a counter of the process, such as "re_lu_12".

    The counter starts anew in `model`, so that the names do not depend on what was built before.
    """
    taken = {op.name for op in model.operations}
    counts: dict[str, int] = {}
    for op in model.operations:
        word = _snake_case(type(op).__name__)
        if not re.fullmatch(rf"{word}(_\d+)?", op.name):
            continue
        while True:
            counts[word] = counts.get(word, -1) + 1
            name = f"{word}{counts[word]}"  # without "_": never again an automatic name
            if name not in taken:
                break
        taken.add(name)
        op.name = name


def scope_name(name: str) -> str:
    """Return `name` with what TensorFlow refuses in it replaced."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return cleaned if _SCOPE_NAME.fullmatch(cleaned) else f"layer{cleaned}"


def absorb_offset(convolution: Any, batch_norm: Any | None, offset: float) -> None:
    """Change the weights so that `convolution` of x gives what it gave of x + `offset`.

    The change goes into the convolution's bias or, if it has none, into the moving mean of the batch norm that
    follows it. It is exact wherever the kernel lies inside the image. Where it hangs over the edge, padding with
    zeros now means x = 0, not x + offset = 0: at these positions the result is off by `offset` times the sum of
    the overhanging weights.
    """
    kernel = np.asarray(convolution.kernel, np.float64)
    # A depthwise kernel is (h, w, channels, multiplier), any other (h, w, channels in, channels out).
    depthwise = type(convolution).__name__ == "DepthwiseConv2D"
    added = offset * (kernel.sum(axis=(0, 1)).reshape(-1) if depthwise else kernel.sum(axis=(0, 1, 2)))
    if convolution.use_bias:
        convolution.bias.assign(np.asarray(convolution.bias, np.float64) + added)
    elif batch_norm is not None:
        batch_norm.moving_mean.assign(np.asarray(batch_norm.moving_mean, np.float64) - added)
    else:
        raise ValueError(f"{convolution.name} has neither a bias nor a batch norm after it")


def multiply_adds(model: Any) -> int:
    """Return the multiply-adds of one image in `model`'s convolutions and dense layers, nested models' too."""
    layers = list(_computing_layers(model))
    # A layer may be shared by several graphs: its last call is the one in this graph.
    shapes = {id(layer): _shapes(layer, layer._inbound_nodes[-1].input_tensors[0].shape) for layer in layers}
    if any(None in (*before[1:], *after[1:]) for before, after in shapes.values()):
        shapes = _measured_shapes(model, layers)
    total = 0
    for layer in layers:
        before, after = shapes[id(layer)]
        positions = (before if type(layer).__name__ == "Conv2DTranspose" else after)[1:-1]
        kernels = sum(int(np.prod(weight.shape)) for weight in layer.weights if "kernel" in weight.name)
        total += math.prod(size or 0 for size in positions) * kernels
    return total


def _computing_layers(model: Any) -> Iterator[Any]:
    for layer in flat_layers(model):
        if type(layer).__name__ in (
            "Conv1D",
            "Conv2D",
            "DepthwiseConv2D",
            "SeparableConv2D",
            "Conv2DTranspose",
            "Dense",
        ):
            yield layer


def _shapes(layer: Any, before: Shape) -> tuple[Shape, Shape]:
    return tuple(before), tuple(layer.compute_output_shape(tuple(before)))


def _measured_shapes(model: Any, layers: list[Any]) -> dict[int, tuple[Shape, Shape]]:
    """Return each layer's input and output shape, seen on a black image: nested models of any size hide theirs."""
    seen: dict[int, tuple[Shape, Shape]] = {}

    def watch(layer: Any) -> None:
        original = layer.call

        def call(x: Any, *arguments: Any, **options: Any) -> Any:
            seen[id(layer)] = _shapes(layer, x.shape)
            return original(x, *arguments, **options)

        layer.call = call

    for layer in layers:
        watch(layer)
    try:
        model(np.zeros((1, *model.input.shape[1:]), np.float32))
    finally:
        for layer in layers:
            del layer.call  # the class's own shows again
    return seen


def _snake_case(name: str) -> str:
    # As Keras makes it: ReLU is "re_lu", Conv2D is "conv2d", GlobalAveragePooling2D "global_average_pooling2d".
    return re.sub(
        r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    ).lower()
