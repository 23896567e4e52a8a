"""Reads a device file: TOML in, checked plain values out, with everything that is wrong named at once.

The fields are explained in devices/README.md; what is not in `_SHAPE` is refused. A key that ends in "?" may be
left out: an unknown fact is left out, never guessed.
"""

from __future__ import annotations

import datetime
import difflib
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import DeviceError
from edgetransfer.spec.latency import BASES, CPU
from edgetransfer.spec.recipe import RECIPES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SLUG = r"[a-z0-9][a-z0-9_]*"
"""Pattern of a device's name."""
SCHEMA = 1
"""The newest device schema that this version reads."""
CLASSES = ("sbc", "jetson", "phone", "camera", "in_car", "mcu")
ENGINES = ("litert", "onnx", "tflm")
MICROCONTROLLERS = ("armv7m", "armv8m", "riscv32", "xtensa")
"""Architectures without a system that could run Python: a model becomes part of the firmware, its engine is tflm."""
ARCHITECTURES = ("armv7l", "aarch64", "x86_64", *MICROCONTROLLERS)
ACCELERATOR_KINDS = ("gpu", "npu")

_MAX_PROBLEMS = 40  # a file of another kind would otherwise fill the screen


@dataclass(frozen=True, slots=True)
class _Leaf:
    """One value: `fits` says whether it is right, `expected` what would have been."""

    expected: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_day(value: Any) -> bool:
    return isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)


