"""MobileNetV3 small, from keras.applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _mobilenet
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

_ALPHAS = (0.75, 1.0)

SPEC = BackboneSpec(
    name="mobilenet_v3_small",
    summary="least work of all; hard-swish and squeeze-excite lose more to int8 than V2",
    input_px=224,
    minimum_px=32,
    sizes_px=(224,),
    alphas=_ALPHAS,
    normalisation=_mobilenet.NORMALISATION,
    feature_size=576,
    parameters=939_120,
    macs=54_896_576,
    licence=_mobilenet.LICENCE,
    licence_url=_mobilenet.LICENCE_URL,
    pretrained_on="ImageNet-1k",
    source="https://keras.io/api/applications/mobilenet/",
)

WEIGHTS = tuple(_mobilenet.weight_file_v3("small", alpha) for alpha in _ALPHAS)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights for `alpha`; they were trained at 224 px, whatever `input_px` is."""
    return _mobilenet.weight_file_v3("small", alpha)


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained Keras model."""
    return _mobilenet.build("small", alpha, height_px, width_px)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`."""
    return _mobilenet.load(build(alpha, height_px, width_px), path)
