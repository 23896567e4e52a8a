"""What `recommend` chooses among: backbones whose weights are here, times widths, input sizes and recipes that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from edgetransfer import registry
from edgetransfer.errors import BackboneError, DeviceError, RecipeError
from edgetransfer.estimate import size
from edgetransfer.models import backbones, weights
from edgetransfer.quantize.plan import PREFERENCE, make_plan
from edgetransfer.spec.backbone import BackboneChoice, BackboneSpec
from edgetransfer.spec.device import Device
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import Plan, Recipe
from edgetransfer.spec.recipe_file import load_recipe

SMALLER, LARGER = 0.75, 1.25
"""Input sizes beside the default: the nearest that is at most, and at least, so many times as large. Networks do well
on somewhat larger inputs than they were trained on (Touvron et al. 2019: 224 px, tested at 288)."""
STRIDE_PX = 32  # what all registered backbones divide their input by
SURELY = 0.85  # estimates of bytes are up to 13 % high: this part of one is too large only where the file is

Kind = Literal["weights", "plan", "limit", "failed", "time", "unasked"]
_NO_ROOM_ASKED = 1 << 60


@dataclass(frozen=True, slots=True)
class Space:
    """What to choose among; what is empty or None is everything sensible.

    Attributes:
        backbones: Registered names, or "keras:PATH".
        alphas: Width multipliers.
        inputs_px: Heights and widths of the input.
        recipes: Names, or .toml files.
        format: File format.
        normalisation: What "keras:PATH" models expect of a pixel.
    """

    backbones: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()
    inputs_px: tuple[int, ...] = ()
    recipes: tuple[str, ...] = ()
    format: str | None = None
    normalisation: Normalisation | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that could be built.

    Attributes:
        choice: The backbone with width and size, as `build` takes it.
        recipe: The recipe, as `build` takes it.
        plan: What would be built.
        macs: About how many multiply-adds an image takes.
        rank: 0 where the recipe is the first choice, which is looked at first.
    """

    choice: BackboneChoice
    recipe: str
    plan: Plan
    macs: int
    rank: int

    @property
    def network(self) -> str:
        """Backbone, width and size, for the reader."""
        return _named(self.plan.backbone, self.choice.alpha, self.plan.height_px)

    @property
    def name(self) -> str:
        """The same with the recipe."""
        return f"{self.network} {self.plan.recipe.name}"

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON values."""
        return {
            "backbone": self.choice.name,
            "alpha": self.plan.alpha,
            "input_px": self.plan.height_px,
            "recipe": self.recipe,
            "format": self.plan.format,
            "engine": self.plan.engine,
        }


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not judged, and why: no weights, no fit, over a limit, failed, no time, or not asked for by name."""

    what: str
    kind: Kind
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"what": self.what, "kind": self.kind, "reason": self.reason}


def list_candidates(
    space: Space, device: Device | None, max_bytes: int | None = None
) -> tuple[list[Candidate], list[LeftOut]]:
    """Return what fits, and what is left out with the reason; loads Keras for "keras:PATH" only.

    Args:
        space: What was asked for.
        device: Where it will run, or None for this machine.
        max_bytes: What the model's file may weigh.

    Raises:
        UnknownNameError: no backbone or recipe of such a name.
        RecipeError: a recipe's file is malformed.
        DeviceError: the device has no engine for the format.
    """
    choices, left_out = _choices(space)
    if not choices:
        return [], left_out
    specs = [_spec(choice) for choice in choices]
    recipes, refused = _recipes(space, specs[0], device)
    found: list[Candidate] = []
    for choice, spec in zip(choices, specs, strict=True):
        for rank, (text, recipe) in enumerate(recipes):
            try:
                one = _candidate(choice, spec, (text, recipe, rank), space, device)
            except (BackboneError, DeviceError, RecipeError) as reason:
                named = _named(spec.name, choice.alpha, choice.input_px or spec.input_px)
                refused.append(LeftOut(f"{named} {recipe.name}", "plan", str(reason)))
                continue
            about = size.model_bytes(size.parameters(spec, one.plan.alpha), one.plan.recipe)
            if max_bytes is not None and SURELY * about > max_bytes:
                refused.append(LeftOut(one.name, "limit", f"about {about:,} bytes, over --max-bytes {max_bytes:,}"))
            else:
                found.append(one)
    return found, left_out + refused


