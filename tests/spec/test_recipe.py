from __future__ import annotations

import dataclasses
import json

import pytest

from edgetransfer.errors import RecipeError, UnknownNameError
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Override, Plan, Recipe, get_recipe
from edgetransfer.spec.tensor import DTYPES


def test_the_recipes_are_the_seven_that_are_promised():
    assert list(RECIPES) == [
        "float32",
        "float16",
        "dynamic_int8",
        "static_int8",
        "static_int8_per_tensor",
        "static_int16x8",
        "weight_int4",
    ]
    assert all(name == recipe.name for name, recipe in RECIPES.items())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_be_had_by_name_and_says_what_it_is_for(name):
    recipe = get_recipe(name)
    assert recipe is RECIPES[name]
    assert recipe.output_dtype in DTYPES
    assert recipe.summary
    assert recipe.needed_by


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_survives_the_manifest(name):
    recipe = dataclasses.replace(RECIPES[name], overrides=(Override("stem", "float32", "float32"),))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_images_are_needed_to_set_ranges_or_to_choose_weights_by():
    floats = {"float32", "float16"}
    assert {name for name, recipe in RECIPES.items() if not recipe.needs_calibration} == floats
    static = {"static_int8", "static_int8_per_tensor", "static_int16x8"}
    assert {name for name, recipe in RECIPES.items() if recipe.has_static_ranges} == static
    assert not dataclasses.replace(RECIPES["dynamic_int8"], weight_ranges="min_max").needs_calibration
    assert dataclasses.replace(RECIPES["float32"], overrides=(Override("x", "int8", "int16"),)).has_static_ranges


def test_logits_are_stored_as_the_activations_are():
    found = {name: recipe.output_dtype for name, recipe in RECIPES.items() if recipe.output_dtype != "float32"}
    assert found == {"static_int8": "int8", "static_int8_per_tensor": "int8", "static_int16x8": "int16"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("weights", "int2"), ("activations", "int4"), ("granularity", "channel"), ("weight_ranges", "search")],
)
def test_a_recipe_of_impossible_words_cannot_be_made(field, value):
    with pytest.raises(RecipeError, match=f"{field}: expected one of .*, got '{value}'"):
        dataclasses.replace(RECIPES["static_int8"], **{field: value})


@pytest.mark.parametrize("fields", [("(", "int8", "int8"), ("x", "int9", "int8"), ("x", "int8", "int9")])
def test_an_impossible_override_cannot_be_made(fields):
    with pytest.raises(RecipeError, match="expected"):
        Override(*fields)


def test_a_misspelt_recipe_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no recipe named 'static_int'; did you mean 'static_int8'\?"):
        get_recipe("static_int")


def test_a_plan_is_written_as_json_values():
    plan = Plan(
        backbone="efficientnet_lite0",
        alpha=1.0,
        height_px=224,
        width_px=192,
        normalisation=Normalisation(1 / 128, 127),
        recipe=get_recipe("static_int8"),
        format="litert",
        engine="litert",
        device=None,
        threads=4,
        notes=("because",),
    )
    written = json.loads(json.dumps(plan.to_json()))
    assert written["recipe"]["name"] == "static_int8"
    assert (written["height_px"], written["width_px"], written["threads"]) == (224, 192, 4)
    assert written["normalisation"] == {"scale": 0.0078125, "zero_point": 127}
    assert (written["device"], written["notes"]) == (None, ["because"])
