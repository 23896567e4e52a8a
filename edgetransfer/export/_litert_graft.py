"""Grafts a head onto a deployed backbone's graph, without exporting or quantizing the backbone again.

The backbone's operators and constants stay as they are, byte for byte, so the features inside the grafted graph
are those that the head was trained on. A head of two dense layers takes milliseconds.

An int8 dense layer becomes a 1 x 1 convolution: int8 weights with one scale a unit, int32 bias in steps of input scale
times weight scale, as in the LiteRT 8-bit quantization specification. One scale a unit keeps the logits within two
steps of the float head's, where one a layer strayed by four; and FULLY_CONNECTED has that only from version 12 on,
which tflite-runtime 2.14, the last for 32-bit Arm, refuses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.errors import ExportError
from edgetransfer.export import name_layers
from edgetransfer.export._rounding import MARGIN, round_together
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.tensor import Quantization

_ACTIVATIONS = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
}
_LEAST_WEIGHT = 1e-4  # the largest weight of a unit counts as at least this, so that its bias fits int32
_CONV_VERSIONS = {"int8": 3, "int16": 4}  # the first that takes such activations (tensorflow/lite op_version.cc)


def graft(backbone: bytes, head: Sequence[Dense], features: NDArray[np.float32], *, scores: bool = False) -> bytes:
    """Return `backbone` with `head` on top: features become logits, or scores.

    Args:
        backbone: A deployed graph: (1, H, W, 3) uint8 pixels in, (1, D) features out, int8 or float32.
        head: Dense layers, first to last; the last one is linear.
        features: (n, D) float32 real values of training features; they set the ranges of the head's int8
            activations and nothing else.
        scores: Put the softmax into the graph, with float32 scores out, for clients that know no decoder.

    Raises:
        ExportError: the head does not take what the backbone gives.
    """
    graph = Graph.read(backbone)
    width = graph.shape(graph.output)[-1]
    if head[0].kernel.shape[0] != width:
        raise ExportError(f"the head takes {head[0].kernel.shape[0]} features, the backbone gives {width}")
    add_head = _add_float_head if graph.quantization(graph.output) is None else _add_integer_head
    index = add_head(graph, head, features)
    if scores:
        index = _add_softmax(graph, index)
    graph.set_ends(
        input_index=graph.input,
        input_name="image",
        output_index=index,
        output_name="scores" if scores else "logits",
    )
    return graph.to_bytes()


def _add_float_head(graph: Graph, head: Sequence[Dense], _: NDArray[np.float32]) -> int:
    index = graph.output
    for name, layer in name_layers(head):
        weights = np.ascontiguousarray(layer.kernel.T, np.float32)  # LiteRT keeps (out, in)
        inputs = [
            index,
            graph.add_tensor(f"{name}/kernel", weights.shape, "float32", None, weights),
            graph.add_tensor(f"{name}/bias", layer.bias.shape, "float32", None, layer.bias.astype(np.float32)),
        ]
        index = graph.add_tensor(name, (1, len(layer.bias)), "float32")
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = _ACTIVATIONS[layer.activation]
        graph.add_op("FULLY_CONNECTED", inputs, [index], options=options)
    return index


def _add_integer_head(graph: Graph, head: Sequence[Dense], values: NDArray[np.float32]) -> int:
    given = graph.quantization(graph.output)
    index = _reshape(graph, graph.output, (1, 1, 1, head[0].kernel.shape[0]), "features_as_image", given)
    for name, layer in name_layers(head):
        outputs = layer.apply(values)
        result = _steps_of(outputs, graph.dtype(index))
        index, given = _add_integer_layer(graph, layer, values, (index, given), result, name), result
        values = outputs
    return _reshape(graph, index, (1, len(head[-1].bias)), "logits", given)


def _add_integer_layer(
    graph: Graph,
    layer: Dense,
    values: NDArray[np.float32],
    given: tuple[int, Quantization | None],
    result: Quantization,
    name: str,
) -> int:
    source, quantization = given
    kernel = layer.kernel.astype(np.float64)
    scales = (np.maximum(np.abs(kernel).max(axis=0), _LEAST_WEIGHT) / 127).astype(np.float32)
    rounded = round_together(kernel / scales, values)
    real_bias = layer.bias + values.mean(axis=0, dtype=np.float64) @ (kernel - rounded * scales)
    stored = np.ascontiguousarray(rounded.T).astype(np.int8)[:, None, None, :]
    bias_scales = scales * np.float32(1.0 if quantization is None else quantization.scale)
    dtype = graph.dtype(source)
    bias = np.rint(real_bias / bias_scales).astype(np.int64 if dtype == "int16" else np.int32)
    inputs = [
        source,
        graph.add_tensor(f"{name}/kernel", stored.shape, "int8", None, stored, channel_scales=scales),
        graph.add_tensor(f"{name}/bias", bias.shape, bias.dtype.name, None, bias, channel_scales=bias_scales),
    ]
    output = graph.add_tensor(f"{name}/image", (1, 1, 1, len(bias)), dtype, result)
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.fusedActivationFunction = _ACTIVATIONS[layer.activation]
    graph.add_op("CONV_2D", inputs, [output], version=_CONV_VERSIONS[dtype], options=options)
    return output


def _reshape(graph: Graph, source: int, shape: tuple[int, ...], name: str, quantization: Quantization | None) -> int:
    sizes = graph.add_tensor(f"{name}/shape", (len(shape),), "int32", None, np.array(shape, np.int32))
    output = graph.add_tensor(name, shape, graph.dtype(source), quantization)
    options = schema.ReshapeOptionsT()
    options.newShape = list(shape)
    graph.add_op("RESHAPE", [source, sizes], [output], options=options)
    return output


def _add_softmax(graph: Graph, logits: int) -> int:
    shape = graph.shape(logits)
    if graph.quantization(logits) is not None:
        real = graph.add_tensor("logits_real", shape, "float32")
        graph.add_op("DEQUANTIZE", [logits], [real], version=2, options=schema.DequantizeOptionsT())
        logits = real
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    output = graph.add_tensor("scores", shape, "float32")
    graph.add_op("SOFTMAX", [logits], [output], options=options)
    return output


def _steps_of(values: NDArray[np.float32], dtype: str) -> Quantization:
    """Return the quantization of `values` for an activation of `dtype`; int16 has its zero point at 0."""
    if dtype == "int8":
        return _range_to_int8(values)
    largest = max(float(np.abs(values).max()) * MARGIN, 1e-6)
    return Quantization(_as_float32(largest / np.iinfo(dtype).max), 0)


def _range_to_int8(values: NDArray[np.float32]) -> Quantization:
    """Return the quantization that spreads the range of `values`, zero included, over int8.

    A seventh is added at each end, because new images go beyond those that were seen; the end that is zero stays
    (a ReLU gives nothing below).
    """
    low, high = min(0.0, float(values.min())) * MARGIN, max(0.0, float(values.max())) * MARGIN
    scale = _as_float32(max(high - low, 1e-6) / 255)
    return Quantization(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _as_float32(value: float) -> float:
    # The file keeps scales as float32; what is computed here must use the same number.
    return float(np.float32(value))
