"""Carries out a recipe: a float ONNX graph in, one with raw uint8 pixels as its input out."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgetransfer.errors import RecipeError
from edgetransfer.quantize import onnx_static
from edgetransfer.quantize.onnx_calibrate import session_options
from edgetransfer.quantize.onnx_graph import OnnxGraph
from edgetransfer.quantize.support import why_not_of_kind
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Ranges

IMAGE, FEATURES = "image", "features"
"""Names of a deployed graph's input and output."""
TOKENS = "tokens"
"""Name of the input of a graph of sentences, float or deployed: ids, which stay what they are."""
_HALF_LIMIT = float(np.finfo(np.float16).max)
_CARRIED_OUT = (("float32", "float32"), ("float16", "float32"), ("int8", "uint8"), ("int8", "int8"))
"""Weights and activations."""
_JUDGED = 32  # images on which the better weight ranges are chosen
_REFUSED = {
    ("int8", "dynamic"): "ONNX Runtime's ConvInteger has no depthwise kernel and one scale a weight tensor; "
    "EfficientNet-Lite0 took 7 times as long as in float32. Take static_int8, or float16 for fewer bytes",
    (
        "int8",
        "int16",
    ): "no kernel of ONNX Runtime multiplies 16-bit activations; it would compute in floats and round in "
    "between, slower than float32. Take float32 or float16",
    ("int4", "dynamic"): "ONNX Runtime has no convolution with 4-bit weights; it would compute in floats. Take "
    "static_int8",
}


def carry_out(
    float_model: bytes,
    recipe: Recipe,
    normalisation: Normalisation,
    ranges: Ranges | None = None,
    images: NDArray[np.uint8] | None = None,
) -> bytes:
    """Return `float_model` with `recipe` carried out and raw pixels, (1, H, W, 3) uint8, as its input.

    Args:
        float_model: An ONNX file with one float32 input (1, H, W, 3) of normalised pixels.
        recipe: What to do.
        normalisation: What the float model expects of a pixel: the scale and zero point of the first op, a
            DequantizeLinear. In a graph of uint8 activations the raw pixel is the quantized input.
        ranges: From `onnx_calibrate`; needed exactly when the recipe needs calibration.
        images: (n, H, W, 3) uint8 that `ranges` come from; "best" weight ranges are those whose features on them are
            nearer to the float model's.

    Raises:
        RecipeError: `ranges` are missing, or ONNX Runtime has no way to compute the recipe.
    """
    graph = OnnxGraph.read(float_model)
    reason = why_not_of_kind("text", "onnx", recipe) if graph.input == TOKENS else None
    if reason is not None:
        raise RecipeError(f"recipe {recipe.name!r} cannot be carried out for ONNX: {reason}")
    _check(recipe, ranges)
    if recipe.is_static:
        return _static(float_model, recipe, normalisation, ranges or {}, images)
    if recipe.weights == "float16":
        _halve(graph, recipe)
    _take_raw_pixels(graph, normalisation)
    return graph.to_bytes()


def _check(recipe: Recipe, ranges: Ranges | None) -> None:
    kind = (recipe.weights, recipe.activations)
    if kind in _REFUSED:
        raise RecipeError(f"recipe {recipe.name!r} cannot be carried out for ONNX: {_REFUSED[kind]}")
    if kind not in _CARRIED_OUT:
        known = ", ".join(f"{weights} with {activations}" for weights, activations in _CARRIED_OUT)
        raise RecipeError(
            f"recipe {recipe.name!r}: weights {recipe.weights} with activations {recipe.activations}: for ONNX "
            f"expected one of {known}"
        )
    if recipe.overrides and not recipe.is_static:
        raise RecipeError(f"recipe {recipe.name!r}: overrides are for recipes with integer activations in ONNX")
    onnx_static.check_overrides(recipe)
    if recipe.needs_calibration and ranges is None:
        raise RecipeError(f"recipe {recipe.name!r} needs calibrated ranges, got none")


def _static(
    float_model: bytes,
    recipe: Recipe,
    normalisation: Normalisation,
    ranges: Ranges,
    images: NDArray[np.uint8] | None,
) -> bytes:
    def made(*, searched: bool) -> bytes:
        graph = onnx_static.quantize(OnnxGraph.read(float_model), recipe, normalisation, ranges, searched=searched)
        _take_raw_pixels(graph, normalisation)
        return graph.to_bytes()

    if recipe.weight_ranges != "best":
        return made(searched=recipe.weight_ranges == "mse")
    if images is None:
        raise RecipeError(f"recipe {recipe.name!r}: the best weight ranges are judged on images, got none")
    images = images[:_JUDGED]
    pixels = normalisation.to_real(images)
    wanted = _features(float_model, pixels)
    plain, searched = made(searched=False), made(searched=True)
    return searched if _nearness(searched, images, wanted) > _nearness(plain, images, wanted) else plain


def _nearness(model: bytes, images: NDArray[np.uint8], wanted: NDArray[np.float32]) -> float:
    """Return the mean cosine of the features of `images` to `wanted`."""
    got = _features(model, images)
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(np.mean((got * wanted).sum(axis=1) / np.maximum(lengths, 1e-12)))


def _features(model: bytes, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, session_options(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in inputs])


def _halve(graph: OnnxGraph, recipe: Recipe) -> None:
    """Store weights as float16; a Cast, which engines carry out once on loading, makes floats of them."""
    users = {name for node in graph.nodes for name in node.input}
    for name, value in sorted(graph.constants.items()):
        if value.dtype != np.float32 or value.ndim == 0 or name not in users:
            continue
        if np.abs(value).max(initial=0) > _HALF_LIMIT:
            raise RecipeError(f"recipe {recipe.name!r}: {name!r} has numbers beyond float16's {_HALF_LIMIT:g}")
        graph.constants[f"{name}/half"] = value.astype(np.float16)
        del graph.constants[name]
        cast = helper.make_node("Cast", [f"{name}/half"], [name], name=f"{name}/Cast", to=TensorProto.FLOAT)
        graph.nodes.insert(0, cast)


def _take_raw_pixels(graph: OnnxGraph, normalisation: Normalisation) -> None:
    """Make the graph's first op one that turns raw pixels into what it took so far; tokens go in as they are."""
    if graph.input == TOKENS:
        return
    inner, shape = graph.input, graph.shape("input")
    consumers = graph.consumers()
    for quantized in [node for node in consumers[inner] if node.op_type == "QuantizeLinear"]:
        for real in consumers[quantized.output[0]]:  # the pair is what the new op does by itself
            graph.rename({real.output[0]: inner})
            graph.nodes.remove(real)
        graph.nodes.remove(quantized)
    graph.constants["image/scale"] = np.array(normalisation.scale, np.float32)
    graph.constants["image/zero_point"] = np.array(normalisation.zero_point, np.uint8)
    inputs = [IMAGE, "image/scale", "image/zero_point"]
    graph.nodes.insert(0, helper.make_node("DequantizeLinear", inputs, [inner], name="image/DequantizeLinear"))
    graph.set_end("input", IMAGE, np.uint8, shape)
