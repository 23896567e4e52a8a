"""MobileNetV2, from keras.applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _mobilenet
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

_SIZES_PX = (96, 128, 160, 192, 224)
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

SPEC = BackboneSpec(
    name="mobilenet_v2",
    summary="the widest choice of width and input size; quantizes well",
    input_px=224,
    minimum_px=32,
    sizes_px=_SIZES_PX,
    alphas=_ALPHAS,
    normalisation=_mobilenet.NORMALISATION,
    feature_size=1280,
    parameters=2_257_984,
    macs=299_494_272,
    licence=_mobilenet.LICENCE,
    licence_url=_mobilenet.LICENCE_URL,
    pretrained_on="ImageNet-1k",
    source="https://keras.io/api/applications/mobilenet/",
)

WEIGHTS = tuple(_mobilenet.weight_file_v2(alpha, px) for alpha in _ALPHAS for px in _SIZES_PX)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights for `alpha` trained at `input_px`, else at 224 px, as Keras chooses."""
    return _mobilenet.weight_file_v2(alpha, input_px if input_px in _SIZES_PX else 224)


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained Keras model."""
    return _mobilenet.build("v2", alpha, height_px, width_px)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`."""
    return _mobilenet.load(build(alpha, height_px, width_px), path)
