"""Grafts a head onto a deployed backbone's ONNX graph, without exporting or quantizing the backbone again.

The backbone's nodes and constants stay as they are, so the features inside the grafted graph are those that the head
was trained on. A dense layer of an integer head is a Gemm between DequantizeLinear and QuantizeLinear, which ONNX
Runtime computes as one QGemm: int8 weights with one scale a unit, an int32 bias in steps of input scale times weight
scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edgetransfer.errors import ExportError
from edgetransfer.export import name_layers
from edgetransfer.export._rounding import MARGIN, round_together
from edgetransfer.quantize.onnx_carry_out import FEATURES
from edgetransfer.quantize.onnx_graph import OnnxGraph
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.tensor import Quantization

LOGITS, SCORES = "logits", "scores"
_LEAST_WEIGHT = 1e-4  # the largest weight of a unit counts as at least this, so that its bias fits int32


def graft(deployed: bytes, head: Sequence[Dense], features: NDArray[np.float32], *, scores: bool = False) -> bytes:
    """Return `deployed` with `head` on top: logits (1, C) float32 out, or scores.

    Args:
        deployed: A deployed graph: (1, H, W, 3) uint8 pixels in, (1, D) float32 features out.
        head: Dense layers, first to last; the last one is linear.
        features: (n, D) float32 training features; they set the ranges of an integer head's activations, and its
            weights are rounded together on them.
        scores: Put the softmax into the graph, for clients that know no decoder.

    Raises:
        ExportError: the head does not take what the backbone gives.
    """
    graph = OnnxGraph.read(deployed)
    width = graph.shape("output")[-1]
    if head[0].kernel.shape[0] != width:
        raise ExportError(f"the head takes {head[0].kernel.shape[0]} features, the backbone gives {width}")
    stored = quantization(graph, graph.output)
    last = _add_float_head(graph, head) if stored is None else _add_integer_head(graph, head, features, *stored)
    if scores:
        graph.nodes.append(helper.make_node("Softmax", [last], [SCORES], name="scores/Softmax", axis=-1))
        last = SCORES
    graph.set_end("output", last, np.float32, (1, len(head[-1].bias)))
    return graph.to_bytes()


def head_alone(deployed: bytes, model: bytes) -> bytes:
    """Return the head's nodes of the grafted `model` by themselves: (1, D) float32 features in, logits out.

    Integer heads take features that lie on the grid of `deployed`, and give back the integers first: exact.
    """
    backbone, graph = OnnxGraph.read(deployed), OnnxGraph.read(model)
    real = graph.producers()[FEATURES]
    shape = backbone.shape("output")
    if real.op_type == "DequantizeLinear":
        graph.producers()[real.input[0]].input[0] = "features/given"
        graph.set_end("input", "features/given", np.float32, shape)
        graph.rename({FEATURES: "features/real", "features/given": FEATURES})
    else:
        graph.set_end("input", FEATURES, np.float32, shape)
        graph.nodes.remove(real)
    graph.set_end("output", LOGITS, np.float32, graph.shape("output"))
    return graph.to_bytes()


def quantization(graph: OnnxGraph, tensor: str) -> tuple[Quantization, str] | None:
    """Return the step and zero point of the integers that `tensor` was made of, and their dtype; None for floats."""
    made = graph.producer(tensor)
    if made is None or made.op_type != "DequantizeLinear" or made.input[0] == graph.input:
        return None
    scale, zero_point = (graph.constants[name] for name in made.input[1:3])
    return Quantization(float(scale), int(zero_point)), str(zero_point.dtype)


def _add_float_head(graph: OnnxGraph, head: Sequence[Dense]) -> str:
    source = graph.output
    for name, layer in name_layers(head):
        graph.constants[f"{name}/weight"] = layer.kernel.astype(np.float32)
        graph.constants[f"{name}/bias"] = layer.bias.astype(np.float32)
        source = _add_gemm(graph, name, layer, [source, f"{name}/weight", f"{name}/bias"])
    graph.rename({source: LOGITS})
    return LOGITS


def _add_integer_head(
    graph: OnnxGraph, head: Sequence[Dense], values: NDArray[np.float32], given: Quantization, dtype: str
) -> str:
    source = graph.output
    for name, layer in name_layers(head):
        weights, scales, bias = _rounded(layer, values)
        values = layer.apply(values)
        _add_stored(graph, f"{name}/weight", weights, scales, axis=1)
        if dtype == "uint8":
            steps = (scales.astype(np.float64) * given.scale).astype(np.float32)
            _add_stored(graph, f"{name}/bias", np.rint(bias / steps).astype(np.int32), steps, axis=0)
        else:  # TensorRT wants biases as floats
            graph.constants[f"{name}/bias"] = bias.astype(np.float32)
        # An unsigned range that begins at 0 is a ReLU by itself.
        kept = Dense(layer.kernel, layer.bias, layer.activation if dtype == "int8" else "linear")
        made = _add_gemm(graph, name, kept, [source, f"{name}/weight", f"{name}/bias"])
        given = _range(values, dtype)
        source = _add_pair(graph, name, made, given, dtype)
    graph.rename({source: LOGITS})
    return LOGITS


def _rounded(layer: Dense, values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[Any]]:
    """Return the weights (in, out) in steps, the steps, and the real bias that makes good what rounding cost."""
    kernel = layer.kernel.astype(np.float64)
    scales = (np.maximum(np.abs(kernel).max(axis=0), _LEAST_WEIGHT) / 127).astype(np.float32)
    rounded = round_together(kernel / scales, values)
    bias = layer.bias + values.mean(axis=0, dtype=np.float64) @ (kernel - rounded * scales)
    return rounded.astype(np.int8), scales, bias


def _range(values: NDArray[np.float32], dtype: str) -> Quantization:
    """Return the quantization that spreads the range of `values`, a margin at each end, over `dtype`."""
    low, high = min(0.0, float(values.min())) * MARGIN, max(0.0, float(values.max())) * MARGIN
    if dtype == "int8":
        return Quantization(float(np.float32(max(-low, high, 1e-6) / 127)), 0)
    scale = float(np.float32(max(high - low, 1e-6) / 255))
    return Quantization(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def _add_gemm(graph: OnnxGraph, name: str, layer: Dense, inputs: list[str]) -> str:
    """Add `layer` and return the name of what comes out."""
    graph.nodes.append(helper.make_node("Gemm", inputs, [name], name=f"{name}/Gemm"))
    if layer.activation != "relu":
        return name
    graph.nodes.append(helper.make_node("Relu", [name], [f"{name}/Relu"], name=f"{name}/Relu"))
    return f"{name}/Relu"


def _add_stored(graph: OnnxGraph, name: str, stored: NDArray[Any], scales: NDArray[np.float32], *, axis: int) -> None:
    graph.constants[f"{name}/stored"] = stored
    graph.constants[f"{name}/scale"] = scales
    graph.constants[f"{name}/zero_point"] = np.zeros(len(scales), stored.dtype)
    inputs = [f"{name}/stored", f"{name}/scale", f"{name}/zero_point"]
    graph.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=f"{name}/DequantizeLinear", axis=axis))


def _add_pair(graph: OnnxGraph, name: str, source: str, given: Quantization, dtype: str) -> str:
    """Add a QuantizeLinear and a DequantizeLinear behind `source` and return the name of what comes out."""
    graph.constants[f"{name}/scale"] = np.array(given.scale, np.float32)
    graph.constants[f"{name}/zero_point"] = np.array(given.zero_point, dtype)
    steps = [f"{name}/scale", f"{name}/zero_point"]
    stored, real = f"{name}/stored", f"{name}/real"
    graph.nodes.append(helper.make_node("QuantizeLinear", [source, *steps], [stored], name=f"{name}/QuantizeLinear"))
    graph.nodes.append(helper.make_node("DequantizeLinear", [stored, *steps], [real], name=f"{name}/DequantizeLinear"))
    return real
