"""Resolves a wish (backbone, recipe, device) into a `Plan`, or refuses before anything is trained.

What the caller names is taken or refused, never replaced; what the caller leaves open is chosen here, and the plan's
notes say what and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgetransfer.errors import BackboneError, DeviceError, RecipeError, UnknownNameError
from edgetransfer.estimate import size
from edgetransfer.quantize.plan_notes import like, megabytes, notes
from edgetransfer.quantize.support import why_not, why_not_of_kind
from edgetransfer.spec.backbone import BackboneSpec
from edgetransfer.spec.device import Device, EngineSupport
from edgetransfer.spec.manifest import FORMATS
from edgetransfer.spec.preprocess import CHANNELS
from edgetransfer.spec.recipe import RECIPES, Plan, Recipe

FORMAT_OF_ENGINE = {"litert": "litert", "onnx": "onnx", "tflm": "tflm"}
"""The file format that each engine opens; the first is this machine's choice where nothing is named."""
PREFERENCE = ("static_int8", "static_int8_per_tensor", "float32", "float16", "dynamic_int8")
"""Recipes in the order in which they are tried when the caller names none.

static_int8 is the smallest but two and, where measured, the fastest on CPUs. dynamic_int8 comes last: with LiteRT 2.3
on x86-64, EfficientNet-Lite0 at 224 px, one thread, it took 15.3 ms, float32 5.1 ms, static_int8 2.0 ms.
static_int16x8 and weight_int4 are for those who ask for them.
"""


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine that may be used for a backbone of a `kind`; `support` is the device file's, None without a device."""

    name: str
    support: EngineSupport | None
    kind: str

    def why_not(self, recipe: Recipe) -> str | None:
        """Return why `recipe` does not run on this engine there, None if it does."""
        format = FORMAT_OF_ENGINE[self.name]
        reason = why_not_of_kind(self.kind, format, recipe) or why_not(format, recipe)
        if reason is not None or self.support is None:
            return reason
        return self.support.why_not(like(recipe))

    @property
    def providers(self) -> tuple[str, ...]:
        return () if self.support is None else self.support.providers


@dataclass(frozen=True, slots=True)
class _Model:
    """The backbone at one width, and what its file may weigh (None: anything)."""

    backbone: BackboneSpec
    alpha: float
    room_bytes: int | None

    def bytes_as(self, recipe: Recipe) -> int:
        return size.model_bytes(size.parameters(self.backbone, self.alpha), recipe)

    def fits_as(self, recipe: Recipe) -> bool:
        return self.room_bytes is None or self.bytes_as(recipe) <= self.room_bytes


def make_plan(
    backbone: BackboneSpec,
    recipe: Recipe | None = None,
    device: Device | None = None,
    *,
    alpha: float | None = None,
    input_px: int | None = None,
    format: str | None = None,
    engine: str | None = None,
    alternatives: Iterable[BackboneSpec] = (),
) -> Plan:
    """Return everything that will be built, decided; loads no Keras and no engine.

    Args:
        backbone: What it offers; for "keras:PATH" models made from the file.
        recipe: The wish, or None for the first of `PREFERENCE` that the device runs and has room for.
        device: Where the model will run, or None for this machine.
        alpha: Width multiplier; None for the backbone's default.
        input_px: Height and width of the input; None for the backbone's default.
        format: File format; None for the engine's.
        engine: None for the first that the device lists and that opens a format this version writes.
        alternatives: Other backbones to name when this one is too large.

    Raises:
        UnknownNameError: no such engine.
        BackboneError: the backbone has no such alpha or size.
        RecipeError: no engine of the device runs the recipe, or nothing writes that format.
        DeviceError: the device has no such engine, or the model does not fit its budget.
    """
    width = size.default_alpha(backbone) if alpha is None else alpha
    size_px = backbone.input_px if input_px is None else input_px
    _check_backbone(backbone, width, size_px)
    engines = _engines(device, _format(engine, format), engine, backbone.kind)
    model = _Model(backbone, width, None if device is None else device.max_model_bytes)
    chosen, chosen_engine = _choose(model, recipe, engines, device, tuple(alternatives))
    passed_over = [] if recipe else _passed_over(chosen, model, engines)
    said = notes(backbone, width, size_px, chosen, device, chosen_engine.support)
    note = _recipe_note(chosen, recipe, passed_over)
    return Plan(
        backbone=backbone.name,
        alpha=width,
        height_px=size_px,
        width_px=size_px,
        normalisation=backbone.normalisation,
        recipe=_in_format(chosen, chosen_engine),
        format=FORMAT_OF_ENGINE[chosen_engine.name],
        engine=chosen_engine.name,
        device=None if device is None else device.slug,
        threads=None if device is None else device.threads,
        notes=(note, *_sign_notes(chosen, chosen_engine), *said),
        providers=chosen_engine.providers,
        channels=backbone.channels,
    )