def _matching(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_TEXT = _Leaf("text that is not empty", _is_text)
_COUNT = _Leaf("a whole number above 0", _is_count)
_NUMBER = _Leaf("a number above 0", _is_number)
_COUNT_OR_NONE = _Leaf("a whole number from 0", lambda value: value == 0 or _is_count(value))
_SHARE = _Leaf("a number from 0", lambda value: value == 0 or _is_number(value))
_YES = _Leaf("true or false", lambda value: isinstance(value, bool))
_SLUG = _Leaf("lower-case letters, digits and _", _matching(SLUG))
_DAY = _Leaf("a date such as 2026-11-24", _is_day)
_WORD = _Leaf("one word of lower-case letters, digits and _, such as edgetpu", _SLUG.fits)
_OP = _Leaf("a LiteRT op such as CONV_2D", _matching(r"[A-Z][A-Z0-9_]*"))
_PLACE = _Leaf("an https:// address, or the device's own file:///", _matching(r"(https://|file:///)\S+"))
_PYTHON = _Leaf("a Python version such as '3.11'", _matching(r"3\.\d{1,2}"))


@dataclass(frozen=True, slots=True)
class _OneOf:
    """Text out of a fixed list; a near miss is answered with the right word."""

    words: tuple[str, ...]


_SOURCES = [{"what": _TEXT, "where": _PLACE, "checked": _DAY}]
_SHAPE: dict[str, Any] = {
    "schema": _COUNT,
    "slug": _SLUG,
    "name": _TEXT,
    "class": _OneOf(CLASSES),
    "notes?": [_TEXT],
    "soc": {"name": _TEXT, "sources": _SOURCES},
    "cpu?": {
        "clusters": [
            {"cores": _COUNT, "microarchitecture": _TEXT, "clock_ghz?": _NUMBER, "simd": [_TEXT], "big": _YES},
        ],
        "sources": _SOURCES,
    },
    "memory?": {"ram_bytes?": [_COUNT], "bandwidth_gbs?": _NUMBER, "sources": _SOURCES},
    "system": {"os": _TEXT, "architecture": _OneOf(ARCHITECTURES), "python?": [_PYTHON], "sources": _SOURCES},
    "engines": [
        {
            "name": _OneOf(ENGINES),
            "package": _TEXT,
            "recipes": [_OneOf(tuple(sorted(RECIPES)))],
            "refused?": {"*": _TEXT},
            "note?": _TEXT,
            "providers?": [_TEXT],
            "sources": _SOURCES,
        },
    ],
    "accelerators?": [
        {
            "name": _TEXT,
            "kind": _OneOf(ACCELERATOR_KINDS),
            "tops?": _NUMBER,
            "precisions?": [_TEXT],
            "ops?": [_OP],
            "delegate?": _WORD,
            "granularity?": _OneOf(("per_tensor", "per_channel")),
            "refused?": {"*": _TEXT},
            "whole_graph?": _YES,
            "cache_bytes?": _COUNT,
            "needs": _TEXT,
            "sources": _SOURCES,
        },
    ],
    "measurements?": [
        {
            "model": _TEXT,
            "software": _TEXT,
            "threads": _COUNT,
            "float_ms": _NUMBER,
            "int8_ms": _NUMBER,
            "sources": _SOURCES,
        },
    ],
    "speed?": [
        {
            "runtime": _TEXT,
            "threads": _COUNT,
            "basis": _OneOf(BASES),
            "rows": _COUNT,
            "models": _COUNT_OR_NONE,
            "error_median": _SHARE,
            "error_p90": _SHARE,
            "low": _NUMBER,
            "high": _NUMBER,
            "processor?": _TEXT,
            "ms": {"*": _SHARE},
        },
    ],
    "advice?": {"threads?": _COUNT, "max_model_bytes?": _COUNT, "max_latency_ms?": _NUMBER, "why": _TEXT},
}


def parse_device_file(content: bytes, *, stem: str, where: str) -> dict[str, Any]:
    """Return the values in a device file, all checked.

    Args:
        content: The file's bytes.
        stem: The file's name without `.toml`; the field `slug` must say the same.
        where: What to call the file in messages.

    Raises:
        DeviceError: not TOML, a newer schema, or fields that are missing, unknown or wrong: all of them named.
    """
    try:
        data = _loaded(content)
    except _UnreadableError as error:
        raise DeviceError(f"device file {where}: {error}") from error
    problems = _all_problems(data, stem)
    if problems:
        raise DeviceError(_report(where, problems))
    return data


def device_file_problems(content: bytes, *, stem: str) -> list[str]:
    """Return all that is wrong with a device file of that name (`stem`, without `.toml`); nothing if it is right."""
    try:
        return _all_problems(_loaded(content), stem)
    except _UnreadableError as error:
        return [str(error)]


class _UnreadableError(Exception):
    """Nothing can be said of single fields: not TOML, or of a newer schema."""


def _loaded(content: bytes) -> dict[str, Any]:
    try:
        data = tomllib.loads(content.decode())
    except RecursionError as error:
        raise _UnreadableError("nested too deeply") from error
    except ValueError as error:  # tomllib.TOMLDecodeError and UnicodeDecodeError
        raise _UnreadableError(f"expected TOML in UTF-8: {error}") from error
    schema = data.get("schema")
    if isinstance(schema, int) and _is_count(schema) and schema > SCHEMA:
        raise _UnreadableError(f"schema {schema} is newer than {SCHEMA}, which this edgetransfer reads; upgrade it")
    return data


def _all_problems(data: dict[str, Any], stem: str) -> list[str]:
    return _problems(data, _SHAPE, "") or _contradictions(data, stem)


def _report(where: str, problems: list[str]) -> str:
    shown = "; ".join(problems[:_MAX_PROBLEMS])
    more = f"; and {len(problems) - _MAX_PROBLEMS} more" if len(problems) > _MAX_PROBLEMS else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return f"device file {where}: {count}: {shown}{more}. devices/README.md explains each field"


def _problems(value: Any, shape: Any, where: str) -> list[str]:
    if isinstance(shape, dict):
        return _table_problems(value, shape, where)
    if isinstance(shape, list):
        return _list_problems(value, shape[0], where)
    if isinstance(shape, _OneOf):
        return _word_problems(value, shape.words, where)
    return [] if shape.fits(value) else [f"{where}: expected {shape.expected}, got {_brief(value)}"]


def _table_problems(value: Any, shape: dict[str, Any], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: expected a table, got {_brief(value)}"]
    if "*" in shape:
        return [p for key, item in value.items() for p in _problems(item, shape["*"], _join(where, key))]
    known = {key.removesuffix("?"): inner for key, inner in shape.items()}
    found = [
        f"{_join(where, key)}: missing; every group of facts names its sources"
        if key == "sources"
        else f"{_join(where, key)}: missing"
        for key in shape
        if not key.endswith("?") and key not in value
    ]
    found += [f"{_join(where, key)}: unknown field{_guess(key, known)}" for key in value if key not in known]
    return found + [p for key, i in known.items() if key in value for p in _problems(value[key], i, _join(where, key))]


def _list_problems(value: Any, shape: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value:
        return [f"{where}: expected a list with at least one entry, got {_brief(value)}"]
    return [p for i, item in enumerate(value) for p in _problems(item, shape, f"{where}[{i}]")]


def _word_problems(value: Any, words: tuple[str, ...], where: str) -> list[str]:
    if isinstance(value, str) and value in words:
        return []
    guess = _guess(value, words) if isinstance(value, str) else ""
    return [f"{where}: expected one of {', '.join(words)}, got {_brief(value)}{guess}"]


def _contradictions(data: dict[str, Any], stem: str) -> list[str]:
    found = []
    if data["slug"] != stem:
        found.append(f"slug: expected the file's name {stem!r}, got {data['slug']!r}")
    if "cpu" in data:
        found += _cpu_contradictions(data)
    memory = data.get("memory", {})
    if "memory" in data and not {"ram_bytes", "bandwidth_gbs"} & set(memory):
        found.append("memory: expected ram_bytes or bandwidth_gbs; leave the group out where neither is known")
    found += _microcontroller_contradictions(data)
    names = [engine["name"] for engine in data["engines"]]
    found += [f"engines: {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for i, engine in enumerate(data["engines"]):
        found += _engine_contradictions(engine, f"engines[{i}]")
    for i, item in enumerate(data.get("accelerators", ())):
        found += _accelerator_contradictions(item, f"accelerators[{i}]")
    processors = (CPU, *(item["name"] for item in data.get("accelerators", ())))
    for i, speed in enumerate(data.get("speed", ())):
        found += _word_problems(speed.get("processor", CPU), processors, f"speed[{i}].processor")
    return found


def _cpu_contradictions(data: dict[str, Any]) -> list[str]:
    found, clusters = [], data["cpu"]["clusters"]
    if not any(cluster["big"] for cluster in clusters):
        found.append("cpu.clusters: expected at least one with big = true")
    cores = sum(cluster["cores"] for cluster in clusters)
    threads = data.get("advice", {}).get("threads", 1)
    if threads > cores:
        found.append(f"advice.threads: expected at most the {cores} cores of the CPU, got {threads}")
    return found


def _microcontroller_contradictions(data: dict[str, Any]) -> list[str]:
    architecture, listed = data["system"]["architecture"], ", ".join(MICROCONTROLLERS)
    if architecture not in MICROCONTROLLERS:
        if data["class"] != "mcu":
            return []
        return [f"class: 'mcu' needs an architecture of {listed}, got {architecture!r}; a board with Linux is an 'sbc'"]
    found = []
    if data["class"] != "mcu":
        found.append(f"class: expected 'mcu' for the architecture {architecture!r}, got {data['class']!r}")
    if "python" in data["system"]:
        found.append(f"system.python: expected none, for {architecture!r} runs no Python")
    for i, engine in enumerate(data["engines"]):
        if engine["name"] != "tflm":
            found.append(
                f"engines[{i}].name: expected 'tflm', the only one for {architecture!r}, got {engine['name']!r}"
            )
    return found


def _engine_contradictions(engine: dict[str, Any], where: str) -> list[str]:
    found = []
    if "providers" in engine and engine["name"] != "onnx":
        found.append(f"{where}.providers: expected only for the engine 'onnx'")
    found += _unknown_recipes(engine, where)
    both = sorted(set(engine.get("refused", {})) & set(engine["recipes"]))
    return found + [f"{where}: recipe {name!r} stands in both recipes and refused" for name in both]


def _accelerator_contradictions(item: dict[str, Any], where: str) -> list[str]:
    found = []
    if "ops" in item and "precisions" not in item:
        found.append(f"{where}: expected precisions beside ops")
    if "granularity" in item and not any(word.startswith(("int", "uint")) for word in item.get("precisions", ())):
        found.append(f"{where}: expected an integer format such as int8 among precisions beside granularity")
    alone = {"per_tensor": "static_int8_per_tensor", "per_channel": "static_int8"}.get(item.get("granularity", ""))
    if alone in item.get("refused", {}):
        found.append(
            f"{where}: granularity {item['granularity']!r} says that it takes {alone!r}, refused that it does not"
        )
    for key in ("whole_graph", "cache_bytes"):
        if key in item and item["kind"] != "npu":
            found.append(f"{where}.{key}: expected only for the kind 'npu', got {item['kind']!r}")
    return found + _unknown_recipes(item, where)


def _unknown_recipes(item: dict[str, Any], where: str) -> list[str]:
    return [p for name in item.get("refused", {}) for p in _word_problems(name, tuple(RECIPES), f"{where}.refused")]


def _guess(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
