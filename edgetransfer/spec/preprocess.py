"""How raw input becomes model input: data only, the code is in edgetransfer.runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from edgetransfer.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Fit = Literal["crop", "squash", "pad"]
FITS: tuple[Fit, ...] = get_args(Fit)
CHANNELS = {1: "grey", 3: "RGB", 4: "RGB and a fourth channel"}
"""What an image can have, and how that is called."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image as the model takes it: (height_px, width_px, channels) uint8, raw pixels 0 to 255.

    `channels` is 1 of a grey camera, 3 of RGB, or 4: RGB and whatever the camera gives as the fourth, such as near
    infrared. `fit` says how an image of another shape meets that rectangle: "crop" keeps the largest centred part of
    the right aspect, "squash" changes the aspect, "pad" keeps the whole image and fills the rest with
    `pad_value`. Normalisation is inside the graph.
    """

    height_px: int
    width_px: int
    fit: Fit = "squash"
    pad_value: int = 127
    channels: int = 3

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise BundleError(f"image fit: expected one of {FITS}, got {self.fit!r}")
        if min(self.height_px, self.width_px) < 1:
            raise BundleError(f"image size: expected at least 1 x 1 px, got {self.height_px} x {self.width_px}")
        if not 0 <= self.pad_value <= 255:
            raise BundleError(f"image pad_value: expected 0 to 255, got {self.pad_value}")
        if self.channels not in CHANNELS:
            known = " or ".join(f"{count} ({name})" for count, name in CHANNELS.items())
            raise BundleError(f"image channels: expected {known}, got {self.channels}")

    @property
    def kind(self) -> str:
        """The name of this kind of input."""
        return "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one model input."""
        return (self.height_px, self.width_px, self.channels)

    @property
    def dtype(self) -> str:
        """The dtype of one model input."""
        return "uint8"

    @property
    def summary(self) -> str:
        """What it is, as a phrase."""
        return f"{self.height_px} x {self.width_px} px {CHANNELS[self.channels]}, others are met by {self.fit}"

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps; RGB, which was all there was at first, is not told in it."""
        said: dict[str, Any] = {
            "kind": "image",
            "height_px": self.height_px,
            "width_px": self.width_px,
            "fit": self.fit,
            "pad_value": self.pad_value,
        }
        return said if self.channels == 3 else said | {"channels": self.channels}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImageInput:
        """Return the input that `to_json` described.

        Raises:
            BundleError: the manifest asks for preprocessing that this version does not know.
        """
        if data.get("kind") != "image":
            raise BundleError(f"preprocess kind: expected 'image', got {data.get('kind')!r}; upgrade edgetransfer")
        return cls(
            int(data["height_px"]),
            int(data["width_px"]),
            cast(Fit, data["fit"]),
            int(data["pad_value"]),
            int(data.get("channels", 3)),
        )


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What a backbone expects of a pixel: real = scale * (pixel - zero_point), the same for every channel.

    The zero point is a whole pixel value, so that in an int8 graph normalising costs nothing: the raw pixel
    *is* the quantized input, moved by 128.
    """

    scale: float
    zero_point: int

    @property
    def span(self) -> tuple[float, float]:
        """The real values of pixels 0 and 255."""
        return (0 - self.zero_point) * self.scale, (255 - self.zero_point) * self.scale

    def to_real(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what a float model takes of `pixels`, an array of any shape."""
        import numpy as np  # here, for device files are read without it

        real: NDArray[np.float32] = (pixels.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)
        return real

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {"scale": self.scale, "zero_point": self.zero_point}
