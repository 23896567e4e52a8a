from __future__ import annotations

import pytest

from edgetransfer.errors import RecipeError, UnknownNameError
from edgetransfer.spec.recipe import RECIPES, Override, Recipe
from edgetransfer.spec.recipe_file import load_recipe, parse_recipe

WHOLE = b"""
summary = "int8, the stem in floats"
base = "static_int8"
granularity = "per_tensor"
weight_ranges = "mse"

[[overrides]]
pattern = "stem|block0"
weights = "float32"
activations = "float32"

[[overrides]]
pattern = "pool"
activations = "int16"
"""


def problems_of(text):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode(), stem="mine", where="mine.toml")
    return str(caught.value)


def test_a_name_is_a_known_recipe_and_a_path_a_file(tmp_path):
    assert load_recipe("static_int8") is RECIPES["static_int8"]
    path = tmp_path / "mine.toml"
    path.write_bytes(WHOLE)
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.weights, recipe.activations) == ("mine", "int8", "int8")
    assert (recipe.granularity, recipe.weight_ranges) == ("per_tensor", "mse")
    assert recipe.overrides == (Override("stem|block0", "float32", "float32"), Override("pool", "int8", "int16"))
    assert recipe.summary == "int8, the stem in floats"


def test_a_recipe_of_ones_own_survives_the_manifest():
    recipe = parse_recipe(WHOLE, stem="mine", where="mine.toml")
    back = Recipe.from_json(recipe.to_json())
    assert back.to_json() == recipe.to_json()


def test_without_a_base_weights_and_activations_are_enough():
    recipe = parse_recipe(b'weights = "int4"\nactivations = "dynamic"\nname = "tiny"', stem="x", where="x.toml")
    assert (recipe.name, recipe.granularity, recipe.weight_ranges) == ("tiny", "per_channel", "best")
    floats = parse_recipe(b'weights = "float16"\nactivations = "float32"', stem="half", where="half.toml")
    assert floats.granularity == "-"


def test_a_base_of_floats_made_integers_has_scales_by_channel():
    recipe = parse_recipe(b'base = "float32"\nweights = "int8"', stem="mine", where="mine.toml")
    assert (recipe.weights, recipe.activations, recipe.granularity) == ("int8", "float32", "per_channel")


def test_everything_that_is_wrong_is_named_at_once():
    text = problems_of(
        'base = "static_int"\nweigths = "int8"\nactivations = "int12"\ngranularity = 3\n'
        '[[overrides]]\npattern = "("\nweights = "float23"\n[[overrides]]\nactivation = "int8"\n'
    )
    assert text.startswith("recipe file mine.toml: 9 problems: ")
    for part in (
        "weigths: unknown field; did you mean 'weights'?",
        "base: expected one of",
        "got 'static_int'; did you mean 'static_int8'?",
        "activations: expected one of float32, dynamic, int8, uint8, int16, got 'int12'",
        "granularity: expected one of -, per_channel, per_tensor, got 3",
        "overrides[0].weights: expected one of float32, float16, int8, int4, got 'float23'; did you mean 'float32'?",
        "overrides[0].pattern: expected a regular expression, got '('",
        "overrides[1].activation: unknown field; did you mean 'activations'?",
        "overrides[1]: changes nothing",
        "overrides[1].pattern: missing",
        "edgetransfer recipes --help",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "weights: missing, for there is no base; activations: missing"),
        ('base = "static_int8"\nname = "float32"', "'float32' is a recipe of edgetransfer's own"),
        ('base = "static_int8"\nname = "My Recipe"', "name: expected lower-case letters"),
        ('base = "static_int8"\noverrides = "stem"', "overrides: expected [[overrides]], a list of tables"),
        ('base = "static_int8"\noverrides = ["stem"]', "overrides[0]: expected a table, got 'stem'"),
        ('base = "static_int8"\nsummary = 3', "summary: expected text, got 3"),
        ('base = "static_int8"\n[[overrides]]\npattern = ""\nweights = "int4"', "overrides[0].pattern: expected"),
        ("base = ", "expected TOML in UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_what_was_expected(text, part):
    assert part in problems_of(text)


def test_a_file_named_like_a_known_recipe_is_refused():
    with pytest.raises(RecipeError, match="choose another name, or another file name"):
        parse_recipe(b'base = "static_int8"', stem="static_int8", where="static_int8.toml")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 100_000])
def test_what_is_not_toml_is_refused(content):
    with pytest.raises(RecipeError, match=r"recipe file x\.toml"):
        parse_recipe(content, stem="x", where="x.toml")


def test_a_missing_or_huge_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "huge.toml").write_bytes(b"#" * (2 << 20))
    for name, reason in (("no.toml", "cannot be read"), ("folder.toml", "cannot be read"), ("huge.toml", "small TOML")):
        with pytest.raises(RecipeError, match=reason):
            load_recipe(str(tmp_path / name))


def test_a_misspelt_name_says_how_to_give_a_file():
    with pytest.raises(UnknownNameError, match=r"did you mean 'static_int8'\?.*ending in \.toml"):
        load_recipe("static_in8")
