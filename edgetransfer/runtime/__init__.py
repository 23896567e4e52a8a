"""The device side: numpy and one engine. `Predictor` is what an app embeds, `Personalizer` what it learns with.

`SoundStream` and `FrameStream` answer a microphone and a camera, `EventDetector` says when to act.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetransfer.runtime.inputs.audio import AudioStream
    from edgetransfer.runtime.personalizer import Personalizer
    from edgetransfer.runtime.predictor import Predictor
    from edgetransfer.runtime.stream import EventDetector, FrameStream, SoundStream

__all__ = ["AudioStream", "EventDetector", "FrameStream", "Personalizer", "Predictor", "SoundStream"]

_HOMES = {
    "AudioStream": "inputs.audio",
    "EventDetector": "stream",
    "FrameStream": "stream",
    "Personalizer": "personalizer",
    "Predictor": "predictor",
    "SoundStream": "stream",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
