"""Reads a recipe of the user's own from TOML; everything that is wrong with it is named at once.

    base = "static_int8"                 # a recipe to start from; may be left out
    weights = "int8"                     # float32, float16, int8 or int4
    activations = "int8"                 # float32, dynamic, int8, uint8 or int16
    granularity = "per_channel"          # or per_tensor
    weight_ranges = "best"               # or min_max, mse

    [[overrides]]                        # other numbers for some ops; of several that match, the last holds
    pattern = "block0_depthwise"         # found anywhere in the op's name (re.search)
    weights = "float32"
    activations = "float32"

The recipe's name is the file's, without ".toml", or the field `name`.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgetransfer.errors import RecipeError
from edgetransfer.spec.recipe import (
    ACTIVATIONS,
    GRANULARITIES,
    RECIPES,
    WEIGHT_RANGES,
    WEIGHTS,
    Override,
    Recipe,
    get_recipe,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WORDS = {
    "base": tuple(RECIPES),
    "weights": WEIGHTS,
    "activations": ACTIVATIONS,
    "granularity": GRANULARITIES,
    "weight_ranges": WEIGHT_RANGES,
}
_FIELDS = ("name", "summary", *_WORDS, "overrides")
_OVERRIDE_FIELDS = ("pattern", "weights", "activations")
_NAME = r"[a-z0-9][a-z0-9_]*"
_MAX_PROBLEMS = 40  # a file of another kind would otherwise fill the screen
_MAX_BYTES = 1 << 20


def load_recipe(name_or_path: str) -> Recipe:
    """Return the recipe in the file `name_or_path`, or the known one of that name.

    A text that ends in ".toml" or has a slash is a path.

    Raises:
        UnknownNameError: there is no recipe of that name.
        RecipeError: the file cannot be read, is not TOML, or has fields that are missing, unknown or wrong.
    """
    if not (name_or_path.endswith(".toml") or "/" in name_or_path or os.sep in name_or_path):
        return get_recipe(name_or_path)
    path = Path(name_or_path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as trouble:
        raise RecipeError(f"recipe file {name_or_path}: cannot be read ({trouble.strerror})") from trouble
    if len(content) > _MAX_BYTES:
        raise RecipeError(f"recipe file {name_or_path}: expected a small TOML file, got more than {_MAX_BYTES} bytes")
    return parse_recipe(content, stem=path.name.removesuffix(".toml"), where=name_or_path)


def parse_recipe(content: bytes, *, stem: str, where: str) -> Recipe:
    """Return the recipe in `content`, which `where` calls in messages; `stem` is its name if it gives none.

    Raises:
        RecipeError: not TOML, or fields that are missing, unknown or wrong: all of them named.
    """
    try:
        data = tomllib.loads(content.decode())
    except RecursionError as error:
        raise RecipeError(f"recipe file {where}: nested too deeply") from error
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError
        raise RecipeError(f"recipe file {where}: expected TOML in UTF-8: {error}") from error
    problems = _problems(data, stem)
    if problems:
        raise RecipeError(_report(where, problems))
    return _recipe(data, stem)


def _recipe(data: dict[str, Any], stem: str) -> Recipe:
    base = RECIPES.get(data.get("base", ""))
    weights = data.get("weights") or (base.weights if base else "")
    activations = data.get("activations") or (base.activations if base else "")
    usual = base.granularity if base and base.granularity != "-" else "per_channel"
    granularity = data.get("granularity") or (usual if weights.startswith("int") else "-")
    overrides = tuple(
        Override(one["pattern"], one.get("weights", weights), one.get("activations", activations))
        for one in data.get("overrides", ())
    )
    return Recipe(
        name=data.get("name", stem),
        weights=weights,
        activations=activations,
        granularity=granularity,
        summary=data.get("summary") or (f"{base.name}, changed" if base else "a recipe of your own"),
        overrides=overrides,
        weight_ranges=data.get("weight_ranges") or (base.weight_ranges if base else "best"),
    )


def _problems(data: dict[str, Any], stem: str) -> list[str]:
    found = [f"{key}: unknown field{_guess(key, _FIELDS)}" for key in data if key not in _FIELDS]
    found += _name_problems(data.get("name", stem), given="name" in data)
    if "summary" in data and not isinstance(data["summary"], str):
        found.append(f"summary: expected text, got {_brief(data['summary'])}")
    if "base" not in data:
        found += [f"{key}: missing, for there is no base" for key in ("weights", "activations") if key not in data]
    for key, words in _WORDS.items():
        if key in data:
            found += _word_problems(data[key], words, key)
    overrides = data.get("overrides", [])
    if not isinstance(overrides, list):
        return [*found, f"overrides: expected [[overrides]], a list of tables, got {_brief(overrides)}"]
    return found + [p for i, one in enumerate(overrides) for p in _override_problems(one, f"overrides[{i}]")]


def _name_problems(name: Any, *, given: bool) -> list[str]:
    if not isinstance(name, str) or re.fullmatch(_NAME, name) is None:
        which = "" if given else " (the file's name); give a name"
        return [f"name: expected lower-case letters, digits and _, got {_brief(name)}{which}"]
    if name in RECIPES:
        return [f"name: {name!r} is a recipe of edgetransfer's own: choose another name, or another file name"]
    return []


def _override_problems(one: Any, where: str) -> list[str]:
    if not isinstance(one, dict):
        return [f"{where}: expected a table, got {_brief(one)}"]
    found = [f"{where}.{k}: unknown field{_guess(k, _OVERRIDE_FIELDS)}" for k in one if k not in _OVERRIDE_FIELDS]
    for key in ("weights", "activations"):
        if key in one:
            found += _word_problems(one[key], _WORDS[key], f"{where}.{key}")
    if "weights" not in one and "activations" not in one:
        found.append(f"{where}: changes nothing; give weights or activations")
    return found + _pattern_problems(one, where)


def _pattern_problems(one: dict[str, Any], where: str) -> list[str]:
    if "pattern" not in one:
        return [f"{where}.pattern: missing"]
    pattern = one["pattern"]
    if not isinstance(pattern, str) or not pattern:
        return [f"{where}.pattern: expected a regular expression, got {_brief(pattern)}"]
    try:
        re.compile(pattern)
    except re.error as error:
        return [f"{where}.pattern: expected a regular expression, got {_brief(pattern)}: {error}"]
    return []


def _word_problems(value: Any, words: tuple[str, ...], where: str) -> list[str]:
    if isinstance(value, str) and value in words:
        return []
    guess = _guess(value, words) if isinstance(value, str) else ""
    return [f"{where}: expected one of {', '.join(words)}, got {_brief(value)}{guess}"]


def _report(where: str, problems: list[str]) -> str:
    shown = "; ".join(problems[:_MAX_PROBLEMS])
    more = f"; and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"recipe file {where}: {count}: {shown}{more}. edgetransfer recipes --help shows an example"


def _guess(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
