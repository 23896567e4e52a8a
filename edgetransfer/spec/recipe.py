"""Recipes: the wish. Plans: the wish resolved for one backbone, input and device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import UnknownNameError
from edgetransfer.spec.preprocess import Normalisation


@dataclass(frozen=True, slots=True)
class Recipe:
    """How numbers are stored and computed.

    `weights` and `activations` are dtypes; `granularity` says whether a weight tensor has one scale per
    output channel or one in all. "dynamic" activations are float32 between ops and int8 inside them.
    """

    name: str
    weights: str
    activations: str
    granularity: str
    summary: str

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges must be measured on training images first."""
        return self.activations in ("int8", "int16")

    @property
    def output_dtype(self) -> str:
        """The dtype of the logits."""
        return self.activations if self.needs_calibration else "float32"

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {
            "name": self.name,
            "weights": self.weights,
            "activations": self.activations,
            "granularity": self.granularity,
        }


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("float32", "float32", "float32", "-", "nothing quantized: the yardstick, and GPUs that want floats"),
        Recipe("float16", "float16", "float32", "-", "half the bytes, float arithmetic: GPUs, phones"),
        Recipe("dynamic_int8", "int8", "dynamic", "per_channel", "a quarter of the bytes without calibration"),
        Recipe("static_int8", "int8", "int8", "per_channel", "integers throughout: fastest on CPUs, needed by NPUs"),
    )
}


def get_recipe(name: str) -> Recipe:
    """Return the recipe called `name`.

    Raises:
        UnknownNameError: there is none; says which name is near.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be built: every choice made, before anything is trained.

    `backbone` is the registered name or "keras:FILE NAME"; `alpha` its width multiplier. `device` is a slug or
    None. `threads` is advice for the device, kept out of hashed files. `notes` says why, in sentences.
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

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {
            "backbone": self.backbone,
            "alpha": self.alpha,
            "height_px": self.height_px,
            "width_px": self.width_px,
            "normalisation": self.normalisation.to_json(),
            "recipe": self.recipe.to_json(),
            "format": self.format,
            "engine": self.engine,
            "device": self.device,
            "threads": self.threads,
            "notes": list(self.notes),
        }
