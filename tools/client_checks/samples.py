"""What clients are asked: bundles, prepared images, and our own answers to them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from client_checks.comparison import Answers
from client_checks.failures import CheckFailed
from edgetransfer.export import get_exporter
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
MAX_IMAGES = 40
"""MediaPipe's lines open the model for each image, which takes 0.2 s."""
BUILD_TIMEOUT_S = 300
SMALL_NETWORK = """
import sys, keras
keras.utils.set_random_seed(7)
x = inputs = keras.Input((32, 32, 3))
x = keras.layers.ReLU(6)(keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, 2, padding="same")(x)))
x = keras.layers.ReLU(6)(keras.layers.DepthwiseConv2D(3, padding="same")(x))
x = keras.layers.ReLU(6)(keras.layers.Conv2D(24, 1)(x))
keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="small").save(sys.argv[1])
"""
RENAMED = {"rocket": "fusée d'été"}
"""A label that is not ASCII and has a space: clients must read UTF-8, whole lines."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A bundle and images for it.

    Attributes:
        bundle: The opened bundle.
        inputs: (n, H, W, 3) uint8 RGB of the model's own size, so that no client needs to resize.
        ours: What Predictor gives for them.
        step: The real size of one step of the logits; None where they are floats.
    """

    bundle: Bundle
    inputs: NDArray[np.uint8]
    ours: Answers
    step: float | None

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.bundle.manifest.name


def read_sample(bundle: Bundle, photos: Path | None = None) -> Sample:
    """Return `bundle` with its golden images and with some of those below `photos`, MAX_IMAGES at most.

    Raises:
        CheckFailed: there is no image.
    """
    manifest = bundle.manifest
    golden = bundle.golden()
    frames = list(golden.raw) if golden else []
    frames += [
        read_image(path, channels=manifest.image.channels) for path in _some_of(photos, MAX_IMAGES - len(frames))
    ]
    if not frames:
        raise CheckFailed(f"bundle {manifest.name!r}: has no golden images; name a folder of photos with --data")
    inputs = np.stack([prepare(frame, manifest.image) for frame in frames])
    with Predictor.load(bundle) as predictor:
        stored = np.concatenate([predictor.run(x) for x in inputs])
    ours = Answers(manifest.task.labels, manifest.model.output.to_real(stored).astype(np.float64))
    return Sample(bundle, inputs, ours, get_exporter(manifest.format).step(bundle.model_path.read_bytes()))


def build_samples(work: Path, formats: Iterable[str]) -> tuple[Path, list[Path]]:
    """Build a small bundle of each format from patches of photographs; return the photos and the bundles.

    LiteRT's has scores in the graph: the clients that read it know no int8 output.
    """
    photos: Path = _photo_writer().write_photos(work / "photos", each=30)
    for old, new in RENAMED.items():
        (photos / old).rename(photos / new)
    network = work / "small.keras"
    _call(work, "-c", SMALL_NETWORK, str(network))
    bundles = []
    for name in sorted(set(formats)):
        bundle = work / f"small_{name}.bundle"
        chosen = ["--backbone", f"keras:{network}", "--normalise", "1/128,127", "--fit", "squash", "--epochs", "10"]
        chosen += ["--format", name, "--no-float-reference", "--quiet", "--output", str(bundle)]
        chosen += ["--scores-in-graph"] if name == "litert" else []
        _call(work, "-m", "edgetransfer", "build", str(photos), *chosen)
        bundles.append(bundle)
    return photos, bundles


def _some_of(photos: Path | None, count: int) -> list[Path]:
    """Return `count` files below `photos` spread over all of them, so that every folder has its share."""
    if photos is None or count < 1:
        return []
    found = sorted(path for path in photos.rglob("*") if path.is_file())
    return found[:: max(1, -(-len(found) // count))]


def _call(work: Path, *arguments: str) -> None:
    ours = {"PYTHONPATH": str(ROOT), "EDGETRANSFER_CACHE": str(work / "cache"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=work,
        env=os.environ | ours,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_S,
    )
    if done.returncode:
        shown = " ".join(argument for argument in arguments if "\n" not in argument)
        raise CheckFailed(f"python {shown}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def _photo_writer() -> ModuleType:
    """Return tests/photos.py."""
    spec = importlib.util.spec_from_file_location("photos", ROOT / "tests" / "photos.py")
    if spec is None or spec.loader is None:
        raise CheckFailed("tests/photos.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
