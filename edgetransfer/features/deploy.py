"""Turns a backbone into its deployed graph: converted once, calibrated on training images, quantized.

The float graph is kept in the cache by everything that it depends on, so a second build with the same backbone, on
whatever data, needs neither Keras nor the converter for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import CacheError
from edgetransfer.export import get_exporter
from edgetransfer.features.extract import View, windows
from edgetransfer.models import backbones
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.cache import cache_folder
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Recipe
from edgetransfer.spec.tensor import Ranges

if TYPE_CHECKING:
    from edgetransfer.runtime.inputs import InputReader
    from edgetransfer.spec.model_input import ModelInput

CALIBRATION_IMAGES = 100  # from 16 to 256, the features' cosine to float moved by 0.0001 (MobileNetV2, TrashNet)
_RULES = 3  # raise when the export changes what it writes


@dataclass(frozen=True, slots=True)
class FloatBackbone:
    """A converted backbone: its float32 graph with normalised pixels as input, and what is known of it.

    `facts` is what the manifest tells of the backbone: name, alpha, weights_sha256, licence and so on.
    """

    format: str
    graph: bytes
    facts: Mapping[str, Any]
    normalisation: Normalisation
    height_px: int
    width_px: int
    channels: int = 3


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a recipe with fixed activation ranges needs: (n, H, W, channels) uint8 training images and their ranges."""

    images: NDArray[np.uint8]
    ranges: Ranges


def float_backbone(choice: BackboneChoice, format: str = "litert") -> FloatBackbone:
    """Return the backbone as a float graph of `format`, from the cache if it was converted before.

    Raises:
        UnknownNameError, BackboneError, WeightsError: it cannot be built.
        ExportError: it cannot be converted.
    """
    parts = [backbones.identity(choice), format, _versions(format), _RULES]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder("backbones") / f"{key}.{format}"
    found = _from_cache(path, format)
    return found if found is not None else _convert(choice, path, format)


def calibration(
    backbone: FloatBackbone, samples: Sequence[Sample], spec: ModelInput, reader: InputReader | None = None
) -> Calibration:
    """Return calibration inputs drawn from `samples`, the training split, by content hash, and their ranges.

    Neither the samples' order nor the files' names matter. Of a sound it is the window in the middle.
    """
    drawn = [windows(View(sample), spec, reader) for sample in drawn_for_calibration(samples)]
    images = np.stack([some[len(some) // 2] for some in drawn])
    return Calibration(images, get_exporter(backbone.format).calibrate(backbone.graph, images, backbone.normalisation))


def deploy(
    backbone: FloatBackbone,
    recipe: Recipe,
    samples: Sequence[Sample],
    spec: ModelInput,
    given: Calibration | None = None,
    reader: InputReader | None = None,
) -> bytes:
    """Return the graph that the device will run: (1, H, W, C) uint8 pixels in, or what `spec` says; features out.

    Args:
        backbone: From `float_backbone`.
        recipe: What to do to it.
        samples: The training split.
        spec: How a sample becomes the graph's input.
        given: `calibration` of these samples, where the caller has it already.
        reader: Of sounds and sentences.
    """
    drawn = drawn_for_calibration(samples) if recipe.needs_calibration else []
    parts = [
        hashlib.sha256(backbone.graph).hexdigest(),
        recipe.to_json(),
        backbone.normalisation.to_json(),
        spec.to_json() if drawn else None,
        [sample.sha256 for sample in drawn],
        backbone.format,
        _versions(backbone.format),
        _RULES,
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder("deployed") / f"{key}.{backbone.format}"
    found = _checked(path)
    if found is None:
        measured = None if not drawn else given or calibration(backbone, samples, spec, reader)
        found = _carry_out(backbone, recipe, measured)
        _write(path, found)
        _write(path.with_suffix(".sha256"), hashlib.sha256(found).hexdigest().encode())
    return found


def float_graph(backbone: FloatBackbone) -> bytes:
    """Return the float32 graph with raw pixels as input: what quantization is compared with."""
    return _carry_out(backbone, RECIPES["float32"], None)


def _carry_out(backbone: FloatBackbone, recipe: Recipe, measured: Calibration | None) -> bytes:
    ranges, images = (None, None) if measured is None else (measured.ranges, measured.images)
    exporter = get_exporter(backbone.format)
    return exporter.carry_out(backbone.graph, recipe, backbone.normalisation, ranges, images)


def drawn_for_calibration(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that ranges are measured on: the first by content, each once however many heads learn it."""
    unique = {sample.sha256: sample for sample in samples}
    return [unique[key] for key in sorted(unique)[:CALIBRATION_IMAGES]]


def load_keras(choice: BackboneChoice) -> Any:
    """Return the float Keras backbone itself; `float_graph` computes the same but for rounding."""
    return backbones.load(choice).model


def _convert(choice: BackboneChoice, path: Path, format: str) -> FloatBackbone:
    loaded = backbones.load(choice)
    result = FloatBackbone(
        format=format,
        graph=get_exporter(format).convert(loaded.model),
        facts={
            "name": loaded.name,
            "alpha": loaded.alpha,
            "weights_sha256": loaded.weights_sha256,
            "normalisation": loaded.normalisation.to_json(),
            "feature_size": loaded.feature_size,
            "licence": loaded.licence,
            "licence_url": loaded.licence_url,
            "pretrained_on": loaded.pretrained_on,
        },
        normalisation=loaded.normalisation,
        height_px=loaded.height_px,
        width_px=loaded.width_px,
        channels=loaded.channels,
    )
    about = {
        "facts": result.facts,
        "height_px": result.height_px,
        "width_px": result.width_px,
        "channels": result.channels,
        "graph_sha256": hashlib.sha256(result.graph).hexdigest(),
    }
    _write(path, result.graph)
    _write(path.with_suffix(".json"), json.dumps(about, sort_keys=True).encode())  # last: it makes the pair whole
    return result


def _from_cache(path: Path, format: str) -> FloatBackbone | None:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        graph = path.read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(graph).hexdigest() != about["graph_sha256"]:
        return None  # damaged: exported again
    normalisation = Normalisation(**about["facts"]["normalisation"])
    shape = (about["height_px"], about["width_px"], about.get("channels", 3))
    return FloatBackbone(format, graph, about["facts"], normalisation, *shape)


def _checked(path: Path) -> bytes | None:
    """Return a kept graph, None where there is none or it was damaged."""
    try:
        content, wanted = path.read_bytes(), path.with_suffix(".sha256").read_text()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == wanted else None


_PACKAGES = {
    "onnx": ("onnx", "onnxruntime", "tf2onnx"),
    "tflm": ("ai-edge-quantizer", "ai-edge-litert", "tflite-micro"),
}
"""Packages that decide what a format's files hold; a format that is not named here is made by LiteRT's."""


def _versions(format: str) -> dict[str, str]:
    found = {}
    others = _PACKAGES.get(format, ("ai-edge-quantizer", "ai-edge-litert"))
    for name in ("keras", "tensorflow", "tensorflow-cpu", *others):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as trouble:
        raise CacheError(f"cache {path.parent}: cannot be written ({trouble.strerror})") from trouble
