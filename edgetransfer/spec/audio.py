"""How a sound becomes model input: data only, the code is in edgetransfer.runtime.inputs.audio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BundleError

FRONT_ENDS = ("yamnet", "speech_embedding")
"""Names of the published log-mel front ends that the runtime computes."""


@dataclass(frozen=True, slots=True)
class AudioInput:
    """A sound as the model takes it, one window after the other: (frames, bands, 1) uint8 log-mel.

    A clip of any length is cut into windows of `frames` frames that begin every `hop_frames` frames; the last is filled
    up with silence. What a stored value means is `scale * (stored - zero_point)`; the graph knows.

    Attributes:
        front_end: Which published front end computes the frames; it fixes their length, hop and bands.
        sample_rate_hz: What sounds are resampled to.
        frames: Of one window.
        bands: Mel bands of a frame.
        hop_frames: From the start of a window to that of the next.
        scale: Real log-mel of one stored step.
        zero_point: Stored value of a log-mel of 0.
    """

    front_end: str
    sample_rate_hz: int
    frames: int
    bands: int
    hop_frames: int
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if self.front_end not in FRONT_ENDS:
            raise BundleError(f"audio front_end: expected one of {FRONT_ENDS}, got {self.front_end!r}")
        if min(self.sample_rate_hz, self.frames, self.bands, self.hop_frames) < 1:
            raise BundleError(f"audio input: expected whole numbers from 1, got {self}")
        if not self.scale > 0 or not 0 <= self.zero_point <= 255:
            raise BundleError(f"audio input: expected a scale above 0 and a zero point of 0 to 255, got {self}")

    @property
    def kind(self) -> str:
        """The name of this kind of input."""
        return "audio"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frames, bands, 1) of one window."""
        return (self.frames, self.bands, 1)

    @property
    def dtype(self) -> str:
        """The dtype of one window."""
        return "uint8"

    @property
    def summary(self) -> str:
        """What it is, as a phrase."""
        return (
            f"{self.sample_rate_hz} Hz mono, windows of {self.frames} log-mel frames of {self.bands} bands every "
            f"{self.hop_frames} frames ({self.front_end})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {
            "kind": "audio",
            "front_end": self.front_end,
            "sample_rate_hz": self.sample_rate_hz,
            "frames": self.frames,
            "bands": self.bands,
            "hop_frames": self.hop_frames,
            "scale": self.scale,
            "zero_point": self.zero_point,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AudioInput:
        """Return the input that `to_json` described."""
        return cls(**{key: value for key, value in data.items() if key != "kind"})
