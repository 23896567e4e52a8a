"""The first six of YAMNet's fourteen layers, as STMicroelectronics' model zoo cuts it: 256 features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _yamnet
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

INPUT = _yamnet.INPUT
SPEC = BackboneSpec(
    name="yamnet_256",
    summary="sounds, on small devices: YAMNet's first 6 layers, a 24th of its parameters",
    input_px=_yamnet.FRAMES,
    minimum_px=_yamnet.FRAMES,
    sizes_px=(_yamnet.FRAMES,),
    alphas=(1.0,),
    normalisation=_yamnet.NORMALISATION,
    feature_size=256,
    parameters=135_104,
    macs=23_900_160,
    licence=_yamnet.LICENCE,
    licence_url=_yamnet.LICENCE_URL,
    pretrained_on="AudioSet",
    source="https://github.com/STMicroelectronics/stm32ai-modelzoo-services",
    kind="audio",
)

_COMMIT = "46924c0a8b7617672c12895fa76b0ee202738355"
WEIGHTS = (
    WeightFile(
        name="yamnet_256_f32.h5",
        source="https://raw.githubusercontent.com/STMicroelectronics/stm32ai-modelzoo-services/"
        f"{_COMMIT}/audio_event_detection/src/models/yamnet/yamnet_256_f32.h5",
        sha256="dfa6066b3f3bece880e9813b05cffb6a8328fe3da832f62401ce553dd380d2b3",
        licence=_yamnet.LICENCE,  # LICENSE.md of its folder audio_event_detection/src
        size_bytes=610_472,
    ),
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights."""
    return WEIGHTS[0]


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained Keras model."""
    return _yamnet.build("yamnet_256", 6, height_px, width_px)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`."""
    return _yamnet.load(build(alpha, height_px, width_px), path)
