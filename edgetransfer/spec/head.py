"""A head by itself: a few kilobytes that turn a backbone's features into answers, on the device with numpy alone.

NAME.head is a zip of arrays (`edgetransfer.spec.arrays`): `about` is JSON in UTF-8, the rest numbers. A head belongs to
one deployed backbone: it learned from that very graph's features, and is refused by any other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError
from edgetransfer.spec import json_shape
from edgetransfer.spec.arrays import pack, unpack
from edgetransfer.spec.attention import AttentionPool, mean_of_windows
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.memory import Memory
from edgetransfer.spec.outliers import OutlierDetector
from edgetransfer.spec.task import Task

if TYPE_CHECKING:
    from edgetransfer.spec.manifest import Manifest
    from edgetransfer.spec.model_input import ModelInput

HEAD_SUFFIX = ".head"
HEAD_SCHEMA = 2
"""The newest schema that is read. A head is written as 1 unless it pools windows by attention, which is 2: who does not
know of that would answer from the mean of the windows, and be wrong."""
MAX_HEAD_BYTES = 64 * 1024 * 1024
"""Files that declare more are refused before anything is allocated; ours have some kilobytes."""

_OUTLIERS, _MEMORY, _POOL = "outliers/", "memory/", "pool"


@dataclass(frozen=True, slots=True)
class Head:
    """A trained head.

    Attributes:
        name: What results are called by: lower-case letters, digits and _.
        task: What it answers.
        layers: Dense layers in real numbers, kernels rounded to float16, as the file keeps them.
        features_sha256: Of the deployed backbone that it learned on: `features_fingerprint`.
        outliers: Tells what is unlike anything it was trained on; None if it never rejects.
        memory: Examples that it was not trained on, for learning on the device; None if it cannot be taught there.
        metrics: Split to its figures and the number of samples, of this very head.
        pool: How several windows of an input become one feature vector; None for their mean.
        training: What training showed and a report page tells: JSON values, some hundred bytes. What can be in it says
            `edgetransfer.pipeline.head_training`.
        made_by: Version of edgetransfer.
    """

    name: str
    task: Task
    layers: tuple[Dense, ...]
    features_sha256: str
    outliers: OutlierDetector | None = None
    memory: Memory | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    made_by: str = ""
    pool: AttentionPool | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise BundleError(f"head name: expected lower-case letters, digits and _, got {self.name!r}")
        if not self.layers or self.layers[-1].activation != "linear":
            raise BundleError(f"head {self.name!r}: expected dense layers, the last one linear")
        widths = [layer.kernel.shape for layer in self.layers]
        fits = all(one[1] == other[0] for one, other in itertools.pairwise(widths))
        if not fits or any(layer.bias.shape != layer.kernel.shape[1:] for layer in self.layers):
            raise BundleError(f"head {self.name!r}: its layers do not fit each other: {widths}")
        if not all(np.isfinite(array).all() for layer in self.layers for array in (layer.kernel, layer.bias)):
            raise BundleError(f"head {self.name!r}: expected finite numbers, got NaN or infinity")
        if self.layers[-1].kernel.shape[1] != self.task.outputs:
            raise BundleError(
                f"head {self.name!r}: expected {self.task.outputs} outputs for its task, "
                f"got {self.layers[-1].kernel.shape[1]}"
            )
        if self.pool is not None and len(self.pool.weights) != self.feature_size:
            raise BundleError(
                f"head {self.name!r}: expected an attention pool of {self.feature_size} weights, "
                f"got {len(self.pool.weights)}"
            )

    @property
    def feature_size(self) -> int:
        """How many features it takes."""
        return int(self.layers[0].kernel.shape[0])

    def pooled(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the features (D,) of an input from those of its windows (W, D)."""
        if self.pool is not None:
            return self.pool.apply(windows)
        return mean_of_windows(windows)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (n, C) of real features (n, D)."""
        return apply_head(self.layers, features)

    def rounded(self) -> Head:
        """Return the head as its file will give it back: what is measured is what is shipped."""
        return replace(
            self,
            layers=tuple(
                Dense(layer.kernel.astype(np.float16).astype(np.float32), layer.bias, layer.activation)
                for layer in self.layers
            ),
        )

    def to_bytes(self) -> bytes:
        """Return the content of NAME.head, the same bytes for the same head."""
        about = {
            "schema": 1 if self.pool is None else HEAD_SCHEMA,
            "edgetransfer": self.made_by,
            "name": self.name,
            "task": self.task.to_json(),
            "activations": [layer.activation for layer in self.layers],
            "features_sha256": self.features_sha256,
            "metrics": {split: dict(values) for split, values in self.metrics.items()},
        }
        if self.training:
            about["training"] = dict(self.training)
        arrays: dict[str, NDArray[Any]] = {"about": np.frombuffer(json_shape.canonical(about), np.uint8)}
        for number, layer in enumerate(self.layers):
            arrays[f"kernel_{number}"] = layer.kernel.astype(np.float16)
            arrays[f"bias_{number}"] = layer.bias.astype(np.float32)
        if self.pool is not None:
            arrays[_POOL] = self.pool.weights.astype(np.float32)
        if self.outliers is not None:
            arrays |= {_OUTLIERS + name: array for name, array in self.outliers.arrays().items()}
        if self.memory is not None:
            arrays |= {_MEMORY + name: array for name, array in self.memory.arrays().items()}
        return pack(arrays)

    @classmethod
    def from_bytes(cls, content: bytes, what: str = "head") -> Head:
        """Return the head in `content`; `what` it is called in messages.

        Raises:
            BundleError: no head, damaged, or made by a newer version.
        """
        arrays = unpack(content, what, MAX_HEAD_BYTES)
        try:
            about = json_shape.parse(arrays["about"].astype(np.uint8).tobytes(), what)
            if not isinstance(about, dict) or int(about["schema"]) > HEAD_SCHEMA:
                raise BundleError(f"{what}: made by a newer edgetransfer; upgrade edgetransfer")
            outliers, memory = _of(_OUTLIERS, arrays), _of(_MEMORY, arrays)
            return cls(
                name=str(about["name"]),
                task=Task.from_json(about["task"]),
                layers=_layers(about["activations"], arrays),
                features_sha256=str(about["features_sha256"]),
                outliers=OutlierDetector.from_arrays(outliers) if outliers else None,
                memory=Memory.from_arrays(memory) if memory else None,
                metrics={str(split): dict(values) for split, values in about["metrics"].items()},
                made_by=str(about["edgetransfer"]),
                pool=AttentionPool(arrays[_POOL].astype(np.float32)) if _POOL in arrays else None,
                training=dict(about.get("training", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise BundleError(f"{what}: is no head, or damaged ({error!r}); copy it again") from error

    def check_fits(self, manifest: Manifest, folder: str) -> None:
        """Refuse a bundle whose backbone is not the one that this head learned on.

        Raises:
            BundleError: another backbone, recipe or preprocessing; says what to do.
        """
        if self.features_sha256 != features_fingerprint(manifest):
            raise BundleError(
                f"head {self.name!r}: was trained on the features of another backbone or recipe than bundle "
                f"{folder!r} has; train it for this one: edgetransfer heads train DATA --bundle {folder}"
            )


def features_fingerprint(manifest: Manifest) -> str:
    """Return what a head is tied to: the sha256 of the model file and of how inputs are prepared for it."""
    return fingerprint(manifest.files[manifest.model.file].sha256, manifest.preprocess)


def fingerprint(model_sha256: str, preprocess: ModelInput) -> str:
    """Return the same of a model that no manifest speaks of yet."""
    return hashlib.sha256(json.dumps([model_sha256, preprocess.to_json()], sort_keys=True).encode()).hexdigest()


def _of(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _layers(activations: list[str], arrays: Mapping[str, NDArray[Any]]) -> tuple[Dense, ...]:
    return tuple(
        Dense(
            arrays[f"kernel_{number}"].astype(np.float32),
            arrays[f"bias_{number}"].astype(np.float32),
            str(activation),
        )
        for number, activation in enumerate(activations)
    )
