"""The choices of threads that `edgetransfer profile --choose` measured, in a file with the user's own settings.

More threads can be ten times slower, and which number is best depends on model, engine and machine. So the choice is
never in a bundle, whose files are hashed and travel, and it counts only for exactly what was measured.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgetransfer.errors import OutputError
from edgetransfer.runtime.cores import available_cores, cpu_name
from edgetransfer.runtime.engines import engine_version
from edgetransfer.runtime.threads import CHOOSE, DEFAULT_THREADS, FOLDER_VARIABLE, choices_file

SCHEMA = 1
_MAX_BYTES = 1024 * 1024
_CHOICE = {
    "model_sha256": str,
    "engine": str,
    "engine_version": str,
    "providers": [str],
    "cpu": str,
    "cores": int,
    "threads": int,
    "p50_ms": {"*": float},
}


class Situation(NamedTuple):
    """What a choice counts for: change any of it, and the best number of threads may be another."""

    model_sha256: str
    engine: str
    engine_version: str
    providers: tuple[str, ...]
    cpu: str
    cores: int


def kept_threads(
    path: str, found: os.stat_result, model_sha256: str, engine: str, providers: Sequence[str]
) -> tuple[int, str]:
    """Return what the file at `path` says for this model and engine here, else the default; and why in words.

    Raises:
        EngineError: it has a choice for them, but the engine is not installed.
    """
    try:
        choices = [choice for choice in _read(path, found) if choice["model_sha256"] == model_sha256]
    except (OSError, ValueError) as damage:
        _warn(path, damage)
        return DEFAULT_THREADS, f"the default, for {path} is damaged; delete it"
    if not any(choice["engine"] == engine for choice in choices):
        return DEFAULT_THREADS, f"the default; '{CHOOSE}' finds what is best here"
    now = situation(model_sha256, engine, providers)
    for choice in choices:
        if _situation(choice) == now:
            return choice["threads"], f"the best of {', '.join(choice['p50_ms'])}, kept in {path}"
    return DEFAULT_THREADS, f"the default: what is kept is of another engine or processor; '{CHOOSE}'"


def situation(model_sha256: str, engine: str, providers: Sequence[str] = ()) -> Situation:
    """Return what a choice that is measured now counts for.

    Raises:
        EngineError: the engine is not installed.
    """
    return Situation(model_sha256, engine, engine_version(engine), tuple(providers), cpu_name(), available_cores())


def check_can_keep() -> None:
    """See that a choice could be written, before time is spent on measuring.

    Raises:
        OutputError: it could not; says which folder, and how to name another.
    """
    path = choices_file()
    if not path:
        given = os.environ.get(FOLDER_VARIABLE)
        what = f"expected an absolute path, got {given!r}" if given else "there is no home folder; name a folder"
        raise OutputError(f"{FOLDER_VARIABLE}: {what}")
    folder = os.path.dirname(path)  # noqa: PTH120
    try:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    except (OSError, ValueError) as trouble:
        raise OutputError(_cannot_write(folder, trouble)) from trouble
    if not os.access(folder, os.W_OK):
        raise OutputError(_cannot_write(folder, PermissionError(13, "Permission denied")))


def keep(measured_in: Situation, threads: int, p50_ms: Mapping[int, float]) -> str:
    """Keep `threads` for what it was measured in, instead of an older choice; return the file.

    Args:
        measured_in: from `situation`.
        threads: the number to use.
        p50_ms: what was measured, by number of threads.

    Raises:
        OutputError: the file cannot be written.
    """
    from pathlib import Path

    from edgetransfer.spec import json_shape
    from edgetransfer.spec.atomic import write_atomically

    check_can_keep()
    path = choices_file()
    choices = [choice for choice in _older_choices(path) if _situation(choice) != measured_in]
    times = {str(count): round(time_ms, 4) for count, time_ms in sorted(p50_ms.items())}
    new = measured_in._asdict() | {"providers": list(measured_in.providers), "threads": threads, "p50_ms": times}
    try:
        write_atomically(Path(path), json_shape.canonical({"schema": SCHEMA, "choices": [*choices, new]}))
    except OSError as trouble:
        raise OutputError(_cannot_write(path, trouble)) from trouble
    return path


def _older_choices(path: str) -> list[dict[str, Any]]:
    try:
        return _read(path, os.stat(path))  # noqa: PTH116
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as damage:
        _logger().warning("%s: is damaged (%s); what it kept is lost, a new one is written", path, damage)
        return []


def _read(path: str, found: os.stat_result) -> list[dict[str, Any]]:
    """Return the choices in the file; ValueError says what is wrong with it."""
    from edgetransfer.errors import BundleError
    from edgetransfer.spec import json_shape

    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
        raise ValueError(f"expected a file of at most {_MAX_BYTES} bytes")
    with open(path, "rb") as stream:  # noqa: PTH123
        content = stream.read(_MAX_BYTES)
    try:
        document = json_shape.parse(content, path)
    except BundleError as error:
        raise ValueError(str(error)) from error
    problems = json_shape.problems(document, {"schema": int, "choices": [_CHOICE]}, "file")
    if not problems and document["schema"] != SCHEMA:
        problems = [f"schema: expected {SCHEMA}, got {document['schema']}"]
    choices: list[dict[str, Any]] = [] if problems else document["choices"]
    problems += [
        f"choices[{i}]: expected 1 to {choice['cores']} threads, got {choice['threads']}"
        for i, choice in enumerate(choices)
        if not 1 <= choice["threads"] <= choice["cores"]
    ]
    if problems:
        raise ValueError("; ".join(problems[:3]))
    return choices


def _situation(choice: Mapping[str, Any]) -> Situation:
    fields = {name: choice[name] for name in Situation._fields}
    return Situation(**fields | {"providers": tuple(choice["providers"])})


def _warn(path: str, damage: Exception) -> None:
    _logger().warning(
        "%s: is damaged and ignored (%s), %d thread is used; delete the file, or run '%s'",
        path,
        damage,
        DEFAULT_THREADS,
        CHOOSE,
    )


def _logger() -> Any:
    import logging  # here, for a start without trouble needs none of it

    return logging.getLogger(__name__)


def _cannot_write(path: str, trouble: Exception) -> str:
    said = getattr(trouble, "strerror", None) or str(trouble)
    return f"{path}: the choice of threads cannot be kept ({said}); name another folder in {FOLDER_VARIABLE}"
