"""MobileNetV2 and V3 from keras.applications, with pixels normalised by a whole zero point.

These networks were trained on pixel / 127.5 - 1, that is (pixel - 127.5) / 127.5. An integer zero point takes
(pixel - 127) / 127.5 instead, and the missing half grey level goes into the batch norm after the first convolution.
That is exact but for the outermost row and column of the first convolution, which pad with zeros: a zero there stood
for the grey 127.5 and now stands for 127.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models.backbones._graph import absorb_offset, settle_automatic_names
from edgetransfer.models.backbones._weight_file import load_into
from edgetransfer.spec.backbone import WeightFile
from edgetransfer.spec.preprocess import Normalisation

NORMALISATION = Normalisation(scale=1 / 127.5, zero_point=127)
LICENCE = "Apache-2.0"
LICENCE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
_HALF_LEVEL = -0.5 / 127.5
_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"


def weight_file_v2(alpha: float, input_px: int) -> WeightFile:
    """Return the published file of MobileNetV2; Keras publishes no hash of it, hence `sha256` ""."""
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{input_px}_no_top.h5"
    return WeightFile(name, f"{_ADDRESS}/mobilenet_v2/{name}", "", LICENCE)


def weight_file_v3(kind: str, alpha: float) -> WeightFile:
    """Return the published file of MobileNetV3 "small" or "large"; Keras publishes its MD5, hence `sha256` ""."""
    name = f"weights_mobilenet_v3_{kind}_224_{alpha}_float_no_top_v2.h5"
    return WeightFile(name, f"{_ADDRESS}/mobilenet_v3/{name}", "", LICENCE)


def build(kind: str, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained network (None, height_px, width_px, 3) -> (None, D), named alike in every process.

    Args:
        kind: "v2", "small" or "large".
        alpha: Width multiplier.
        height_px: Height of the input.
        width_px: Width of the input.
    """
    import keras

    pixels = keras.Input((height_px, width_px, 3), name="pixels")
    options: dict[str, Any] = {"alpha": alpha, "include_top": False, "weights": None, "input_tensor": pixels}
    if kind == "v2":
        trunk = keras.applications.MobileNetV2(**options)
    else:
        maker = keras.applications.MobileNetV3Small if kind == "small" else keras.applications.MobileNetV3Large
        trunk = maker(**options, include_preprocessing=False)
    features = keras.layers.GlobalAveragePooling2D(name="features")(trunk.output)
    model = keras.Model(pixels, features, name=f"mobilenet_{kind}")
    settle_automatic_names(model)
    return model


def load(model: Any, path: Path) -> Any:
    """Return `model`, made by `build`, with the weights in `path`, made to take `NORMALISATION`.

    Raises:
        WeightsError: the file cannot be read, or is that of another network or alpha.
    """
    load_into(model, path)
    first, norm = ("Conv1", "bn_Conv1") if model.name == "mobilenet_v2" else ("conv", "conv_bn")
    absorb_offset(model.get_layer(first), model.get_layer(norm), _HALF_LEVEL)
    return model
