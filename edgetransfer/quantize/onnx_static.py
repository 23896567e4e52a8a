"""Integers throughout: a float ONNX graph becomes one with a QuantizeLinear and DequantizeLinear around every op."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from edgetransfer.errors import RecipeError
from edgetransfer.quantize.onnx_graph import OnnxGraph
from edgetransfer.quantize.onnx_weights import weight_steps
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Ranges

_TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
# TensorRT refuses zero points and biases of int32, and fuses a convolution with the activation behind it only if
# nothing is quantized in between (its guide to Q/DQ placement; onnx-tensorrt issue 850).
_FOR_TENSORRT = {
    "ActivationSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose", "Gemm", "MatMul"],
}


def quantize(
    graph: OnnxGraph, recipe: Recipe, normalisation: Normalisation, ranges: Ranges, *, searched: bool
) -> OnnxGraph:
    """Return `graph` with integers from `ranges`; its input is still float, and quantized as raw pixels are.

    Activations are uint8 with a zero point, or int8 around 0, as TensorRT wants them. Weights are int8 around 0.

    Args:
        graph: A float graph with normalised pixels as input.
        recipe: Its activations, granularity, and the ops that stay in floats.
        normalisation: Gives the step and zero point of the input.
        ranges: Of every activation of `graph`.
        searched: Search each channel's weights for the step of least squared error.

    Raises:
        RecipeError: an override asks for something other than floats.
    """
    symmetric = recipe.activations == "int8"
    if symmetric:
        _unshare_constants(graph)
    per_channel = recipe.granularity == "per_channel"
    steps = weight_steps(graph, ranges, searched=searched, per_channel=per_channel)
    overrides: dict[str, list[dict[str, Any]]] = {
        name: [_weight_override(axis if per_channel else None, step) for step in found]
        for name, (axis, found) in steps.items()
    }
    for name in _pixels(graph):
        overrides[name] = [_pixels_override(normalisation, symmetric=symmetric)]
    kept = _kept_in_floats(graph, recipe)
    model = onnx.shape_inference.infer_shapes(graph.to_model(), strict_mode=True)
    with _quiet():
        quantizer = QDQQuantizer(
            model,
            per_channel=per_channel,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=_TYPES[recipe.activations],
            tensors_range=TensorsData(
                CalibrationMethod.MinMax,
                {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
            ),
            nodes_to_quantize=[],
            nodes_to_exclude=kept,
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
            extra_options=(_FOR_TENSORRT if symmetric else {})
            | {"WeightSymmetric": True, "TensorQuantOverrides": overrides},
        )
        quantized = OnnxGraph(quantizer.quantize_model())
    quantized.metadata = dict(graph.metadata)
    _hold_in_floats(quantized, kept)
    return quantized


def _unshare_constants(graph: OnnxGraph) -> None:
    """Give each op a copy of its own of constants that several use, as all hard-swishes use one 1/6.

    On CPUs without VNNI, ONNX Runtime turns int8 tensors into uint8 ones, each use of a constant under the same name,
    and fails at the second ("Attempt to replace the existing tensor", QDQS8ToU8Transformer of 1.32).
    """
    seen: set[str] = set()
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            if name not in graph.constants:
                continue
            if name in seen:
                own = f"{name}/{node.name}"
                graph.constants[own] = graph.constants[name]
                node.input[place] = own
            seen.add(name)


def _weight_override(axis: int | None, step: np.float32) -> dict[str, Any]:
    override: dict[str, Any] = {"scale": np.array(step, np.float32), "zero_point": np.array(0, np.int8)}
    return override if axis is None else override | {"axis": axis}


def _pixels_override(normalisation: Normalisation, *, symmetric: bool) -> dict[str, Any]:
    """Return the input's step and zero point: the pixels' own, or without a zero point one that reaches all of them."""
    scale, zero_point = normalisation.scale, normalisation.zero_point
    if not symmetric:
        return {"scale": np.array(scale, np.float32), "zero_point": np.array(zero_point, np.uint8)}
    farthest = max(zero_point, 255 - zero_point)
    # Of pixels 0 to 255 around 127, only 255 is beyond int8, by one: the pixels' own step keeps all others exact.
    factor = 1.0 if farthest <= 128 else farthest / 127
    return {"scale": np.array(scale * factor, np.float32), "zero_point": np.array(0, np.int8)}


def _pixels(graph: OnnxGraph) -> Iterator[str]:
    """Yield the input and what it is called behind the ops that only move it: all must have its step."""
    name: str | None = graph.input
    consumers = graph.consumers()
    while name is not None:
        yield name
        after = consumers.get(name, [])
        name = str(after[0].output[0]) if len(after) == 1 and after[0].op_type == "Transpose" else None


def _kept_in_floats(graph: OnnxGraph, recipe: Recipe) -> list[str]:
    kept = []
    for node in graph.nodes:
        override = recipe.override_of(node.name)
        if override is not None and (override.weights, override.activations) == ("float32", "float32"):
            kept.append(str(node.name))
    return kept


def _hold_in_floats(graph: OnnxGraph, kept: list[str]) -> None:
    """Put a Clip without bounds before each op that stays in floats, which changes nothing.

    ONNX Runtime fuses whatever stands between a DequantizeLinear and a QuantizeLinear, and to do so quantizes the
    weights by itself, one step in all: the op would be integers again, and worse ones.
    """
    producers = graph.producers()
    for node in [one for one in graph.nodes if one.name in kept]:
        made = producers.get(node.input[0])
        if node.input[0] in graph.constants or (made is not None and made.name in kept):
            continue
        free = f"{node.name}/in_floats"
        graph.nodes.insert(graph.nodes.index(node), helper.make_node("Clip", [node.input[0]], [free], name=free))
        node.input[0] = free


def check_overrides(recipe: Recipe) -> None:
    """Refuse overrides that cannot be carried out.

    Raises:
        RecipeError: names the first.
    """
    for one in recipe.overrides:
        same = (one.weights, one.activations) == (recipe.weights, recipe.activations)
        if not same and (one.weights, one.activations) != ("float32", "float32"):
            raise RecipeError(
                f"recipe {recipe.name!r}: override {one.pattern!r}: for ONNX an op is as the recipe says or in floats: "
                f"expected weights and activations float32, got {one.weights} and {one.activations}"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer from writing to the root logger, where its notes on what it did are warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
