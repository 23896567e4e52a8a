"""One small network in every format of source models; and its numbers, put there by hand. Loaded by path."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

_spec = importlib.util.spec_from_file_location("torch_files", Path(__file__).parents[1] / "torch_files.py")
assert _spec is not None
assert _spec.loader is not None
torch_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(torch_files)

TRUTH = {
    "stem/kernel": (3, 3, 3, 4),
    "stem/bias": (4,),
    "dw/kernel": (3, 3, 4, 2),
    "dw/bias": (8,),
    "inner/point/kernel": (1, 1, 8, 5),
    "inner/point/bias": (5,),
    "top/kernel": (5, 3),
    "top/bias": (3,),
}
"""Shapes as Keras has them: a convolution, a depthwise one of two channels each, a pointwise one, a dense layer."""
LAYOUTS = ("HWIO", "C", "HWCM", "C", "HWIO", "C", "IO", "C")
ROLES = ("kernel", "bias", "depthwise_kernel", "bias", "kernel", "bias", "dense_kernel", "bias")


def truth() -> dict[str, np.ndarray]:
    """Return the network's numbers by name, in Keras' layouts."""
    rng = np.random.default_rng(11)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in TRUTH.items()}


def keras_model() -> Any:
    """Return the network: (12, 12, 3) -> (3,)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    layers = keras.layers
    pixels = keras.Input((12, 12, 3), name="pixels")
    x = layers.ReLU(name="relu_a")(layers.Conv2D(4, 3, name="stem")(pixels))
    x = layers.ReLU(name="relu_b")(layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x))
    inner = keras.Sequential([keras.Input((8, 8, 8)), layers.Conv2D(5, 1, name="point")], name="inner")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.ReLU(name="relu_c")(inner(x)))
    model = keras.Model(pixels, layers.Dense(3, name="top")(x), name="small")
    by_path = {variable.path: variable for variable in model.weights}
    for name, values in truth().items():
        by_path[name].assign(values)
    return model


def torch_state() -> dict[str, np.ndarray]:
    """Return the numbers as PyTorch has them, put in its order one kernel at a time."""
    numbers = truth()
    depthwise = np.zeros((8, 1, 3, 3), np.float32)
    for channel in range(4):
        for number in range(2):
            depthwise[channel * 2 + number, 0] = numbers["dw/kernel"][:, :, channel, number]
    return {
        "stem.weight": np.ascontiguousarray(numbers["stem/kernel"].transpose(3, 2, 0, 1)),
        "stem.bias": numbers["stem/bias"],
        "dw.weight": depthwise,
        "dw.bias": numbers["dw/bias"],
        "inner.point.weight": np.ascontiguousarray(numbers["inner/point/kernel"].transpose(3, 2, 0, 1)),
        "inner.point.bias": numbers["inner/point/bias"],
        "top.weight": np.ascontiguousarray(numbers["top/kernel"].T),
        "top.bias": numbers["top/bias"],
    }


def write_all(folder: Path) -> dict[str, Path]:
    """Write the network in every format into `folder` and return the paths by format."""
    import tensorflow as tf
    from safetensors.numpy import save_file

    model = keras_model()
    paths = {
        "keras_file": folder / "small.keras",
        "legacy_h5": folder / "small.h5",
        "saved_model": folder / "small_saved",
        "torch": folder / "small.pth",
        "safetensors": folder / "small.safetensors",
        "onnx": folder / "small.onnx",
        "tflite": folder / "small.tflite",
    }
    model.save(paths["keras_file"])
    model.save(paths["legacy_h5"])
    model.save_weights(folder / "small.weights.h5")
    tf.saved_model.save(model, str(paths["saved_model"]))
    paths["torch"].write_bytes(torch_files.zip_file(*torch_files.described(torch_state())))
    save_file(torch_state(), paths["safetensors"], {"format": "pt"})
    model.export(paths["onnx"], format="onnx", verbose=False)
    model.export(paths["tflite"], format="litert", verbose=False)
    return paths
