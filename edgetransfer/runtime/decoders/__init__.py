"""Raw outputs to results: one file per kind of task, named as in models/heads."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.task import Task


class Result(Protocol):
    """What a prediction is, whatever the task: it can be printed as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""


class Decoder(Protocol):
    """What a decoder's file offers."""

    def decode(self, logits: NDArray[np.float32], task: Task) -> Any:
        """Return the result that (C,) real logits stand for."""

    def decode_scores(self, scores: NDArray[np.floating[Any]], task: Task) -> Any:
        """Return the result of (C,) scores that the graph computed itself."""

    def to_scores(self, logits: NDArray[np.float32], task: Task) -> NDArray[np.float64]:
        """Return (..., C) real logits as scores, 0 to 1."""


def get_decoder(kind: str) -> Decoder:
    """Return the decoder of tasks of this kind.

    Raises:
        UnknownNameError: there is none; says which name is near.
    """
    if kind.isidentifier() and importlib.util.find_spec(f"{__name__}.{kind}"):
        return cast(Decoder, importlib.import_module(f"{__name__}.{kind}"))
    from edgetransfer import registry

    return cast(Decoder, registry.load(__name__, kind, kind="task"))
