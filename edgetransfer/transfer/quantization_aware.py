"""A backbone that computes in training as the exported integer graph will: fake quantization.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (arXiv
1712.05877). Numbers are those of the exporter (`quantize`, the recipe static_int8): weights of 8 bits, symmetric, one
scale an output channel; activations of 8 bits, one scale and zero point a tensor; ranges are means over images of each
image's least and greatest value; the features' range is wider by `FEATURE_ROOM`. Rounding is half to even, as there
(Keras' own `fake_quant_with_min_max_vars` rounds half up). What the exporter fuses, a convolution and the ReLU behind
it, is one step here too. Biases, 32 bits, are as good as real numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.quantize.carry_out import FEATURE_ROOM
from edgetransfer.transfer.folding import fold_batch_norms, only_user

MOMENTUM = 0.99
"""Of the running mean of ranges during training; of a hundred steps the first then has a weight of a third."""
_LEAST_SPAN = 1e-9  # as the exporter: a scale of 0 is no scale
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")
_FUSES = (*_WEIGHTED, "Add")  # ops of LiteRT that have an activation of their own
_KEEPS_STEPS = (
    "InputLayer", "ZeroPadding2D", "Dropout", "Flatten", "Reshape", "MaxPooling2D", "GlobalMaxPooling2D", "Cropping2D",
    "UpSampling2D", "Permute",
)  # fmt: skip
"""Layers whose output has the steps of their input: they only move numbers or choose among them."""


class QuantizationAware:
    """A backbone in two forms that share nothing but are kept alike: `backbone` to train, and the plain one to export.

    Attributes:
        backbone: The Keras model that fake-quantizes: (None, H, W, 3) normalised pixels -> (None, D).
    """

    def __init__(self, model: Any, batches: Iterable[NDArray[np.float32]]) -> None:
        """Fold the batch norms of the Keras backbone `model`, put fake quantization in, and measure its ranges.

        Args:
            model: The float backbone; it stays as it is.
            batches: Normalised training images (n, H, W, 3), as the device prepares them, to set the ranges by.

        Raises:
            BackboneError: the model cannot be taken apart.
        """
        self._plain = fold_batch_norms(model)
        self.backbone, self._ranges = _fake_quantized(self._plain)
        self._calibrate(batches)

    def plain(self) -> Any:
        """Return the float Keras model with the weights of `backbone` as they are now, without fake quantization."""
        for layer in self._plain.layers:
            if layer.weights:
                layer.set_weights(self.backbone.get_layer(layer.name).get_weights())
        return self._plain

    def _calibrate(self, batches: Iterable[NDArray[np.float32]]) -> None:
        import keras

        inner = keras.Model(self._plain.input, [self._plain.get_layer(name).output for name in self._ranges])
        totals, images = np.zeros((len(self._ranges), 2)), 0
        for pixels in batches:
            found = inner.predict_on_batch(pixels)
            for row, values in zip(totals, found if isinstance(found, list) else [found], strict=True):
                flat = np.asarray(values).reshape(len(pixels), -1)
                row += (flat.min(axis=1).sum(), flat.max(axis=1).sum())
            images += len(pixels)
        for layer, row in zip(self._ranges.values(), totals / max(images, 1), strict=True):
            layer.low.assign(row[0])
            layer.high.assign(row[1])


def fake_quantized(values: Any, low: Any, high: Any) -> Any:
    """Return `values` rounded to 255 equal steps from `low` to `high`, 0 being a whole number of them.

    The gradient passes as if nothing were rounded, but not where a value was cut off.
    """
    from keras import ops

    low, high = ops.minimum(low, 0.0), ops.maximum(high, 0.0)
    scale = ops.maximum(high - low, _LEAST_SPAN) / 255
    zero = ops.round(-low / scale)
    cut = ops.clip(values, -zero * scale, (255 - zero) * scale)
    return cut + ops.stop_gradient(ops.round(cut / scale) * scale - cut)


def fake_quantized_kernel(kernel: Any, *, depthwise: bool) -> Any:
    """Return `kernel` rounded to 8 bits about 0, one scale an output channel; the gradient passes as it is.

    Output channels are the last axis, of a depthwise kernel (h, w, channels, multiplier) the last two.
    """
    from keras import ops

    axes = (0, 1) if depthwise else tuple(range(len(kernel.shape) - 1))
    bound = ops.max(ops.absolute(kernel), axis=axes, keepdims=True)
    scale = ops.stop_gradient(ops.maximum(bound, _LEAST_SPAN) / 127)
    return kernel + ops.stop_gradient(ops.round(kernel / scale) * scale - kernel)


def _fake_quantized(plain: Any) -> tuple[Any, dict[str, Any]]:
    """Return a copy of `plain` that fake-quantizes, and by layer of `plain` the layer that does so to its output."""
    import keras

    kinds = _kinds()
    by_name = {op.name: op for op in plain.operations}
    last = plain.output._keras_history.operation.name
    ranges: dict[str, Any] = {}

    def anew(layer: Any) -> Any:
        kind = kinds.get(type(layer).__name__, type(layer))
        return kind.from_config(layer.get_config())

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        given = layer(*arguments, **options)
        if not _ends_an_op(by_name[layer.name]):
            return given
        room = FEATURE_ROOM if layer.name == last else 1.0
        ranges[layer.name] = kinds["range"](room, name=f"{layer.name}_range")
        return ranges[layer.name](given)

    pixels = keras.Input(plain.input_shape[1:], name="pixels")
    model = keras.models.clone_model(plain, input_tensors=pixels, clone_function=anew, call_function=call)
    for layer in plain.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model, ranges


def _ends_an_op(op: Any) -> bool:
    """Say whether the exported graph stores what `op` gives, in steps of its own."""
    kind, user = type(op).__name__, only_user(op)
    if kind in _KEEPS_STEPS:
        return False
    if user is None or kind not in _FUSES:
        return True
    if kind in _WEIGHTED and not _is_linear(op):
        return True  # its activation is its own
    adds_a_number = type(user).__name__ == "Add" and len(user._inbound_nodes[0].input_tensors) == 1
    if kind in _WEIGHTED and adds_a_number:
        return False  # which goes into the bias
    return not _is_fused_activation(user)


def _is_linear(op: Any) -> bool:
    return getattr(getattr(op, "activation", None), "__name__", "linear") == "linear"


def _is_fused_activation(op: Any) -> bool:
    if type(op).__name__ == "ReLU":
        return getattr(op, "max_value", None) in (None, 6, 6.0) and not op.negative_slope and not op.threshold
    name = getattr(getattr(op, "activation", None), "__name__", "")
    return type(op).__name__ == "Activation" and name in ("relu", "relu6")


def _kinds() -> dict[str, Callable[..., Any]]:
    """Return the classes of layers that fake-quantize, made here, for Keras is imported in functions only."""
    import keras

    class FakeQuantizedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
        def convolution_op(self, inputs: Any, kernel: Any) -> Any:
            return super().convolution_op(inputs, fake_quantized_kernel(kernel, depthwise=False))

    class FakeQuantizedDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            given = keras.ops.depthwise_conv(
                inputs,
                fake_quantized_kernel(self.kernel, depthwise=True),
                strides=self.strides,
                padding=self.padding,
                dilation_rate=self.dilation_rate,
                data_format=self.data_format,
            )
            given = given + self.bias if self.use_bias else given
            return given if self.activation is None else self.activation(given)

    class FakeQuantizedDense(keras.layers.Dense):  # type: ignore[misc]
        def call(self, inputs: Any, training: Any = None) -> Any:
            given = keras.ops.matmul(inputs, fake_quantized_kernel(self.kernel, depthwise=False))
            given = given + self.bias if self.use_bias else given
            return given if self.activation is None else self.activation(given)

    class Range(keras.layers.Layer):  # type: ignore[misc]
        """Fake-quantizes what it is given; its range follows what it sees in training."""

        learns = False  # so that it is not counted among the layers that are unfrozen one after the other

        def __init__(self, room: float, **options: Any) -> None:
            super().__init__(**options)
            self._room = room
            self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
            self.high = self.add_weight(shape=(), initializer="zeros", trainable=False, name="high")

        def call(self, values: Any, training: bool | None = None) -> Any:
            if training:
                axes = tuple(range(1, len(values.shape)))
                for end, seen in ((self.low, keras.ops.min), (self.high, keras.ops.max)):
                    mean = keras.ops.mean(seen(keras.ops.stop_gradient(values), axis=axes))
                    end.assign(MOMENTUM * end + (1 - MOMENTUM) * mean)
            return fake_quantized(values, self.low * self._room, self.high * self._room)

    return {
        "Conv2D": FakeQuantizedConv2D,
        "DepthwiseConv2D": FakeQuantizedDepthwiseConv2D,
        "Dense": FakeQuantizedDense,
        "range": Range,
    }
