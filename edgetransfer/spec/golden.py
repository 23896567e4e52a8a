"""Golden samples: raw inputs with the outputs that this very artifact and the float model gave for them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError

if TYPE_CHECKING:
    import zipfile

MAX_GOLDEN_BYTES = 256 * 1024 * 1024
"""Golden files that declare more are refused before anything is allocated."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden samples of one artifact.

    Attributes:
        raw: n raw frames, each (H, W, 3) uint8 RGB of any size.
        input_sha256: n hashes in hex, of the prepared model inputs' bytes: tells preprocessing from the model.
        float_logits: (n, C) float32, the float Keras model's.
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
        for i, frame in enumerate(self.raw):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
                raise BundleError(f"golden raw_{i}: expected uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        if self.float_logits.dtype != np.float32 or self.float_logits.ndim != 2:
            raise BundleError(f"golden float_logits: expected float32 (n, C), got {self.float_logits.dtype}")
        if not np.isfinite(self.float_logits).all():
            raise BundleError("golden float_logits: expected finite numbers, got NaN or infinity")

    def to_bytes(self) -> bytes:
        """Return the content of golden.npz, the same bytes for the same samples."""
        arrays: dict[str, NDArray[Any]] = {f"raw_{i}": frame for i, frame in enumerate(self.raw)}
        arrays["input_sha256"] = np.array(self.input_sha256, "<U64")
        arrays["float_logits"], arrays["own_outputs"] = self.float_logits, self.own_outputs
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy 2's stub takes them for allow_pickle
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Golden:
        """Return the samples in `content`.

        Raises:
            BundleError: not such a file, pickled objects, or headers that declare more than MAX_GOLDEN_BYTES.
        """
        import zipfile  # here, for a device verifies once and predicts ever after
        import zlib

        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                arrays = _read_all(archive)
            hashes = tuple(str(text) for text in arrays.pop("input_sha256"))
            logits, own = arrays.pop("float_logits"), arrays.pop("own_outputs")
            raw = tuple(arrays.pop(f"raw_{i}") for i in range(len(arrays)))
        except (
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            ValueError,
            TypeError,
            EOFError,
            OSError,
            RuntimeError,
        ) as error:
            raise BundleError(f"golden samples: cannot be read ({error}); copy the bundle again") from error
        return cls(raw, hashes, logits, own)


def _read_all(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    left_bytes = MAX_GOLDEN_BYTES
    for member in archive.infolist():
        with archive.open(member) as stream:
            left_bytes -= max(_declared_bytes(stream), member.file_size)
        if left_bytes < 0:
            raise BundleError(
                f"golden samples: {member.filename} declares too much, above {MAX_GOLDEN_BYTES} bytes in all; refused"
            )
    arrays = {}
    for member in archive.infolist():
        with archive.open(member) as stream:
            arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _declared_bytes(stream: Any) -> int:
    """Return how many bytes the .npy header in `stream` declares, without reading them."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise BundleError(f"golden samples: expected .npy version 1.0 or 2.0, got {version}")
    if dtype.hasobject:
        raise BundleError("golden samples: expected plain numbers, got pickled objects; refused unread")
    count = dtype.itemsize
    for size in shape:
        if size < 0:
            raise BundleError(f"golden samples: expected sizes from 0, got {shape}")
        count *= size
    return count
