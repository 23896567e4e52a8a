"""Carries out a recipe: a float `.tflite` in, a quantized one with raw uint8 pixels as its input out."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import recipe as quantizer_recipes
from ai_edge_quantizer.quantizer import Quantizer
from numpy.typing import NDArray

from edgetransfer.errors import ExportError, RecipeError
from edgetransfer.quantize.calibrate import Ranges
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Quantization

_BIAS_LIMIT = 2**31 / 1.1  # a bias is stored as int32 in steps of input scale times weight scale
_LEAST_WEIGHT = 1e-8  # a scale of 0 is no scale


def carry_out(float_model: bytes, recipe: Recipe, normalisation: Normalisation, ranges: Ranges | None = None) -> bytes:
    """Return `float_model` with `recipe` carried out and raw pixels, (1, H, W, 3) uint8, as its input.

    Args:
        float_model: A `.tflite` with one float32 input (1, H, W, 3) of normalised pixels.
        recipe: What to do.
        normalisation: What the float model expects of a pixel. In an int8 graph it costs one QUANTIZE op that
            only moves the pixel by 128; in a float graph it is one DEQUANTIZE op.
        ranges: From `calibrate`; needed exactly when the recipe needs calibration.

    Raises:
        RecipeError: `ranges` are missing, or the recipe has no way to be carried out on LiteRT.
        ExportError: the quantizer chose another input scale than the pixels' own.
    """
    if recipe.needs_calibration and ranges is None:
        raise RecipeError(f"recipe {recipe.name!r} needs calibrated ranges, got none")
    if recipe.name not in _WAYS:
        raise RecipeError(f"recipe {recipe.name!r} cannot be carried out for LiteRT; it has {sorted(_WAYS)}")
    graph = Graph.read(_WAYS[recipe.name](float_model, ranges))
    _take_raw_pixels(graph, normalisation)
    return graph.to_bytes()


def _as_it_is(model: bytes, _: Ranges | None) -> bytes:
    return model


def _float16(model: bytes, _: Ranges | None) -> bytes:
    quantizer = Quantizer(model)
    quantizer.add_weight_only_config(
        ".*", _ALL_OPS, num_bits=16, algorithm_key=quantizer_recipes.AlgorithmName.FLOAT_CASTING
    )
    return _quantize(quantizer)


def _dynamic_int8(model: bytes, _: Ranges | None) -> bytes:
    quantizer = Quantizer(_guard_small_channels(model, {}), quantizer_recipes.dynamic_wi8_afp32())
    return _quantize(quantizer)


def _static_int8(model: bytes, ranges: Ranges | None) -> bytes:
    values = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)}
        for name, (low, high) in (ranges or {}).items()
    }
    quantizer = Quantizer(_guard_small_channels(model, ranges or {}), quantizer_recipes.static_wi8_ai8())
    return _quantize(quantizer, values)


def _quantize(quantizer: Quantizer, ranges: dict[str, dict[str, NDArray[np.float32]]] | None = None) -> bytes:
    # The quantizer draws progress bars whatever it is told, and warns of its own use of a debugging interpreter.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


_ALL_OPS = quantizer_recipes.TFLOperationName.ALL_SUPPORTED
_WAYS: dict[str, Callable[[bytes, Ranges | None], bytes]] = {
    "float32": _as_it_is,
    "float16": _float16,
    "dynamic_int8": _dynamic_int8,
    "static_int8": _static_int8,
}


def _guard_small_channels(model: bytes, ranges: Ranges) -> bytes:
    """Return `model` with weights large enough that every bias can be stored.

    Pretrained networks have channels whose weights are nothing beside their bias, EfficientNet-Lite0 some dozens. The
    weights set the channel's scale, the bias is stored in steps of it, and would not fit int32: the quantizer's cast
    then turns a large positive bias into a large negative one. The largest weight of such a channel is raised as far
    as needed, some millionths.
    """
    graph = Graph.read(model)
    changed = False
    for op in graph.ops():
        if op.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weights = graph.constant(op.inputs[1])
        if weights is None or weights.dtype != np.float32:
            continue
        bias = graph.constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        low, high = ranges.get(graph.name(op.inputs[0]), (0.0, 1.0))
        raised = _raised(weights, bias, max(high - low, 1e-6) / 255, last=op.name == "DEPTHWISE_CONV_2D")
        if raised is not None:
            graph.set_constant(op.inputs[1], raised)
            changed = True
    return graph.to_bytes() if changed else model


def _raised(
    weights: NDArray[np.float32], bias: NDArray[np.float32] | None, input_scale: float, *, last: bool
) -> NDArray[np.float32] | None:
    """Return `weights` with the largest of each too small channel raised; None if all are large enough.

    Channels are the last axis of a depthwise kernel (`last`), else the first.
    """
    rows = np.moveaxis(weights, -1, 0) if last else weights
    flat = rows.reshape(len(rows), -1).copy()
    needed = np.full(len(flat), _LEAST_WEIGHT)
    if bias is not None:
        needed = np.maximum(needed, 127 * np.abs(bias.astype(np.float64)) / (input_scale * _BIAS_LIMIT))
    place = np.abs(flat).argmax(axis=1)
    largest = flat[np.arange(len(flat)), place]
    small = np.abs(largest) < needed
    if not small.any():
        return None
    flat[small, place[small]] = np.where(largest[small] < 0, -needed[small], needed[small])
    raised = flat.reshape(rows.shape)
    return np.moveaxis(raised, 0, -1) if last else raised


def _take_raw_pixels(graph: Graph, normalisation: Normalisation) -> None:
    """Put one op before the graph that makes its input of raw pixels."""
    inner = graph.input
    pixels = Quantization(normalisation.scale, normalisation.zero_point)
    outer = graph.add_tensor("image", graph.shape(inner), "uint8", pixels)
    if graph.dtype(inner) == "float32":
        graph.add_op("DEQUANTIZE", [outer], [inner], options=schema.DequantizeOptionsT(), first=True)
    else:
        _same_steps(graph.quantization(inner), pixels)
        # Version 2 of QUANTIZE takes integers; from uint8 to int8 with one scale it only flips the top bit.
        graph.add_op("QUANTIZE", [outer], [inner], version=2, options=schema.QuantizeOptionsT(), first=True)
        graph.tensor(inner).quantization.scale = [normalisation.scale]
        graph.tensor(inner).quantization.zeroPoint = [normalisation.zero_point - 128]
    graph.set_ends(input_index=outer, input_name="image", output_index=graph.output, output_name="features")


def _same_steps(got: Quantization | None, pixels: Quantization) -> None:
    close = got is not None and abs(got.scale / pixels.scale - 1) < 1e-5 and got.zero_point == pixels.zero_point - 128
    if not close:
        raise ExportError(f"input quantization: expected {pixels} moved by 128, got {got}")
