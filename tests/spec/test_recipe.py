from __future__ import annotations

import json

import pytest

from edgetransfer.errors import UnknownNameError
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Plan, get_recipe
from edgetransfer.spec.tensor import DTYPES


def test_the_recipes_are_the_four_that_are_promised():
    assert set(RECIPES) == {"float32", "float16", "dynamic_int8", "static_int8"}
    assert all(name == recipe.name for name, recipe in RECIPES.items())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_be_had_by_name_and_says_what_it_is_for(name):
    recipe = get_recipe(name)
    assert recipe is RECIPES[name]
    assert recipe.output_dtype in DTYPES
    assert recipe.summary
    assert json.loads(json.dumps(recipe.to_json())) == {
        "name": name,
        "weights": recipe.weights,
        "activations": recipe.activations,
        "granularity": recipe.granularity,
    }


def test_only_integer_activations_need_images_to_set_their_ranges():
    assert [name for name, recipe in RECIPES.items() if recipe.needs_calibration] == ["static_int8"]
    assert {name: recipe.output_dtype for name, recipe in RECIPES.items()} == {
        "float32": "float32",
        "float16": "float32",
        "dynamic_int8": "float32",
        "static_int8": "int8",
    }


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