def plan_as_text(plan: Plan, *, notes: bool = True, takes: str | None = None) -> str:
    """Return `plan` as lines for a reader: what will be built, then (`notes`) why and what not.

    `takes` says what the model looks at where that is no image.
    """
    rows = [
        ("backbone", f"{plan.backbone}, alpha {plan.alpha:g}"),
        ("input", takes or f"{plan.height_px} x {plan.width_px} px, {CHANNELS[plan.channels]}"),
        ("recipe", f"{plan.recipe.name}: {plan.recipe.summary}"),
        ("format", plan.format),
        ("engine", plan.engine + (f" on {', '.join(plan.providers)}" if plan.providers else "")),
        ("device", plan.device or "none named"),
        ("threads", "not advised: measure" if plan.threads is None else str(plan.threads)),
    ]
    lines = [f"{label:<10}{value}" for label, value in rows]
    if not notes:
        return "\n".join(lines)
    return "\n".join([*lines, "", *(f"- {note}" for note in plan.notes)])


def _check_backbone(backbone: BackboneSpec, alpha: float, input_px: int) -> None:
    if backbone.alphas and alpha not in backbone.alphas:
        known = ", ".join(f"{known:g}" for known in backbone.alphas)
        raise BackboneError(f"backbone {backbone.name!r}: expected an alpha of {known}, got {alpha:g}")
    if input_px < backbone.minimum_px:
        raise BackboneError(
            f"backbone {backbone.name!r}: expected an input size of at least {backbone.minimum_px} px, got {input_px}"
        )


def _format(engine: str | None, format: str | None) -> str | None:
    """Return the one format that is asked for, by itself or through the engine; refuse one that nothing writes."""
    if engine is not None and engine not in FORMAT_OF_ENGINE:
        raise UnknownNameError("engine", engine, FORMAT_OF_ENGINE)
    needed = None if engine is None else FORMAT_OF_ENGINE[engine]
    if format is not None and needed is not None and format != needed:
        raise RecipeError(f"engine {engine!r} opens the format {needed!r}, not {format!r}: name only one of the two")
    asked = format or needed
    if asked is not None and asked not in FORMATS:
        raise RecipeError(f"this version of edgetransfer writes the format {', '.join(FORMATS)}, not {asked!r}")
    return asked


def _engines(device: Device | None, format: str | None, engine: str | None, kind: str) -> list[_Engine]:
    """Return the engines that may be used, in the device's order; at least one."""
    listed = (
        [_Engine(name, None, kind) for name in FORMAT_OF_ENGINE]
        if device is None
        else [_Engine(support.name, support, kind) for support in device.engines]
    )
    formats = FORMATS if format is None else (format,)
    found = [e for e in listed if engine in (None, e.name) and FORMAT_OF_ENGINE[e.name] in formats]
    if not found:
        slug = "this machine" if device is None else f"device {device.slug!r}"
        names = ", ".join(e.name for e in listed)
        wanted = f"engine {engine!r}" if engine else f"engine for the format {' or '.join(formats)}"
        raise DeviceError(f"{slug} has no {wanted}: it lists {names}, and edgetransfer writes {', '.join(FORMATS)}")
    return found


def _choose(
    model: _Model,
    wanted: Recipe | None,
    engines: Sequence[_Engine],
    device: Device | None,
    alternatives: tuple[BackboneSpec, ...],
) -> tuple[Recipe, _Engine]:
    """Return the first recipe and engine that run there and fit; refuse when there is none."""
    slug = "this machine" if device is None else f"device {device.slug!r}"
    runnable = [RECIPES[name] for name in PREFERENCE if _engine_for(RECIPES[name], engines)]
    tried = [wanted] if wanted else runnable
    for recipe in tried:
        engine = _engine_for(recipe, engines)
        if engine is None:
            raise RecipeError(f"{slug} does not run {_refusal(recipe, engines)}; {_other(runnable, model)}")
        if model.fits_as(recipe):
            return recipe, engine
    if not tried:
        raise RecipeError(f"{slug} runs none of the recipes {', '.join(PREFERENCE)}; choose another device")
    raise DeviceError(f"{slug} has no room for {_too_large(model, tried, runnable, alternatives)}")


