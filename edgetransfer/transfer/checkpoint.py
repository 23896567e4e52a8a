"""What a training run has reached, in one file that is whole or not there."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import OutputError, RecipeError
from edgetransfer.spec.atomic import write_atomically


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after an epoch.

    Attributes:
        fingerprint: Of everything that decides the result of the run.
        rows: Figures so far.
        arrays: Lists of arrays by name: weights, the optimizer's, those of the best epoch.
    """

    fingerprint: str
    rows: Sequence[Sequence[float]]
    arrays: Mapping[str, Sequence[NDArray[Any]]]


def write_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write `state` in place of what `path` held.

    Raises:
        OutputError: it cannot be written.
    """
    buffer = io.BytesIO()
    named = {f"{name}/{number}": one for name, many in state.arrays.items() for number, one in enumerate(many)}
    counts = {name: len(many) for name, many in state.arrays.items()}
    about = {"fingerprint": state.fingerprint, "rows": state.rows, "counts": counts}
    np.savez(buffer, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **named)  # type: ignore[arg-type]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as trouble:
        raise OutputError(f"checkpoint {path}: cannot be written ({trouble.strerror})") from trouble


def read_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Return the state in `path`; None where there is no such file.

    Raises:
        RecipeError: it is damaged, or that of a run with other data or options.
    """
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            arrays = {
                name: [archive[f"{name}/{number}"] for number in range(count)]
                for name, count in about["counts"].items()
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as trouble:
        raise RecipeError(f"checkpoint {path}: damaged ({trouble}); remove it to begin anew") from trouble
    if about["fingerprint"] != fingerprint:
        raise RecipeError(
            f"checkpoint {path}: is that of a run with other data, options or packages; finish that one, or remove "
            "the file to begin anew"
        )
    return Checkpoint(fingerprint, about["rows"], arrays)
