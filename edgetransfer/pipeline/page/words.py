"""What the page calls things, by the kind of input that a bundle looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.manifest import Manifest
from edgetransfer.spec.preprocess import CHANNELS, ImageInput

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput

FITS = {
    "crop": "the largest centred part of the right shape is taken",
    "squash": "the whole photo is squashed or stretched into it",
    "pad": "the whole photo is put into it, with bars around",
}


@dataclass(frozen=True, slots=True)
class Words:
    """Words for one kind of input.

    Attributes:
        one: A sample.
        many: Several.
        verb: How a sample is said to hold its label.
        file: One, as `edgetransfer run` is given it.
        data: Many with labels, as `edgetransfer build` is given them.
        strangers: Many without, as `edgetransfer report --strangers` is given them.
        variable: One, as an app holds it.
        drawn_from: What else must be alike for answers to hold.
    """

    one: str
    many: str
    verb: str
    file: str
    data: str
    strangers: str
    variable: str
    drawn_from: str


_WORDS = {
    "image": Words(
        "photo", "photos", "shows", "photo.jpg", "photos/", "others/", "frame", "kind of camera, light, distance and "
        "things"
    ),
    "audio": Words(
        "sound", "sounds", "holds", "clip.wav", "sounds/", "others/", "samples", "microphone, room and loudness"
    ),
    "text": Words(
        "sentence", "sentences", "means", "'a sentence'", "sentences.csv", "others.txt", "sentence", "language, length "
        "and way of writing"
    ),
}  # fmt: skip


def words(manifest: Manifest) -> Words:
    """Return the words for what the bundle of `manifest` looks at."""
    return words_of(manifest.preprocess.kind)


def words_of(kind: str) -> Words:
    """Return the words for a kind of input: "image", "audio" or "text"."""
    return _WORDS[kind]


def described(spec: ModelInput) -> str:
    """Return how an input becomes what the model takes, for the reader."""
    if isinstance(spec, ImageInput):
        size = f"{spec.width_px} x {spec.height_px} px, {CHANNELS[spec.channels]}"
        return f"{size}; of another shape: {FITS[spec.fit]} ({spec.fit})"
    if isinstance(spec, AudioInput):
        return (
            f"{spec.sample_rate_hz} Hz, mono, any length: cut into windows of {spec.frames} frames of {spec.bands} mel "
            f"bands ({spec.front_end}), one every {spec.hop_frames} frames; the answer is that of their mean features"
        )
    return f"text in UTF-8, cut off after {spec.tokens} tokens of the bundle's own {spec.file}"


def in_an_app(spec: ModelInput) -> str:
    """Return what an app gives to `predict`, as a comment in its code."""
    if isinstance(spec, ImageInput):
        return f"(H, W, {spec.channels}) uint8 {CHANNELS[spec.channels]}, any size; or the path of a photo"
    if isinstance(spec, AudioInput):
        return f"(n,) float32 from -1 to 1 at {spec.sample_rate_hz} Hz; or the path of a sound"
    return "str"
