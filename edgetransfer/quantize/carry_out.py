"""Carries out a recipe: a float `.tflite` in, a quantized one out whose input is raw uint8 pixels, or ids of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.errors import ExportError, RecipeError
from edgetransfer.quantize.calibrate import float_inputs
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.quantize.litert_moments import moments
from edgetransfer.quantize.litert_ops import BITS, WEIGHTED, Numbers, numbers_of_ops, quantize
from edgetransfer.quantize.litert_tables import tell_version
from edgetransfer.quantize.litert_weights import cut_to_least_error, round_together
from edgetransfer.quantize.support import why_not, why_not_of_kind
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Quantization, Ranges

WEIGHT_IMAGES = 32
"""How many of the calibration images ways of rounding are fitted to and chosen by."""
LEAST_COSINE = 0.8
"""Mean cosine of features to the float model's below which a recipe is refused: a head would learn from another net."""
_SLOW_IMAGES = 8  # of these where activations are int16: LiteRT has reference kernels only, 35 times as slow
FEATURE_ROOM = 1.5
"""How much wider than measured the features' range is: from 1.0 their relative squared error fell from 0.0077 to 0.0064
(EfficientNet-Lite0, TrashNet); between 1.5 and 3 it hardly moves. Other ranges are best as they were measured."""
_INT16_ROOM = 4.0

_BIAS_LIMIT = 2**31 / 1.1  # a bias is stored as int32 in steps of input scale times weight scale
_LEAST_WEIGHT = 1e-8  # a scale of 0 is no scale


def carry_out(
    float_model: bytes,
    recipe: Recipe,
    normalisation: Normalisation,
    ranges: Ranges | None = None,
    images: NDArray[Any] | None = None,
) -> bytes:
    """Return `float_model` with `recipe` carried out and raw pixels, (1, H, W, 3) uint8, as its input.

    Args:
        float_model: A `.tflite` with one float32 input (1, H, W, 3) of normalised pixels, or one of ids of tokens,
            (1, tokens) int32, which stays what it is.
        recipe: What to do.
        normalisation: What the float model expects of a pixel. In an integer graph it costs one QUANTIZE op that
            only moves the pixel (int8) or moves and multiplies it (int16); in a float graph one DEQUANTIZE op.
        ranges: From `calibrate`; needed exactly when the recipe needs calibration.
        images: (n, H, W, 3) uint8 RGB or (n, tokens) int32, prepared: training images to choose and round weights by.
            Without them `weight_ranges` "best" means min_max.

    Raises:
        RecipeError: `ranges` are missing, or the recipe has no way to be carried out on LiteRT.
        ExportError: the quantizer chose another input scale than the pixels' own.
    """
    reason = why_not_of_kind(_kind(float_model), "litert", recipe) or why_not("litert", recipe)
    if reason is not None:
        raise RecipeError(f"recipe {recipe.name!r} cannot be carried out for LiteRT: {reason}")
    if recipe.has_static_ranges and ranges is None:
        raise RecipeError(f"recipe {recipe.name!r} needs calibrated ranges, got none")
    if recipe.needs_calibration and recipe.weight_ranges == "best" and images is None:
        raise RecipeError(f"recipe {recipe.name!r}: the best weights are chosen on calibration images, got none")
    job = _Job(float_model, recipe, normalisation, ranges or {})
    if not job.has_integer_weights:
        return job.finished(float_model)
    if recipe.weight_ranges == "mse":
        return job.finished(job.cut())
    if recipe.weight_ranges == "min_max" or images is None:
        return job.finished(float_model)
    return job.nearest(images[:WEIGHT_IMAGES])


def _kind(float_model: bytes) -> str:
    graph = Graph.read(float_model)
    return "text" if graph.dtype(graph.input) == "int32" else "image"


class _Job:
    """One float model and what is to be done to it."""

    def __init__(self, float_model: bytes, recipe: Recipe, normalisation: Normalisation, ranges: Ranges) -> None:
        self.name = recipe.name
        self.model = float_model
        self.numbers = numbers_of_ops(Graph.read(float_model), recipe)
        self.granularity = recipe.granularity
        self.per_tensor = recipe.granularity == "per_tensor"
        self.normalisation = normalisation
        self.ranges = _fitted(Graph.read(float_model), self.numbers, normalisation, ranges)

    @property
    def has_integer_weights(self) -> bool:
        return any(one.weights in BITS for one in self.numbers)

    def cut(self) -> bytes:
        return cut_to_least_error(self.model, self.numbers, per_tensor=self.per_tensor)

    def finished(self, model: bytes) -> bytes:
        """Return `model`, whose weights are prepared, as it will be deployed."""
        guarded = _guard_small_channels(model, self.numbers, self.ranges)
        graph = Graph.read(quantize(guarded, self.numbers, self.granularity, self.ranges))
        tell_version(graph)
        _take_raw(graph, self.normalisation)
        return graph.to_bytes()

    def candidates(self, images: NDArray[Any]) -> Iterator[bytes]:
        """Yield the model with its weights prepared in each way that is known."""
        seen = moments(self.model, float_inputs(images, self.normalisation))
        yield self.model
        for searched in (False, True):
            yield round_together(self.model, self.numbers, seen, per_tensor=self.per_tensor, searched=searched)

    def nearest(self, images: NDArray[Any]) -> bytes:
        """Return, of all ways to prepare weights, that whose features are nearest to the float model's.

        Raises:
            RecipeError: even they are far away.
        """
        slow = any(one.activations == "int16" for one in self.numbers)
        judged = images[:_SLOW_IMAGES] if slow else images
        floats = Graph.read(self.model)
        _take_raw(floats, self.normalisation)
        wanted = _features(floats.to_bytes(), judged)
        found = [self.finished(model) for model in self.candidates(images)]
        got = [_features(content, judged) for content in found]
        errors = [float(((one - wanted) ** 2).sum()) for one in got]
        best = errors.index(min(errors))
        _check_nearness(self.name, got[best], wanted)
        return found[best]


