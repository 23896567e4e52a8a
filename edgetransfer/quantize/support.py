"""What of a recipe a format can carry out, and where it is slower than floats. Reads nothing but the recipe."""

from __future__ import annotations

from edgetransfer.spec.recipe import Recipe

_ONNX_WAYS = {
    ("float32", "float32"),
    ("float16", "float32"),
    ("int8", "dynamic"),
    ("int8", "int8"),
    ("int8", "uint8"),
}


def why_not(format: str, recipe: Recipe) -> str | None:
    """Return why `recipe` cannot be carried out for `format`, None if it can."""
    pairs = [(recipe.weights, recipe.activations), *((one.weights, one.activations) for one in recipe.overrides)]
    for weights, activations in pairs:
        reason = _contradiction(weights, activations) or _CHECKS[format](weights, activations)
        if reason is not None:
            return reason
    if recipe.granularity == "-" and recipe.weights.startswith("int"):
        return f"{recipe.weights} weights need a granularity, per_channel or per_tensor"
    if format == "tflm" and recipe.overrides:
        return "every op of a microcontroller's graph is static int8; leave the overrides out"
    return None


def _contradiction(weights: str, activations: str) -> str | None:
    if weights.startswith("float") and activations != "float32":
        return f"{activations} activations need integer weights, not {weights}"
    return None


def _litert(weights: str, activations: str) -> str | None:
    if activations == "uint8":
        return "LiteRT's kernels take int8 activations, not uint8, beside int8 weights"
    return None


def _onnx(weights: str, activations: str) -> str | None:
    if (weights, activations) in _ONNX_WAYS:
        return None
    if activations == "int16":
        return "ONNX Runtime has no convolution with int16 activations"
    if weights == "int4":
        return "ONNX Runtime has no convolution with int4 weights"
    return f"{weights} weights with {activations} activations are not written for ONNX"


def _tflm(weights: str, activations: str) -> str | None:
    if (weights, activations) == ("int8", "int8"):
        return None
    return "a microcontroller's graph has int8 weights and int8 activations (static_int8, static_int8_per_tensor)"


_CHECKS = {"litert": _litert, "onnx": _onnx, "tflm": _tflm}
