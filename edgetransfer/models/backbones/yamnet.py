"""YAMNet, Google's network for everyday sounds, with its 1024 features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones import _yamnet
from edgetransfer.spec.backbone import BackboneSpec, WeightFile

INPUT = _yamnet.INPUT
SPEC = BackboneSpec(
    name="yamnet",
    summary="sounds of all kinds: windows of 0.96 s at 16 kHz",
    input_px=_yamnet.FRAMES,
    minimum_px=_yamnet.FRAMES,
    sizes_px=(_yamnet.FRAMES,),
    alphas=(1.0,),
    normalisation=_yamnet.NORMALISATION,
    feature_size=1024,
    parameters=3_217_344,
    macs=68_631_552,
    licence=_yamnet.LICENCE,
    licence_url=_yamnet.LICENCE_URL,
    pretrained_on="AudioSet",
    source="https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    kind="audio",
)

WEIGHTS = (
    # The address that the README of the source names; it tells no hash, and we have not seen the file.
    WeightFile("yamnet.h5", "https://storage.googleapis.com/audioset/yamnet.h5", "", _yamnet.LICENCE),
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights."""
    return WEIGHTS[0]


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained Keras model."""
    return _yamnet.build("yamnet", 14, height_px, width_px)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`."""
    return _yamnet.load(build(alpha, height_px, width_px), path)
