"""Moves a backbone of RGB to a camera of 1 or of 4 channels: its first convolutions are adapted, all else is kept.

To grey, the kernels of red, green and blue are added up: that is exactly what the network computed of a grey picture
given three times over, so not even the batch norms behind notice. To a fourth channel, those of RGB stay as they are:
with the fourth at "zero" the network computes what it did, and tuning finds out what the new channel is worth; "mean"
starts it at the mean of the three, which changes every feature at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError
from edgetransfer.models.backbones._cut import Graph
from edgetransfer.transfer.surgery import Changed

Fourth = Literal["zero", "mean"]
FOURTHS: tuple[Fourth, ...] = get_args(Fourth)
_ALIKE = ("ZeroPadding2D", "Rescaling", "Activation", "ReLU", "Dropout", "Identity", "Resizing",
          "CenterCrop", "MaxPooling2D", "AveragePooling2D", "GaussianNoise")  # fmt: skip
"""Layers that do the same with every channel, each for itself, unless they have a number for each."""


def with_channels(model: Any, channels: int, *, fourth: Fourth = "zero") -> Changed:
    """Return `model` for images of 1 or 4 channels in the place of 3, and the names of the convolutions adapted.

    All layers are copies: where two models share a layer, what its output is can no longer be told.

    Args:
        model: A functional Keras model of one input (None, height, width, 3).
        channels: 1 or 4.
        fourth: Kernel of the fourth channel: 0, or the mean of the other three.

    Raises:
        BackboneError: it has not three channels, or something in front of its first convolutions treats colours
            differently: says which layer, and what to do.
    """
    import keras

    where = f"model {model.name!r}"
    if channels not in (1, 4):
        raise BackboneError(f"{where}: its stem can be adapted to 1 or 4 channels, got {channels}")
    if fourth not in FOURTHS:
        raise BackboneError(f"fourth: expected one of {FOURTHS}, got {fourth!r}")
    has = model.inputs[0].shape[-1]
    if has != 3:
        raise BackboneError(f"{where}: expected 3 channels (RGB) to start from, got {has}")
    walk = _Walk(channels, fourth, where)
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        made = walk.rebuilt(copy, "pixels")
    except BackboneError:
        raise
    except ValueError as trouble:
        line = str(trouble).strip().splitlines()[0]
        raise BackboneError(f"{where}: cannot take {channels} channels: {line}") from trouble
    if not walk.adapted:
        raise BackboneError(f"{where}: expected a convolution that the image goes into, found none")
    return Changed(made, tuple(walk.adapted))


class _Walk:
    """One walk through a model and the models inside of it, with other layers in the place of its stem."""

    def __init__(self, channels: int, fourth: Fourth, where: str) -> None:
        self.adapted: list[str] = []
        self._channels, self._fourth, self._where = channels, fourth, where

    def rebuilt(self, model: Any, input_name: str | None = None) -> Any:
        """Return `model` on an input of the new channels.

        Raises:
            BackboneError: see `with_channels`.
        """
        import keras

        model = _functional(model)
        stems, _ = self._stems(model)

        def call(op: Any, *arguments: Any, **options: Any) -> Any:
            if op.name not in stems:
                return op(*arguments, **options)
            taking = self.rebuilt(op) if hasattr(op, "layers") else self._adapted(op)
            return taking(arguments[0])

        given = keras.Input((*model.inputs[0].shape[1:3], self._channels), name=input_name)
        return keras.models.clone_model(
            model, input_tensors=given, clone_function=lambda layer: layer, call_function=call
        )

    def _stems(self, model: Any) -> tuple[set[str], bool]:
        """Return the names of the ops that must be others for other channels, and whether raw channels come out."""
        graph = Graph.of(model)
        found, seen, waiting = set(), set(graph.inputs), list(_behind(graph, graph.inputs))
        while waiting:
            name = waiting.pop()
            op = graph.ops[name]
            kind = type(op).__name__
            passes = False
            if hasattr(op, "layers"):
                found.add(name)
                passes = self._stems(_functional(op))[1]
            elif kind == "Conv2D" and op.groups == 1 and op.data_format == "channels_last":
                found.add(name)
            elif kind == "Normalization" and _one_number(op.mean) and _one_number(op.variance):
                found.add(name)
                passes = True
            elif kind in _ALIKE and self._same_for_all(op):
                passes = True
            else:
                raise BackboneError(self._refusal(name, kind))
            if passes:
                seen.add(name)
                waiting += _behind(graph, {name})
        return found, bool(seen & set(graph.outputs))

    def _same_for_all(self, op: Any) -> bool:
        if type(op).__name__ == "Rescaling":
            return _one_number(op.scale) and _one_number(op.offset)
        activation = getattr(getattr(op, "activation", None), "__name__", "linear")
        return getattr(op, "data_format", "channels_last") == "channels_last" and "softmax" not in activation

    def _refusal(self, name: str, kind: str) -> str:
        if kind in ("Rescaling", "Normalization", "BatchNormalization"):
            return (
                f"{self._where}: layer {name!r} ({kind}) in front of the first convolution has a number for each "
                "colour, which other channels have none of. Save the model without it, its numbers folded into that "
                "convolution's kernel and bias, and say with --normalise SCALE,ZERO_POINT what is left"
            )
        return (
            f"{self._where}: layer {name!r} ({kind}) takes the image; only a Conv2D over all channels can be adapted, "
            f"and before it what treats all of them alike ({', '.join(_ALIKE)})"
        )

    def _adapted(self, op: Any) -> Any:
        """Return the layer that takes the place of `op`."""
        import keras

        if type(op).__name__ == "Normalization":
            deviation = max(float(np.sqrt(np.ravel(op.variance)[0])), keras.backend.epsilon())
            mean = float(np.ravel(op.mean)[0])
            return keras.layers.Rescaling(1 / deviation, -mean / deviation, name=op.name)
        self.adapted.append(op.name)
        layer = type(op).from_config(op.get_config())
        layer.build((None, None, None, self._channels))
        kernel = adapted_kernel(np.asarray(op.kernel), self._channels, self._fourth)
        layer.set_weights([kernel, *(np.asarray(weight) for weight in op.weights[1:])])
        layer.trainable = op.trainable
        return layer


def adapted_kernel(kernel: NDArray[np.float32], channels: int, fourth: Fourth) -> NDArray[np.float32]:
    """Return a kernel (h, w, 3, out) of RGB as one of (h, w, channels, out) float32."""
    exact = kernel.astype(np.float64)
    adapted = exact.sum(axis=2, keepdims=True)
    if channels == 4:
        added = exact.mean(axis=2, keepdims=True) * (fourth == "mean")
        adapted = np.concatenate([exact, added], axis=2)
    return np.asarray(adapted, np.float32)


def _functional(model: Any) -> Any:
    """Return a Sequential `model` as the functional one that it is."""
    import keras

    sequential = isinstance(model, keras.Sequential)
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name) if sequential else model


def _behind(graph: Graph, names: set[str]) -> Iterator[str]:
    return (child for name in names for child in graph.children(name))


def _one_number(value: Any) -> bool:
    """Say whether all channels have the same number."""
    numbers = np.ravel(np.asarray(value, np.float64))
    return bool((numbers == numbers[0]).all())
