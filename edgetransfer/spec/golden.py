"""Golden samples: raw inputs with the outputs that this very artifact and the float model gave for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError
from edgetransfer.spec.arrays import pack, unpack
from edgetransfer.spec.preprocess import CHANNELS

MAX_GOLDEN_BYTES = 256 * 1024 * 1024
"""Golden files that declare more are refused before anything is allocated."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden samples of one artifact.

    Attributes:
        raw: n raw inputs that are one window each: images (H, W, channels) uint8 of any size, sounds (n,) float32 from
            -1 to 1, or sentences (n,) uint8 UTF-8.
        input_sha256: n hashes in hex, of the prepared model inputs' bytes: tells preprocessing from the model.
        float_logits: (n, C) float32, the float Keras model's; its features where the graph ends in features.
        own_outputs: (n, C) in the model output's own dtype: what this artifact gave where it was built.
    """

    raw: tuple[NDArray[np.uint8], ...]
    input_sha256: tuple[str, ...]
    float_logits: NDArray[np.float32]
    own_outputs: NDArray[Any]

    def __post_init__(self) -> None:
        n = len(self.raw)
        shapes = (len(self.input_sha256), *self.float_logits.shape[:1], *self.own_outputs.shape[:1])
        if n < 1 or shapes != (n, n, n) or self.float_logits.shape != self.own_outputs.shape:
            raise BundleError(
                f"golden samples: expected as many hashes and (n, C) outputs as raw frames, got {n} frames, "
                f"{shapes[0]} hashes, outputs {self.float_logits.shape} and {self.own_outputs.shape}"
            )
        for i, one in enumerate(self.raw):
            if not one.size or not (_is_image(one) or _is_text(one) or _is_sound(one)):
                raise BundleError(
                    f"golden raw_{i}: expected uint8 (H, W, C) or (n,), or float32 (n,), got {one.dtype} {one.shape}"
                )
        if self.float_logits.dtype != np.float32 or self.float_logits.ndim != 2:
            raise BundleError(f"golden float_logits: expected float32 (n, C), got {self.float_logits.dtype}")
        if not np.isfinite(self.float_logits).all():
            raise BundleError("golden float_logits: expected finite numbers, got NaN or infinity")

    def to_bytes(self) -> bytes:
        """Return the content of golden.npz, the same bytes for the same samples."""
        arrays: dict[str, NDArray[Any]] = {f"raw_{i}": frame for i, frame in enumerate(self.raw)}
        arrays["input_sha256"] = np.array(self.input_sha256, "<U64")
        arrays["float_logits"], arrays["own_outputs"] = self.float_logits, self.own_outputs
        return pack(arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> Golden:
        """Return the samples in `content`.

        Raises:
            BundleError: not such a file, pickled objects, or headers that declare more than MAX_GOLDEN_BYTES.
        """
        arrays = unpack(content, "golden samples", MAX_GOLDEN_BYTES)
        try:
            hashes = tuple(str(text) for text in arrays.pop("input_sha256"))
            logits, own = arrays.pop("float_logits"), arrays.pop("own_outputs")
            raw = tuple(arrays.pop(f"raw_{i}") for i in range(len(arrays)))
        except (KeyError, TypeError) as error:
            raise BundleError(f"golden samples: cannot be read ({error}); copy the bundle again") from error
        return cls(raw, hashes, logits, own)


def _is_image(raw: NDArray[Any]) -> bool:
    return raw.dtype == np.uint8 and raw.ndim == 3 and raw.shape[2] in CHANNELS


def _is_text(raw: NDArray[Any]) -> bool:
    return raw.dtype == np.uint8 and raw.ndim == 1


def _is_sound(raw: NDArray[Any]) -> bool:
    return raw.dtype == np.float32 and raw.ndim == 1 and bool(np.isfinite(raw).all())