def input_sizes(spec: BackboneSpec) -> tuple[int, ...]:
    """Return the sizes to try: the default, then one smaller and one larger where there are any."""
    low, high = SMALLER * spec.input_px, LARGER * spec.input_px
    smaller = max((px for px in spec.sizes_px if px <= low), default=int(low) // STRIDE_PX * STRIDE_PX)
    larger = min((px for px in spec.sizes_px if px >= high), default=-(-int(high) // STRIDE_PX) * STRIDE_PX)
    found = [spec.input_px]
    if smaller >= max(spec.minimum_px, STRIDE_PX):
        found.append(smaller)
    if larger <= backbones.MOST_PX:
        found.append(larger)
    return tuple(found)


def _named(name: str, alpha: float | None, input_px: int) -> str:
    width = "" if alpha is None or alpha == 1 else f" alpha {alpha:g}"
    return f"{name}{width} {input_px} px"


def _choices(space: Space) -> tuple[list[BackboneChoice], list[LeftOut]]:
    """Return every backbone, width and size whose weights are here, and what has none."""
    found: list[BackboneChoice] = []
    left_out: list[LeftOut] = []
    photographic = [name for name in backbones.names() if backbones.get_spec(name).kind == "image"]
    for name in space.backbones:
        if name in backbones.names() and name not in photographic:
            raise BackboneError(f"backbone {name!r}: recommend chooses among backbones for photos; use build")
    for name in space.backbones or photographic:
        if name.startswith(backbones.OWN):
            own = [BackboneChoice(name, None, px, None, space.normalisation) for px in space.inputs_px or (None,)]
            found += own
            continue
        spec = backbones.get_spec(name)
        alphas, without = _alphas(spec, space.alphas)
        left_out += without
        for alpha in alphas:
            for px in space.inputs_px or input_sizes(spec):
                file = _weight_file(spec, alpha, px)
                if weights.find(file) is None:
                    how = f"edgetransfer weights fetch {name} --file {file.name}"
                    left_out.append(LeftOut(_named(name, alpha, px), "weights", f"no weights here: {how}"))
                else:
                    found.append(BackboneChoice(name, alpha, px))
    return found, left_out


def _spec(choice: BackboneChoice) -> BackboneSpec:
    own = choice.name.startswith(backbones.OWN)
    return backbones.resolve(choice).spec if own else backbones.get_spec(choice.name)


def _alphas(spec: BackboneSpec, asked: tuple[float, ...]) -> tuple[list[float], list[LeftOut]]:
    """Return the widths to try, by default the least, the usual and the greatest with weights; and the others."""
    if asked:
        known = [alpha for alpha in asked if alpha in spec.alphas]
        others = [alpha for alpha in asked if alpha not in spec.alphas]
        offers = f"it has the alphas {_listed(spec.alphas)}"
        return known, [LeftOut(f"{spec.name} alpha {alpha:g}", "plan", offers) for alpha in others]
    usual = size.default_alpha(spec)
    sizes = (*spec.sizes_px, spec.input_px)
    here = [a for a in spec.alphas or (usual,) if any(weights.find(_weight_file(spec, a, px)) for px in sizes)]
    if not here:
        return [], [LeftOut(spec.name, "weights", f"no weights here: edgetransfer weights fetch {spec.name}")]
    chosen = [alpha for alpha in here if alpha in (min(here), usual, max(here))]
    absent = [alpha for alpha in spec.alphas if alpha not in here]
    unasked = [alpha for alpha in here if alpha not in chosen]
    left_out = []
    if absent:
        how = f"edgetransfer weights fetch {spec.name} --file, with a name of edgetransfer weights list"
        left_out.append(LeftOut(f"{spec.name} alpha {_listed(absent)}", "weights", f"no weights here: {how}"))
    if unasked:
        left_out.append(LeftOut(f"{spec.name} alpha {_listed(unasked)}", "unasked", "only tried with --alpha"))
    return sorted(chosen, key=lambda alpha: alpha != usual), left_out


def _weight_file(spec: BackboneSpec, alpha: float, input_px: int) -> Any:
    plugin = cast(backbones.Plugin, registry.load(backbones.__name__, spec.name, kind="backbone"))
    return plugin.weight_file(alpha, input_px)


def _recipes(space: Space, spec: BackboneSpec, device: Device | None) -> tuple[list[tuple[str, Recipe]], list[LeftOut]]:
    """Return the recipes to try, as typed and as read; by default the first with integers and the first in floats."""
    asked = [(text, load_recipe(text)) for text in dict.fromkeys(space.recipes or PREFERENCE)]
    runs: list[tuple[str, Recipe]] = []
    refused: list[LeftOut] = []
    providers: tuple[str, ...] = ()
    for text, recipe in asked:
        try:
            plan = _plan(spec, recipe, device, space.format)
        except RecipeError as reason:
            refused.append(LeftOut(f"recipe {recipe.name}", "plan", str(reason)))
            continue
        runs.append((text, recipe))
        providers = plan.providers
    if space.recipes or not runs:
        return runs, refused
    floats = [one for one in runs if one[1].weights.startswith("float")]
    if providers and providers[0] != "cpu":
        floats.sort(key=lambda one: one[0] != "float16")  # what graphics processors are made for
    integers = [one for one in runs if one[1].is_static]
    first = [*integers[:1], *floats[:1]] or runs[:1]
    last = max(PREFERENCE.index(text) for text, _ in first)
    return first, [one for one in refused if PREFERENCE.index(one.what.removeprefix("recipe ")) < last]


def _plan(spec: BackboneSpec, recipe: Recipe, device: Device | None, format: str | None) -> Plan:
    """Return a plan that asks only whether the recipe runs, not whether the model fits."""
    roomy = None if device is None else replace(device, max_model_bytes=_NO_ROOM_ASKED)
    return make_plan(spec, recipe, roomy, format=format)


def _candidate(
    choice: BackboneChoice, spec: BackboneSpec, asked: tuple[str, Recipe, int], space: Space, device: Device | None
) -> Candidate:
    text, recipe, rank = asked
    side = choice.input_px or spec.input_px
    plan = make_plan(spec, recipe, device, alpha=choice.alpha, input_px=side, format=space.format)
    return Candidate(choice, text, plan, size.macs(spec, plan.alpha, side), rank)


def _listed(alphas: Sequence[float]) -> str:
    return ", ".join(f"{alpha:g}" for alpha in alphas)
