"""Folds batch norms into the convolutions before them: a plain Keras model that computes the same.

So does the converter when it exports; a network whose weights are to be seen as the device will have them needs it
before training (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", arXiv 1712.05877, section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError

_FOLDABLE = ("Conv2D", "DepthwiseConv2D", "Dense")


def fold_batch_norms(model: Any) -> Any:
    """Return the functional Keras `model` without the batch norms that stand behind a convolution or dense layer.

    Layers keep their names and are new: `model` stays as it is. Models inside of it are unfolded. A batch norm behind
    anything else stays.

    Args:
        model: One input (None, H, W, 3), one output.

    Raises:
        BackboneError: it cannot be taken apart, for two of its layers have one name.
    """
    import keras

    flat = keras.models.clone_model(_flat(model))  # a copy knows of no other calls of its layers than its own
    flat.set_weights(model.get_weights())
    norms = dict(_pairs(flat))
    folded = {norm.name for norm in norms.values()}

    def anew(layer: Any) -> Any:
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        return arguments[0] if layer.name in folded else layer(*arguments, **options)

    pixels = keras.Input(flat.input_shape[1:], name="pixels")
    plain = keras.models.clone_model(flat, input_tensors=pixels, clone_function=anew, call_function=call)
    for layer in plain.layers:
        layer.set_weights(_weights(flat.get_layer(layer.name), norms.get(layer.name)) if layer.weights else [])
    return plain


def _flat(model: Any) -> Any:
    """Return `model` with the layers of the models inside of it as its own; they are the same layers."""
    import keras

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(layer, keras.Model):
            return layer(*arguments, **options)
        return _flat(layer).call(*arguments)  # not by __call__, which would make one op of it

    if not any(isinstance(layer, keras.Model) for layer in model.layers):
        return model
    pixels = keras.Input(model.input_shape[1:], name="pixels")
    try:
        return keras.models.clone_model(
            model, input_tensors=pixels, clone_function=lambda layer: layer, call_function=call
        )
    except ValueError as trouble:
        raise BackboneError(
            f"model {model.name!r}: the models inside of it cannot be unfolded: {str(trouble).splitlines()[0]}"
        ) from trouble


def _pairs(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name of each layer whose batch norm can be folded, and that batch norm."""
    for layer in model.layers:
        node = only_user(layer)
        linear = getattr(getattr(layer, "activation", None), "__name__", "") == "linear"
        if type(layer).__name__ not in _FOLDABLE or node is None or not linear:
            continue
        if type(node).__name__ == "BatchNormalization" and len(node._inbound_nodes) == 1 and _on_channels(node):
            yield layer.name, node


def only_user(op: Any) -> Any | None:
    """Return the op that takes all that `op` gives, where there is exactly one and `op` is called once."""
    if len(op._inbound_nodes) != 1 or len(op._outbound_nodes) != 1:
        return None
    return op._outbound_nodes[0].operation


def _on_channels(norm: Any) -> bool:
    return norm.axis in (-1, len(norm._inbound_nodes[0].input_tensors[0].shape) - 1)


def _weights(layer: Any, norm: Any | None) -> list[NDArray[np.float32]]:
    """Return the weights of `layer` with `norm`, where it has one, folded in."""
    if norm is None:
        found: list[NDArray[np.float32]] = layer.get_weights()
        return found
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else 0.0
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = (bias - np.asarray(norm.moving_mean, np.float64)) * scale
    if norm.center:
        offset = offset + np.asarray(norm.beta, np.float64)
    # A depthwise kernel is (h, w, channels, multiplier): its last two axes together are what it gives.
    each = scale.reshape(kernel.shape[2:]) if type(layer).__name__ == "DepthwiseConv2D" else scale
    return [(kernel * each).astype(np.float32), offset.astype(np.float32)]
