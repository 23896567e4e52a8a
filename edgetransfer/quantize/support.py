"""What of a recipe a format can carry out, and where it is slower than floats. Reads nothing but the recipe."""

from __future__ import annotations

from edgetransfer.spec.recipe import Override, Recipe

_FLOATS = ("float32", "float32")
_ONNX_WAYS = (_FLOATS, ("float16", "float32"), ("int8", "uint8"), ("int8", "int8"))
_ONNX_REASONS = {
    "dynamic": "ONNX Runtime's ConvInteger has no depthwise kernel: EfficientNet-Lite0 took 7 times as long as in "
    "float32",
    "int16": "ONNX Runtime has no convolution with int16 activations",
    "float32": "for ONNX weights alone are stored as float16, not as integers",
}


def why_not(format: str, recipe: Recipe) -> str | None:
    """Return why `recipe` cannot be carried out for `format`, None if it can."""
    whole = Override(".", recipe.weights, recipe.activations)
    for one in (whole, *recipe.overrides):
        reason = _contradiction(one) or _CHECKS[format](one, recipe)
        if reason is not None:
            return reason if one is whole else f"override {one.pattern!r}: {reason}"
    if recipe.granularity == "-" and recipe.weights.startswith("int"):
        return f"{recipe.weights} weights need a granularity, per_channel or per_tensor"
    return None


def why_not_of_kind(kind: str, format: str, recipe: Recipe) -> str | None:
    """Return why `recipe` cannot be carried out for backbones that look at `kind`, None if it can."""
    if kind != "text":
        return None
    if format == "tflm":
        return "backbones of sentences are far too large for a microcontroller, and have float activations"
    if recipe.has_static_ranges:
        return (
            "fixed ranges of activations are not for sentences: in a transformer a few numbers are hundreds of times "
            "as large as all others (Bondarenko et al. 2021, arXiv:2109.12948); take dynamic_int8, of as many bytes"
        )
    if format == "onnx" and recipe.has_integer_weights:
        return "backbones of sentences are written to ONNX in floats only; take float32, or LiteRT for dynamic_int8"
    return None


def slower_than_float(format: str, recipe: Recipe) -> str | None:
    """Return a sentence that says where `recipe` was measured to be slower than float32, None where it was not."""
    if format != "litert":
        return None
    kinds = {(recipe.weights, recipe.activations), *((one.weights, one.activations) for one in recipe.overrides)}
    said = [text for (weights, activations), text in _SLOW.items() if _has(kinds, weights, activations)]
    return said[0].format(name=recipe.name) if said else None


_WHERE = "EfficientNet-Lite0 with LiteRT 2.3 on one x86-64 core took"
_SLOW = {
    # (weights, activations): AVX-512 VNNI 173, 7.5 and 15.3 ms over 5.1; AVX2 alone 20.7, 2.5 and 2.0 times
    (
        "",
        "int16",
    ): f"{{name}} is slower than float32: LiteRT has only reference kernels for int16 activations. {_WHERE} "
    "21 to 34 times as long. It is for accelerators that compute in 16 bits.",
    (
        "int4",
        "dynamic",
    ): f"{{name}} can be slower than float32: {_WHERE} 1.5 times as long with AVX-512 VNNI, 2.5 times "
    "with AVX2. Compare them with edgetransfer profile.",
    ("int4", "float32"): f"{{name}} can be slower than float32: LiteRT unpacks 4-bit weights for each image. {_WHERE} "
    "twice as long with AVX2. Compare them with edgetransfer profile.",
    ("", "dynamic"): f"{{name}} can be slower than float32: {_WHERE} 3.0 times as long with AVX-512 VNNI, 2.0 times "
    "with AVX2. Compare them with edgetransfer profile.",
}


def _has(kinds: set[tuple[str, str]], weights: str, activations: str) -> bool:
    return any((weights or kind[0], activations) == kind for kind in kinds)


def _contradiction(one: Override) -> str | None:
    if one.weights.startswith("float") and one.activations != "float32":
        return f"{one.activations} activations need integer weights, not {one.weights}"
    return None


def _litert(one: Override, _: Recipe) -> str | None:
    if one.activations == "uint8":
        return "LiteRT's kernels take int8 activations beside int8 weights, not uint8"
    return None


def _onnx(one: Override, recipe: Recipe) -> str | None:
    pair = (one.weights, one.activations)
    if one.weights == "int4":
        return "ONNX Runtime has no convolution with int4 weights"
    if pair not in _ONNX_WAYS:
        return _ONNX_REASONS[one.activations]
    if recipe.overrides and not recipe.is_static:
        return "overrides are for recipes with integer activations in ONNX"
    if pair not in (_FLOATS, (recipe.weights, recipe.activations)):
        return f"in ONNX an op is as the whole recipe or in float32, not {one.weights} with {one.activations}"
    return None


def _tflm(one: Override, recipe: Recipe) -> str | None:
    if (one.weights, one.activations) != ("int8", "int8") or recipe.overrides:
        return "every op of a microcontroller's graph has int8 weights and int8 activations; take static_int8"
    return None


_CHECKS = {"litert": _litert, "onnx": _onnx, "tflm": _tflm}
