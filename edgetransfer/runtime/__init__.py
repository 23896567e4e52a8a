"""The device side: numpy and one engine. `Predictor` is what an app embeds, `Personalizer` what it learns with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetransfer.runtime.personalizer import Personalizer
    from edgetransfer.runtime.predictor import Predictor

__all__ = ["Personalizer", "Predictor"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first asked for (PEP 562)."""
    if name == "Predictor":
        from edgetransfer.runtime.predictor import Predictor

        return Predictor
    if name == "Personalizer":
        from edgetransfer.runtime.personalizer import Personalizer

        return Personalizer
    raise AttributeError(f"module 'edgetransfer.runtime' has no attribute {name!r}")
