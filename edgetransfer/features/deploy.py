"""Turns a backbone into its deployed graph: exported once, calibrated on training images, quantized.

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
from typing import Any

import numpy as np

from edgetransfer.data import Sample
from edgetransfer.errors import CacheError
from edgetransfer.features.extract import View, model_input
from edgetransfer.models import backbones
from edgetransfer.quantize.calibrate import CALIBRATION_IMAGES, calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.cache import cache_folder
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES, Recipe

_RULES = 1  # raise when the export changes what it writes


@dataclass(frozen=True, slots=True)
class FloatBackbone:
    """An exported backbone: its float32 graph with normalised pixels as input, and what is known of it.

    `facts` is what the manifest tells of the backbone: name, alpha, weights_sha256, licence and so on.
    """

    graph: bytes
    facts: Mapping[str, Any]
    normalisation: Normalisation
    height_px: int
    width_px: int


def float_backbone(choice: BackboneChoice) -> FloatBackbone:
    """Return the exported backbone, from the cache if it was exported before.

    Raises:
        UnknownNameError, BackboneError, WeightsError: it cannot be built.
        ExportError: it cannot be converted.
    """
    folder = cache_folder("backbones")
    key = hashlib.sha256(json.dumps([backbones.identity(choice), _versions(), _RULES], sort_keys=True).encode())
    path = folder / f"{key.hexdigest()[:32]}.tflite"
    found = _from_cache(path)
    return found if found is not None else _export(choice, path)


def deploy(
    backbone: FloatBackbone,
    recipe: Recipe,
    samples: Sequence[Sample],
    spec: ImageInput,
) -> bytes:
    """Return the graph that the device will run: (1, H, W, 3) uint8 pixels in, (1, D) features out.

    Args:
        backbone: From `float_backbone`.
        recipe: What to do to it.
        samples: The training split; those used to calibrate are drawn by content hash, so neither the order nor
            the files' names matter.
        spec: How an image becomes the graph's input.
    """
    drawn = sorted(samples, key=lambda sample: sample.sha256)[:CALIBRATION_IMAGES] if recipe.needs_calibration else []
    parts = [
        hashlib.sha256(backbone.graph).hexdigest(),
        recipe.to_json(),
        backbone.normalisation.to_json(),
        spec.to_json() if drawn else None,
        [sample.sha256 for sample in drawn],
        _versions(),
        _RULES,
    ]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder("deployed") / f"{key}.tflite"
    found = _checked(path)
    if found is None:
        ranges = None
        if drawn:
            images = np.stack([model_input(View(sample), spec) for sample in drawn])
            ranges = calibrate(backbone.graph, images, backbone.normalisation)
        found = carry_out(backbone.graph, recipe, backbone.normalisation, ranges)
        _write(path, found)
        _write(path.with_suffix(".sha256"), hashlib.sha256(found).hexdigest().encode())
    return found


def float_graph(backbone: FloatBackbone) -> bytes:
    """Return the float32 graph with raw pixels as input: what quantization is compared with."""
    return carry_out(backbone.graph, RECIPES["float32"], backbone.normalisation)


def load_keras(choice: BackboneChoice) -> Any:
    """Return the float Keras backbone itself; `float_graph` computes the same but for rounding."""
    return backbones.load(choice).model


def _export(choice: BackboneChoice, path: Path) -> FloatBackbone:
    from edgetransfer.export.litert import export_backbone

    loaded = backbones.load(choice)
    result = FloatBackbone(
        graph=export_backbone(loaded.model),
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
    )
    about = {
        "facts": result.facts,
        "height_px": result.height_px,
        "width_px": result.width_px,
        "graph_sha256": hashlib.sha256(result.graph).hexdigest(),
    }
    _write(path, result.graph)
    _write(path.with_suffix(".json"), json.dumps(about, sort_keys=True).encode())  # last: it makes the pair whole
    return result


def _from_cache(path: Path) -> FloatBackbone | None:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        graph = path.read_bytes()
    except (OSError, ValueError):
        return None
    if hashlib.sha256(graph).hexdigest() != about["graph_sha256"]:
        return None  # damaged: exported again
    normalisation = Normalisation(**about["facts"]["normalisation"])
    return FloatBackbone(graph, about["facts"], normalisation, about["height_px"], about["width_px"])


def _checked(path: Path) -> bytes | None:
    """Return a kept graph, None where there is none or it was damaged."""
    try:
        content, wanted = path.read_bytes(), path.with_suffix(".sha256").read_text()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == wanted else None


def _versions() -> dict[str, str]:
    found = {}
    for name in ("keras", "tensorflow", "tensorflow-cpu", "ai-edge-quantizer", "ai-edge-litert"):
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
