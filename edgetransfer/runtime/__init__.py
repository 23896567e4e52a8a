"""The device side: numpy and one engine. `Predictor` is what an app embeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetransfer.runtime.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import the predictor when it is first asked for (PEP 562)."""
    if name != "Predictor":
        raise AttributeError(f"module 'edgetransfer.runtime' has no attribute {name!r}")
    from edgetransfer.runtime.predictor import Predictor

    return Predictor