def _check_nearness(name: str, got: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(((got * wanted).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())
    if cosine < LEAST_COSINE:
        raise RecipeError(
            f"recipe {name!r}: this network does not bear it: its features have a mean cosine of {cosine:.3f} to the "
            f"float network's on calibration images, expected at least {LEAST_COSINE}. Take a recipe of more bits, or "
            "keep some ops in float32 with a recipe of your own"
        )


def _features(content: bytes, images: NDArray[Any]) -> NDArray[np.float64]:
    engine = open_engine("litert", content)
    return np.concatenate([engine.output.to_real(engine.run(one[None])) for one in images]).astype(np.float64)


def _fitted(graph: Graph, numbers: Sequence[Numbers], normalisation: Normalisation, ranges: Ranges) -> Ranges:
    """Return `ranges` as the ops' numbers want them.

    Calibrated ranges are means, beyond which single images are cut off. That is best for 8 bits between ops; features
    themselves are better a little coarser than cut off, and 16 bits have room to spare. A 16-bit input gets the range
    in which every pixel is a whole number of steps.
    """
    found = dict(ranges)
    ops = list(zip(graph.ops(), numbers, strict=True))
    for index in {output for op, _ in ops for output in op.outputs}:
        touching = {one.activations for op, one in ops if index in (*op.inputs, *op.outputs)}
        wider = _INT16_ROOM if touching == {"int16"} else FEATURE_ROOM if index == graph.output else 1.0
        if graph.name(index) in ranges:
            low, high = ranges[graph.name(index)]
            found[graph.name(index)] = (low * wider, high * wider)
    if any(graph.input in op.inputs and one.activations == "int16" for op, one in ops):
        end = 32767 * normalisation.scale / _int16_steps(normalisation)
        found[graph.name(graph.input)] = (-end, end)
    return found


def _int16_steps(normalisation: Normalisation) -> int:
    """Return how many 16-bit steps a pixel's step is: as many as there is room for, zero point 0."""
    return 32767 // max(normalisation.zero_point, 255 - normalisation.zero_point)


def _guard_small_channels(model: bytes, numbers: Sequence[Numbers], ranges: Ranges) -> bytes:
    """Return `model` with weights large enough that every bias can be stored.

    Pretrained networks have channels whose weights are nothing beside their bias, EfficientNet-Lite0 some dozens. The
    weights set the channel's scale, the bias is stored in steps of it, and would not fit int32: the quantizer's cast
    then turns a large positive bias into a large negative one. The largest weight of such a channel is raised as far
    as needed, some millionths.
    """
    graph = Graph.read(model)
    changed = False
    for op, one in zip(graph.ops(), numbers, strict=True):
        if op.name not in WEIGHTED or one.weights not in BITS:
            continue
        weights = graph.constant(op.inputs[1])
        if weights is None:
            continue
        bias = graph.constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        step = _input_step(ranges.get(graph.name(op.inputs[0]), (0.0, 1.0)), one.activations)
        raised = _raised(weights, bias, step, last=op.name == "DEPTHWISE_CONV_2D")
        if raised is not None:
            graph.set_constant(op.inputs[1], raised)
            changed = True
    return graph.to_bytes() if changed else model


def _input_step(span: tuple[float, float], activations: str) -> float:
    """Return the size of a step of an op's input; a bias beside int16 is int64, but the quantizer cuts it to 32."""
    low, high = span
    step = max(abs(low), abs(high)) / 32767 if activations == "int16" else (high - low) / 255
    return max(step, 1e-9)


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


def _take_raw(graph: Graph, normalisation: Normalisation) -> None:
    """Put one op before the graph that makes its input of raw pixels; ids of tokens go in as they are."""
    inner = graph.input
    if graph.dtype(inner) == "int32":
        graph.tensor(inner).name = b"tokens"
        graph.set_ends(input_index=inner, input_name="tokens", output_index=graph.output, output_name="features")
        return
    outer = graph.add_tensor(
        "image", graph.shape(inner), "uint8", Quantization(normalisation.scale, normalisation.zero_point)
    )
    if graph.dtype(inner) == "float32":
        graph.add_op("DEQUANTIZE", [outer], [inner], options=schema.DequantizeOptionsT(), first=True)
    else:
        stored = _stored_pixels(graph.dtype(inner), normalisation)
        _same_steps(graph.quantization(inner), stored)
        # Version 2 of QUANTIZE takes integers. From uint8 to int8 with one scale it only flips the top bit; to int16
        # it multiplies by a whole number: both are exact.
        graph.add_op("QUANTIZE", [outer], [inner], version=2, options=schema.QuantizeOptionsT(), first=True)
        graph.tensor(inner).quantization.scale = [stored.scale]
        graph.tensor(inner).quantization.zeroPoint = [stored.zero_point]
    graph.set_ends(input_index=outer, input_name="image", output_index=graph.output, output_name="features")


def _stored_pixels(dtype: str, normalisation: Normalisation) -> Quantization:
    """Return what the graph's input must mean for pixels to become it exactly."""
    if dtype == "int16":
        return Quantization(normalisation.scale / _int16_steps(normalisation), 0)
    return Quantization(normalisation.scale, normalisation.zero_point - 128)


def _same_steps(got: Quantization | None, wanted: Quantization) -> None:
    close = got is not None and abs(got.scale / wanted.scale - 1) < 1e-5 and got.zero_point == wanted.zero_point
    if not close:
        raise ExportError(f"input quantization: expected {wanted}, that of the pixels, got {got}")
