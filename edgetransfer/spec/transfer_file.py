"""Reads transfer.toml: source model, data, tuning, training, recipe and device of a build, in one file.

What it says are defaults of the command line's options: a flag overrides it. Paths are relative to the file.
"""

from __future__ import annotations

import csv
import difflib
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetransfer.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TEXT, _NUMBER, _COUNT, _YES = (str,), (int, float), (int,), (bool,)
PATH = "path"
"""A path, relative to the file."""
SERIES = "series"
"""A list of numbers that the option takes as one text, with commas."""

# Section -> key -> (the option's name, what it must be); a list says that the option may be given several times. A dot
# is a table inside of a table.
FIELDS: dict[str, dict[str, tuple[str, Any]]] = {
    "source": {
        "backbone": ("backbone", _TEXT),
        "alpha": ("alpha", _NUMBER),
        "input_size": ("input_px", _COUNT),
        "weights": ("weights", PATH),
        "normalise": ("normalisation", _TEXT),
    },
    "data": {
        "path": ("data", PATH),
        "order": ("orders", [_TEXT]),
        "unit": ("units", _TEXT),
        "fit": ("fit", _TEXT),
        "drop_near_duplicates": ("drop_near_duplicates", _YES),
        "seed": ("seed", _COUNT),
    },
    "transfer": {
        "epochs": ("tune_epochs", _COUNT),
        "unfreeze": ("unfreeze", SERIES),
        "learning_rate": ("learning_rate", _NUMBER),
        "lowest_rate": ("lowest_rate", _NUMBER),
        "batch_size": ("batch_size", _COUNT),
        "optimizer": ("tune_optimizer", _TEXT),
        "batch_norm": ("batch_norm", _TEXT),
        "precision": ("precision", _TEXT),
        "views": ("views", _COUNT),
        "quantization_aware": ("quantization_aware", _YES),
        "temperature": ("temperature", _NUMBER),
        "label_weight": ("label_weight", _NUMBER),
        "feature_weight": ("feature_weight", _NUMBER),
        "unlabelled": ("unlabelled", PATH),
        "output": ("backbone_file", PATH),
        "run": ("run_folder", PATH),
    },
    "transfer.replay": {
        "data": ("replay", PATH),
        "share": ("replay_share", _NUMBER),
        "compare": ("replay_compare", _YES),
    },
    "transfer.teacher": {
        "name": ("teacher", _TEXT),
        "bundle": ("teacher", PATH),
        "alpha": ("teacher_alpha", _NUMBER),
        "input_size": ("teacher_px", _COUNT),
        "weights": ("teacher_weights", PATH),
        "head": ("teacher_head", _TEXT),
    },
    "transfer.fuse": {
        "tuned": ("tuned", [PATH]),
        "alphas": ("alphas", SERIES),
        "batch_norm": ("fused_batch_norm", _TEXT),
        "old_data": ("old_data", PATH),
    },
    "transfer.adapt": {
        "target": ("target", PATH),
        "target_labels": ("judge", PATH),
        "how": ("ways", _TEXT),
        "rate": ("rate", _NUMBER),
        "rounds": ("rounds", _COUNT),
        "most_each": ("most_each", _COUNT),
        "bundle": ("adapted_bundle", PATH),
        "labels": ("labels_file", PATH),
    },
    "training": {
        "augment": ("augment", _COUNT),
        "head_on": ("head_on", _TEXT),
        "hidden": ("hidden", _COUNT),
        "dropout": ("dropouts", [_NUMBER]),
        "weight_decay": ("weight_decays", [_NUMBER]),
        "label_smoothing": ("label_smoothing", _NUMBER),
        "balance": ("balance", _YES),
        "ensemble": ("ensemble", _YES),
        "epochs": ("epochs", _COUNT),
        "loss": ("loss", _TEXT),
        "optimizer": ("optimizer", _TEXT),
        "pooling": ("pooling", _TEXT),
        "learning_curve": ("learning_curve", _YES),
        "float_reference": ("float_reference", _YES),
        "workers": ("workers", _COUNT),
    },
    "recipe": {
        "name": ("recipe", _TEXT),
        "format": ("format", _TEXT),
        "max_drop": ("max_drop", _NUMBER),
        "max_evaluations": ("max_evaluations", _COUNT),
    },
    "device": {"name": ("device", _TEXT)},
    "output": {
        "bundle": ("output", PATH),
        "run": ("run", PATH),
        "golden": ("golden", _TEXT),
        "split": ("split", _YES),
        "reject": ("reject", _NUMBER),
        "teachable": ("teachable", _YES),
        "scores_in_graph": ("scores_in_graph", _YES),
        "dynamic_batch": ("dynamic_batch", _YES),
        "allow": ("allow", [_TEXT]),
    },
}
HEADS = "heads"
"""A list of tables, each with the name and the data of one more head, and its order or unit."""

_SECTIONS = [section for section in FIELDS if "." not in section]
_WORDS = {_TEXT: "text", _NUMBER: "a number", _COUNT: "a whole number", _YES: "true or false"}