def _engine_for(recipe: Recipe, engines: Sequence[_Engine]) -> _Engine | None:
    return next((engine for engine in engines if engine.why_not(recipe) is None), None)


def _in_format(recipe: Recipe, engine: _Engine) -> Recipe:
    """Return `recipe` with the sign that 8-bit activations have in the engine's format.

    ONNX Runtime's CPU kernels are twice as fast on uint8 as on int8 (EfficientNet-Lite0: 2.5 and 3.9 ms on one
    thread); TensorRT takes int8 only. LiteRT knows int8 only.
    """
    if engine.name != "onnx" or recipe.activations != "int8" or "tensorrt" in engine.providers:
        return recipe
    return replace(recipe, activations="uint8")


def _sign_notes(recipe: Recipe, engine: _Engine) -> tuple[str, ...]:
    if engine.name != "onnx" or recipe.activations != "int8":
        return ()
    if "tensorrt" in engine.providers:
        return ("Activations are int8, symmetric: TensorRT takes no other.",)
    return ("Activations are uint8: ONNX Runtime's CPU kernels take them twice as fast as int8.",)


def _refusal(recipe: Recipe, engines: Sequence[_Engine]) -> str:
    reasons = "; ".join(f"{engine.name}: {engine.why_not(recipe)}" for engine in engines)
    return f"recipe {recipe.name!r} ({reasons})"


def _other(recipes: Sequence[Recipe], model: _Model) -> str:
    fitting = [repr(recipe.name) for recipe in recipes if model.fits_as(recipe)]
    return f"try recipe {' or '.join(fitting)}" if fitting else "try a smaller backbone, or another device"


def _too_large(
    model: _Model, tried: Sequence[Recipe], runnable: Sequence[Recipe], alternatives: tuple[BackboneSpec, ...]
) -> str:
    smallest = min(tried, key=model.bytes_as)
    ways = [
        f"recipe {recipe.name!r} ({megabytes(model.bytes_as(recipe))})" for recipe in runnable if model.fits_as(recipe)
    ] or _smaller_models(model, smallest, alternatives)
    advice = (
        f"try {' or '.join(ways)}" if ways else "try a smaller backbone, or a copy of the file with a larger budget"
    )
    return (
        f"{model.backbone.name} at alpha {model.alpha:g} as {smallest.name}: about "
        f"{megabytes(model.bytes_as(smallest))}, its budget (advice.max_model_bytes) is "
        f"{megabytes(model.room_bytes or 0)}; {advice}"
    )


def _smaller_models(model: _Model, recipe: Recipe, alternatives: tuple[BackboneSpec, ...]) -> list[str]:
    narrower = sorted(alpha for alpha in model.backbone.alphas if alpha < model.alpha)
    fitting = [a for a in narrower if _Model(model.backbone, a, model.room_bytes).fits_as(recipe)]
    others = sorted(alternatives, key=lambda spec: -spec.parameters)
    smaller = [s for s in others if _Model(s, size.default_alpha(s), model.room_bytes).fits_as(recipe)]
    return [f"alpha {alpha:g}" for alpha in fitting[-1:]] + [f"backbone {spec.name!r}" for spec in smaller[:2]]


def _passed_over(chosen: Recipe, model: _Model, engines: Sequence[_Engine]) -> list[str]:
    """Return a phrase for each recipe that would have been taken before `chosen`."""
    found = []
    for name in PREFERENCE[: PREFERENCE.index(chosen.name)]:
        recipe = RECIPES[name]
        if _engine_for(recipe, engines) is None:
            found.append(f"does not run {_refusal(recipe, engines)}")
        elif not model.fits_as(recipe):
            found.append(f"has no room for {name} ({megabytes(model.bytes_as(recipe))})")
    return found


def _recipe_note(chosen: Recipe, wanted: Recipe | None, passed_over: Sequence[str]) -> str:
    if wanted is not None:
        return f"Recipe {chosen.name} was asked for."
    if passed_over:
        return f"Recipe {chosen.name} was chosen because the device {' and '.join(passed_over)}."
    return f"Recipe {chosen.name} was chosen: about a third of float32's bytes, and the fastest where it was measured."
