"""Checks JSON values from outside against a literal that describes them, collecting every problem."""

from __future__ import annotations

import json
import math
from typing import Any

from edgetransfer.errors import BundleError

Shape = Any
"""A type (`str`, `int`, `float`, `bool`), a tuple of shapes (any of them; None stands for null), `[shape]` (a list of
those), `{"*": shape}` (an object with any keys), or a dict of shapes (an object with exactly these keys)."""


def parse(content: bytes, where: str) -> Any:
    """Return the JSON value in `content`.

    Raises:
        BundleError: not UTF-8, not JSON, a key twice, NaN or infinity, or nested too deeply.
    """
    try:
        return json.loads(content.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise BundleError(f"{where}: nested too deeply for a manifest") from error
    except ValueError as error:
        raise BundleError(f"{where}: expected JSON in UTF-8: {error}") from error


def canonical(value: Any) -> bytes:
    """Return the one byte string that stands for `value`: sorted keys, two spaces, UTF-8, final newline."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def problems(value: Any, shape: Shape, where: str) -> list[str]:
    """Return a sentence for everything in `value` that is not as `shape` says."""
    if isinstance(shape, tuple):
        tried = [problems(value, option, where) for option in shape if option is not None]
        if (value is None and None in shape) or not all(tried):
            return []
        return min(tried, key=len)
    if isinstance(shape, dict):
        return _object_problems(value, shape, where)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: expected a list, got {_word(value)}"]
        return [p for i, item in enumerate(value) for p in problems(item, shape[0], f"{where}[{i}]")]
    return _scalar_problems(value, shape, where)


def _object_problems(value: Any, shape: dict[str, Shape], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: expected an object, got {_word(value)}"]
    if "*" in shape:
        return [p for key, item in value.items() for p in problems(item, shape["*"], f"{where}.{key}")]
    found = [f"{where}.{key}: missing" for key in shape if key not in value]
    found += [f"{where}.{key}: unknown field" for key in value if key not in shape]
    return found + [p for key in shape if key in value for p in problems(value[key], shape[key], f"{where}.{key}")]


def _scalar_problems(value: Any, kind: type, where: str) -> list[str]:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        return [f"{where}: expected {_NAMES[kind]}, got {_word(value)}"]
    if isinstance(value, int) and abs(value) >= 2**63:
        return [f"{where}: expected a 64-bit number, got {len(str(value))} digits"]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{where}: expected a finite number, got {value}"]
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        return [f"{where}: expected text without NUL or lone surrogates, got {value!r}"]
    return []


def _word(value: Any) -> str:
    text = (
        json.dumps(value) if not isinstance(value, (dict, list)) else ("{...}" if isinstance(value, dict) else "[...]")
    )
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