def read_transfer_file(path: Path) -> dict[str, Any]:
    """Return the values of the options that the file `path` speaks of, by their names in the program.

    Raises:
        DataError: it cannot be read, is no TOML, or has unknown or wrong fields: every one is named.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: expected TOML in UTF-8: {error}") from error
    problems: list[str] = []
    values: dict[str, Any] = {}
    for section, fields in content.items():
        if section == HEADS:
            for name, more in _heads(fields, path.parent, problems).items():
                values[name] = [*values.get(name, ()), *more]
        elif section not in _SECTIONS:
            problems.append(f"[{section}]: unknown section{_near(section, [*_SECTIONS, HEADS])}")
        elif not isinstance(fields, Mapping):
            problems.append(f"{section}: expected a section [{section}]")
        else:
            found = _section(section, fields, path.parent, problems)
            for name in ("orders", "units"):
                if name in found:  # of DATA's own head
                    value = found.pop(name)
                    values[name] = [_order(value) if name == "orders" else value, *values.get(name, ())]
            values |= found
    if problems:
        raise DataError(f"{path}: {len(problems)} problem(s): {'; '.join(problems)}", problems)
    return values


def _section(section: str, fields: Mapping[str, Any], folder: Path, problems: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in fields.items():
        inner, known = f"{section}.{key}", FIELDS[section].get(key)
        if inner in FIELDS:
            if isinstance(value, Mapping):
                found |= _section(inner, value, folder, problems)
            else:
                problems.append(f"{inner}: expected a table such as {{ {next(iter(FIELDS[inner]))} = ... }}")
            continue
        if known is None:
            problems.append(f"{inner}: unknown field{_near(key, [*FIELDS[section], *_inside(section)])}")
            continue
        name, kind = known
        problem = _problem(value, kind)
        if problem:
            problems.append(f"{inner}: {problem}")
        elif name in found:
            problems.append(f"{inner}: says what another field of [{section}] says; leave one of the two out")
        else:
            found[name] = _as_option(name, value, kind, folder)
    return found


def _inside(section: str) -> list[str]:
    """Return the keys of `section` that are tables."""
    return [one.removeprefix(f"{section}.") for one in FIELDS if one.startswith(f"{section}.")]


def _as_option(name: str, value: Any, kind: Any, folder: Path) -> Any:
    """Return what a field says as the option takes it; its paths beside the file."""
    if kind == SERIES:
        return ",".join(map(str, value))
    if kind == PATH:
        return str(folder / value)
    if kind == [PATH]:
        return [str(folder / one) for one in value]
    if name in ("backbone", "teacher", "recipe", "device") and is_file_name(value):
        return _beside(value, folder)
    return value


def _heads(tables: Any, folder: Path, problems: list[str]) -> dict[str, list[str]]:
    """Return what each further head adds to the options heads, orders and units: NAME=DATA and the like."""
    found: dict[str, list[str]] = {"heads": []}
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        problems.append("heads: expected tables [[heads]] with name and data")
        return found
    for number, table in enumerate(tables):
        wrong = _wrong_head(table)
        if wrong:
            problems.append(f"heads[{number}]: {wrong}")
            continue
        name = table["name"]
        found["heads"].append(f"{name}={folder / table['data']}")
        if "order" in table:
            found.setdefault("orders", []).append(f"{name}={_order(table['order'])}")
        if "unit" in table:
            found.setdefault("units", []).append(f"{name}={table['unit']}")
    return found


def _wrong_head(table: Mapping[str, Any]) -> str:
    """Return what is wrong with a table of [[heads]], "" if nothing is."""
    kinds: dict[str, Any] = {"name": _TEXT, "data": _TEXT, "order": [_TEXT], "unit": _TEXT}
    if not {"name", "data"} <= set(table) <= set(kinds):
        return f"expected name and data, both text, and at most order and unit, got {', '.join(map(str, table))}"
    wrong = (f"{key}: {problem}" for key, value in table.items() if (problem := _problem(value, kinds[key])))
    return next(wrong, "")


def _order(labels: list[str]) -> str:
    """Return labels as the option --order takes them; all quoted, so that none can be taken for a head's name."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(labels)
    return line.getvalue()


def _problem(value: Any, kind: Any) -> str:
    if kind == SERIES:
        return _problem(value, [_NUMBER])
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"expected a list, got {value!r}"
        return next((problem for one in value if (problem := _problem(one, kind[0]))), "")
    types = _TEXT if kind == PATH else kind
    if not isinstance(value, types) or (isinstance(value, bool) and types != _YES):
        return f"expected {_WORDS[types]}, got {value!r}"
    return ""


def is_file_name(name: str) -> bool:
    """Return whether a backbone, recipe or device of that name is a file of the user's."""
    return name.endswith(".toml") or name.startswith("keras:")


def _beside(name: str, folder: Path) -> str:
    prefix, colon, path = name.rpartition(":")
    return f"{prefix}{colon}{folder / path}"


def _near(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
