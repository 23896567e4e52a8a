"""Writes transfer.toml: what options were, as a file that `transfer_file` reads as the same options."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.transfer_file import FIELDS, HEADS, PATH, SERIES, is_file_name

_OF_HEADS = ("heads", "orders", "units")


def transfer_text(values: Mapping[str, Any], folder: Path) -> str:
    """Return the content of a transfer.toml that stands in `folder` and says `values`.

    A path that is relative is written relative to `folder`, so that a project can be moved with its runs; an absolute
    one stays as it is. What is None, and what no field of the file speaks of, is left out.

    Args:
        values: By the options' names in the program, as they are after parsing.
        folder: Where the file is to be; paths in `values` are relative to the working directory.
    """
    lines: list[str] = []
    for section, fields in FIELDS.items():
        own = [f"{key} = {_toml(one)}" for key, one in _fields(section, fields, values, folder)]
        if own:
            lines += [f"[{section}]", *own, ""]
    for table in _further_heads(values, folder):
        lines += [f"[[{HEADS}]]", *(f"{key} = {_toml(one)}" for key, one in table.items()), ""]
    return "\n".join(lines)


def _fields(
    section: str, fields: Mapping[str, tuple[str, Any]], values: Mapping[str, Any], folder: Path
) -> Iterable[tuple[str, Any]]:
    for key, (name, kind) in fields.items():
        value = values.get(name)
        if value is None or (isinstance(value, tuple | list) and not value):
            continue
        if name in ("orders", "units"):
            own = [one for one in value if _owner(one, values) is None]
            if own:
                yield key, _labels(own[0]) if name == "orders" else own[0]
        elif name == "teacher":  # one option for both, told apart as the command line does
            if (key == "bundle") == Path(value).is_dir():
                yield key, _moved(value, folder) if key == "bundle" else _name(value, folder)
        elif name in ("backbone", "recipe", "device"):
            yield key, _name(value, folder)
        elif kind == SERIES:
            yield key, [float(one) for one in (value.split(",") if isinstance(value, str) else value)]
        elif kind == PATH:
            yield key, _moved(value, folder)
        elif kind == [PATH]:
            yield key, [_moved(one, folder) for one in value]
        elif isinstance(value, Normalisation):
            yield key, f"{value.scale!r},{value.zero_point}"
        else:
            yield key, value


def _further_heads(values: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Return the tables of [[heads]]: what the options heads, orders and units say of each."""
    tables = {}
    for head in values.get("heads") or ():
        name, data = head if isinstance(head, tuple) else head.split("=", 1)
        tables[name] = {"name": name, "data": _moved(data, folder)}
    for one in values.get("orders") or ():
        if owner := _owner(one, values):
            tables[owner]["order"] = _labels(one.partition("=")[2])
    for one in values.get("units") or ():
        if owner := _owner(one, values):
            tables[owner]["unit"] = one.partition("=")[2]
    return list(tables.values())


def _owner(text: str, values: Mapping[str, Any]) -> str | None:
    """Return the further head that an order or unit speaks of; None: DATA's own."""
    names = [head[0] if isinstance(head, tuple) else head.split("=", 1)[0] for head in values.get("heads") or ()]
    name, equals, _ = text.partition("=")
    return name if equals and name in names else None


def _labels(text: str) -> list[str]:
    return [label.strip() for label in next(csv.reader([text], skipinitialspace=True))]


def _name(value: str, folder: Path) -> str:
    """Return a name as it is, and a file's by its place seen from `folder`."""
    if not is_file_name(value):
        return value
    prefix, colon, path = value.rpartition(":")
    return f"{prefix}{colon}{_moved(path, folder)}"


def _moved(path: str | Path, folder: Path) -> str:
    if Path(path).is_absolute():
        return Path(path).as_posix()
    # Both resolved: ".." behind a symbolic link leads elsewhere than its text says.
    return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()


def _toml(value: Any) -> str:
    """Return a value as TOML writes it; JSON's texts are TOML's but for the character DEL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value)
