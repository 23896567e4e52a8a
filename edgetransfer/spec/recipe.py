"""Recipes: the wish. Plans: the wish resolved for one backbone, input and device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import RecipeError, UnknownNameError
from edgetransfer.spec.preprocess import Normalisation

WEIGHTS = ("float32", "float16", "int8", "int4")
ACTIVATIONS = ("float32", "dynamic", "int8", "uint8", "int16")
GRANULARITIES = ("-", "per_channel", "per_tensor")
WEIGHT_RANGES = ("best", "min_max", "mse")


@dataclass(frozen=True, slots=True)
class Override:
    """Other numbers for the ops in whose name `pattern`, a regular expression, is found (`re.search`).

    An op's name is that of the tensor it computes, which begins with the Keras layer's name.
    """

    pattern: str
    weights: str
    activations: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise RecipeError(f"override {self.pattern!r}: expected a regular expression: {error}") from error
        where = f"override {self.pattern!r}"
        _one_of(where, "weights", self.weights, WEIGHTS)
        _one_of(where, "activations", self.activations, ACTIVATIONS)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {"pattern": self.pattern, "weights": self.weights, "activations": self.activations}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How numbers are stored and computed.

    `weights` and `activations` are dtypes; `granularity` says whether a weight tensor has one scale per
    output channel or one in all. "dynamic" activations are float32 between ops and int8 inside them. `weight_ranges`
    says how weights are rounded: to steps of "min_max" ranges, of "mse" ranges (searched for the least squared error),
    or "best": of either, together and on calibration images, and what comes nearest to the float model's features
    is taken.
    Of several `overrides` that match an op the last one holds. `needed_by` says who needs the recipe.
    """

    name: str
    weights: str
    activations: str
    granularity: str
    summary: str
    needed_by: str = ""
    overrides: tuple[Override, ...] = ()
    weight_ranges: str = "best"

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        _one_of(where, "weights", self.weights, WEIGHTS)
        _one_of(where, "activations", self.activations, ACTIVATIONS)
        _one_of(where, "granularity", self.granularity, GRANULARITIES)
        _one_of(where, "weight_ranges", self.weight_ranges, WEIGHT_RANGES)

    @property
    def needs_calibration(self) -> bool:
        """Whether training images are needed: to set ranges of activations, or to choose and round weights by."""
        return self.has_static_ranges or (self.weight_ranges == "best" and self.has_integer_weights)

    @property
    def has_static_ranges(self) -> bool:
        """Whether any op has activations of a range that is fixed beforehand."""
        return self.is_static or any(one.activations in ("int8", "uint8", "int16") for one in self.overrides)

    @property
    def has_integer_weights(self) -> bool:
        """Whether any op has weights that are rounded to integers."""
        return any(weights in ("int8", "int4") for weights in (self.weights, *(one.weights for one in self.overrides)))

    @property
    def is_static(self) -> bool:
        """Whether activations are integers of a range that is fixed beforehand."""
        return self.activations in ("int8", "uint8", "int16")

    @property
    def output_dtype(self) -> str:
        """The dtype of the logits in formats that keep integers at their ends."""
        return self.activations if self.is_static else "float32"

    def override_of(self, op: str) -> Override | None:
        """Return the override that holds for the op of that name: the last that matches; None if none does."""
        return next((one for one in reversed(self.overrides) if re.search(one.pattern, op)), None)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {
            "name": self.name,
            "weights": self.weights,
            "activations": self.activations,
            "granularity": self.granularity,
            "weight_ranges": self.weight_ranges,
            "overrides": [one.to_json() for one in self.overrides],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_json` described; what people read of it is looked up by its name.

        Raises:
            RecipeError: a field holds what no recipe can.
        """
        known = RECIPES.get(data["name"])
        overrides = tuple(Override(**one) for one in data["overrides"])
        texts = ("", "") if known is None else (known.summary, known.needed_by)
        return cls(
            name=data["name"],
            weights=data["weights"],
            activations=data["activations"],
            granularity=data["granularity"],
            summary=texts[0],
            needed_by=texts[1],
            overrides=overrides,
            weight_ranges=data["weight_ranges"],
        )


def _one_of(where: str, field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecipeError(f"{where}: {field}: expected one of {', '.join(known)}, got {value!r}")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "float32",
            "float32",
            "float32",
            "-",
            "nothing quantized: the yardstick",
            "comparisons; GPUs that want floats",
        ),
        Recipe("float16", "float16", "float32", "-", "half the bytes, float arithmetic", "GPUs of phones and Jetsons"),
        Recipe(
            "dynamic_int8",
            "int8",
            "dynamic",
            "per_channel",
            "a quarter of the bytes; ranges found for each image",
            "CPUs, where training photos are unlike the device's",
        ),
        Recipe(
            "static_int8",
            "int8",
            "int8",
            "per_channel",
            "integers throughout: fastest on CPUs",
            "CPUs; NPUs; Edge TPU; microcontrollers",
        ),
        Recipe(
            "static_int8_per_tensor",
            "int8",
            "int8",
            "per_tensor",
            "as static_int8 with one scale a weight tensor; costs accuracy",
            "NPUs that take or like only that: STM32MP25, VeriSilicon",
        ),
        Recipe(
            "static_int16x8",
            "int8",
            "int16",
            "per_channel",
            "activations of 16 bits: where 8 lose too much; slow on CPUs",
            "DSPs and NPUs with 16-bit activations; audio",
        ),
        Recipe(
            "weight_int4",
            "int4",
            "dynamic",
            "per_channel",
            "the smallest file; activations as dynamic_int8",
            "downloads and flash that are too small for int8",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe called `name`.

    Raises:
        UnknownNameError: there is none; says which name is near.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES, hint="A recipe of your own: give its path, ending in .toml.")
    return RECIPES[name]


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be built: every choice made, before anything is trained.

    `backbone` is the registered name or "keras:FILE NAME"; `alpha` its width multiplier. `device` is a slug or
    None. `providers` are the ONNX engine's, in order; empty for others. `threads` is advice for the device, kept out
    of hashed files. `notes` says why, in sentences.
    """

    backbone: str
    alpha: float
    height_px: int
    width_px: int
    normalisation: Normalisation
    recipe: Recipe
    format: str
    engine: str
    device: str | None
    threads: int | None
    notes: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    channels: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; three channels are not told, as there was nothing else at first."""
        said: dict[str, Any] = {
            "backbone": self.backbone,
            "alpha": self.alpha,
            "height_px": self.height_px,
            "width_px": self.width_px,
            "normalisation": self.normalisation.to_json(),
            "recipe": self.recipe.to_json(),
            "format": self.format,
            "engine": self.engine,
            "providers": list(self.providers),
            "device": self.device,
            "threads": self.threads,
            "notes": list(self.notes),
        }
        return said if self.channels == 3 else said | {"channels": self.channels}
