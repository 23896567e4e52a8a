"""Grafts a head onto a deployed backbone's graph, without exporting or quantizing the backbone again.

The backbone's operators and constants stay as they are, byte for byte, so the features inside the grafted graph
are those that the head was trained on. A head of two dense layers takes milliseconds.

Arithmetic as in the LiteRT 8-bit quantization specification: int8 weights, symmetric, with one scale a tensor
(one a channel needs version 12 of FULLY_CONNECTED, which runtimes before 2.15 do not have), int32 bias in steps of
input scale times weight scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.errors import ExportError
from edgetransfer.models.trained import Dense
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.tensor import Quantization

_ACTIVATIONS = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
}
_INT8_VERSION = 4  # of FULLY_CONNECTED: int8 weights and activations


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
    index, values = graph.output, features
    for number, layer in enumerate(head):
        values = layer.apply(values)
        name = "logits" if number == len(head) - 1 else f"hidden_{number}"
        index = _add_dense(graph, layer, index, values, name)
    if scores:
        index = _add_softmax(graph, index)
    graph.set_ends(
        input_index=graph.input,
        input_name="image",
        output_index=index,
        output_name="scores" if scores else "logits",
    )
    return graph.to_bytes()


def _add_dense(graph: Graph, layer: Dense, source: int, values: NDArray[np.float32], name: str) -> int:
    given = graph.quantization(source)
    shape = (1, layer.kernel.shape[1])
    kernel = np.ascontiguousarray(layer.kernel.T)  # LiteRT keeps (out, in)
    if given is None:
        weights = graph.add_tensor(f"{name}/kernel", kernel.shape, "float32", None, kernel.astype(np.float32))
        bias = graph.add_tensor(f"{name}/bias", layer.bias.shape, "float32", None, layer.bias.astype(np.float32))
        output = graph.add_tensor(name, shape, "float32")
    else:
        scale = _as_float32(max(float(np.abs(kernel).max()), 1e-8) / 127)
        steps = Quantization(scale, 0)
        weights = graph.add_tensor(f"{name}/kernel", kernel.shape, "int8", steps, steps.quantize(kernel, "int8"))
        steps = Quantization(_as_float32(scale * given.scale), 0)
        bias = graph.add_tensor(
            f"{name}/bias", layer.bias.shape, "int32", steps, steps.quantize(layer.bias, "int32")
        )
        output = graph.add_tensor(name, shape, "int8", _range_to_int8(values))
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = _ACTIVATIONS[layer.activation]
    version = 1 if given is None else _INT8_VERSION
    graph.add_op("FULLY_CONNECTED", [source, weights, bias], [output], version=version, options=options)
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


def _range_to_int8(values: NDArray[np.float32]) -> Quantization:
    """Return the quantization that spreads the range of `values`, zero included, over int8.

    A twentieth is added at each end, because new images go a little beyond those that were seen; the end that
    is zero stays (a ReLU gives nothing below).
    """
    low, high = min(0.0, float(values.min())) * 1.05, max(0.0, float(values.max())) * 1.05
    scale = _as_float32(max(high - low, 1e-6) / 255)
    return Quantization(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _as_float32(value: float) -> float:
    # The file keeps scales as float32; what is computed here must use the same number.
    return float(np.float32(value))
