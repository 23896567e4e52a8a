"""What training gives: a head, and everything needed to export, compare or repeat it. A folder on disk."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.dense import Dense

RUN_SCHEMA = 2
DEPLOYED_FILE = "deployed.model"  # of the format that the plan names


@dataclass(frozen=True, slots=True)
class GoldenFrames:
    """Raw images that golden samples are made of: (h, w, 3) uint8 RGB, and their (n, D) float features."""

    frames: tuple[NDArray[np.uint8], ...]
    float_features: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A trained head on its deployed backbone.

    Attributes:
        description: Plain JSON values: task, plan, preprocessing, backbone, head options, data, versions. Nothing
            in it is a path, a time or a measurement, so equal runs have equal descriptions.
        head: The dense layers, in real numbers.
        float_head: The head of the all-float model that quantization is compared with; None if it was not made.
        deployed: The deployed backbone in the plan's format: pixels in, features out.
        range_features: (n, D) float32, training features that set the ranges of the head's int8 activations.
        golden: What golden samples can be made of, by kind: "synthetic", and "own" where the user's images may go
            to devices.
    """

    description: Mapping[str, Any]
    head: tuple[Dense, ...]
    float_head: tuple[Dense, ...] | None
    deployed: bytes
    range_features: NDArray[np.float32]
    golden: Mapping[str, GoldenFrames]

    def save(self, folder: Path) -> None:
        """Write the run to `folder`, which is made; `run.json` comes last, so a run is whole when it has one."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").unlink(missing_ok=True)
        arrays: dict[str, NDArray[Any]] = {"range_features": self.range_features}
        arrays |= _head_arrays("head", self.head) | _head_arrays("float_head", self.float_head or ())
        for kind, golden in self.golden.items():
            arrays[f"{kind}/features"] = golden.float_features
            arrays |= {f"{kind}/frame_{number}": frame for number, frame in enumerate(golden.frames)}
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
        about = {
            "run_schema": RUN_SCHEMA,
            "head_activations": [layer.activation for layer in self.head],
            "float_head_activations": [layer.activation for layer in self.float_head or ()],
            "golden_frames": {kind: len(golden.frames) for kind, golden in self.golden.items()},
            "description": self.description,
        }
        write_atomically(folder / DEPLOYED_FILE, self.deployed)
        write_atomically(folder / "run.npz", buffer.getvalue())
        write_atomically(
            folder / "run.json", (json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        )

    @classmethod
    def load(cls, folder: Path) -> TrainedModel:
        """Return the run in `folder`.

        Raises:
            BundleError: `folder` is no run, is damaged, or was made by a newer version.
        """
        if not (folder / "run.json").is_file():
            raise BundleError(f"{folder}: expected a run, a folder with run.json that 'edgetransfer train' makes")
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if "transfer_run_schema" in about:
                raise BundleError(f"{folder}: is the run of a transfer: edgetransfer build --from {folder}")
            if int(about["run_schema"]) != RUN_SCHEMA:
                raise BundleError(
                    f"{folder}: made by another version of edgetransfer (run schema "
                    f"{about['run_schema']}, this one has {RUN_SCHEMA}); train again"
                )
            with np.load(io.BytesIO((folder / "run.npz").read_bytes()), allow_pickle=False) as archive:
                arrays = dict(archive)
            return cls(
                description=about["description"],
                head=_head("head", about["head_activations"], arrays),
                float_head=_head("float_head", about["float_head_activations"], arrays) or None,
                deployed=(folder / DEPLOYED_FILE).read_bytes(),
                range_features=arrays["range_features"],
                golden={
                    kind: GoldenFrames(
                        tuple(arrays[f"{kind}/frame_{number}"] for number in range(count)), arrays[f"{kind}/features"]
                    )
                    for kind, count in about["golden_frames"].items()
                },
            )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as trouble:
            raise BundleError(f"{folder}: the run is damaged ({trouble}); train again") from trouble


def _head_arrays(name: str, head: tuple[Dense, ...]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for number, layer in enumerate(head):
        arrays[f"{name}/kernel_{number}"], arrays[f"{name}/bias_{number}"] = layer.kernel, layer.bias
    return arrays


def _head(name: str, activations: list[str], arrays: Mapping[str, NDArray[Any]]) -> tuple[Dense, ...]:
    return tuple(
        Dense(arrays[f"{name}/kernel_{number}"], arrays[f"{name}/bias_{number}"], activation)
        for number, activation in enumerate(activations)
    )
