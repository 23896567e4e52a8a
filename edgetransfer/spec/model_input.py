"""What a model takes, whatever it is about: an image, a sound or a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.errors import BundleError
from edgetransfer.spec.preprocess import ImageInput

if TYPE_CHECKING:
    from edgetransfer.spec.audio import AudioInput
    from edgetransfer.spec.text import TextInput

    ModelInput = ImageInput | AudioInput | TextInput

KINDS = ("image", "audio", "text")
"""Kinds of input, each with a file of its name in edgetransfer/runtime/inputs."""


def channels_of(spec: ModelInput) -> int:
    """Return with how many channels images are read for `spec`; of other kinds 3, which means nothing there."""
    return spec.channels if isinstance(spec, ImageInput) else 3


def input_from_json(data: dict[str, Any]) -> ModelInput:
    """Return the input that its `to_json` described.

    Raises:
        BundleError: a kind that this version does not know, or values that no input of that kind has.
    """
    kind = data.get("kind")
    if kind == "image":
        return ImageInput.from_json(data)
    if kind == "audio":
        from edgetransfer.spec.audio import AudioInput  # here: a device that sees photos need not load it

        return AudioInput.from_json(data)
    if kind == "text":
        from edgetransfer.spec.text import TextInput

        return TextInput.from_json(data)
    raise BundleError(f"preprocess kind: expected one of {KINDS}, got {kind!r}; upgrade edgetransfer")
