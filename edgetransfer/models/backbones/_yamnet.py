"""YAMNet in Keras, whole and cut after its sixth layer, with weights from the files that are about.

The network: https://github.com/tensorflow/models/tree/master/research/audioset/yamnet, yamnet.py and params.py. It is
MobileNetV1 on log-mel patches of 0.96 s, with batch norms that have no scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models.backbones._config import read_config, refuse_unsafe
from edgetransfer.models.backbones._weight_file import load_into
from edgetransfer.models.layers import flat_layers
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.preprocess import Normalisation

FRAMES, BANDS = 96, 64
# Silence, log(0.001), is exactly the stored 0. The greatest log-mel that samples from -1 to 1 can have is 6.17: the
# energy of a frame is at most that of its Hann window, 150, and the widest band's weights have a norm of 2.45 (Cauchy
# and Schwarz; tests/runtime/test_log_mel.py). 255 is 6.24, so nothing is clipped, and a step is 0.45 dB.
NORMALISATION = Normalisation(scale=6.907755278982137 / 134, zero_point=134)
INPUT = AudioInput(
    front_end="yamnet",
    sample_rate_hz=16_000,
    frames=FRAMES,
    bands=BANDS,
    hop_frames=48,  # patch_hop_seconds of params.py
    scale=NORMALISATION.scale,
    zero_point=NORMALISATION.zero_point,
)
LICENCE = "Apache-2.0"
LICENCE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
_EPSILON = 1e-4  # batchnorm_epsilon of params.py
# Channels and stride of each layer; the first is a convolution, all others depthwise and pointwise.
_LAYERS = (
    (32, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip

Arrays = list[NDArray[np.float32]]


def build(name: str, layers: int, height_px: int, width_px: int) -> Any:
    """Return the Keras model `name`, untrained: (None, 96, 64, 1) real log-mel -> (None, D).

    Args:
        name: Of the model.
        layers: How many of YAMNet's 14 layers, from the first on.
        height_px: Frames; 96.
        width_px: 96 or 64: a choice of backbone knows one size only, and the bands are fixed.

    Raises:
        BackboneError: another size.
    """
    import keras

    if height_px != FRAMES or width_px not in (FRAMES, BANDS):
        raise BackboneError(
            f"backbone {name!r}: its input is fixed, {FRAMES} frames of {BANDS} bands, got {height_px} and {width_px}; "
            "leave out --input-size"
        )
    frames = keras.Input((FRAMES, BANDS, 1), name="pixels")  # as every backbone's input is called
    x = frames
    for number, (channels, stride) in enumerate(_LAYERS[:layers], 1):
        if number == 1:
            x = _normed(keras.layers.Conv2D(channels, 3, stride, **_same(f"layer{number}_conv"))(x))
            continue
        x = _normed(keras.layers.DepthwiseConv2D(3, stride, **_same(f"layer{number}_depthwise_conv"))(x))
        x = _normed(keras.layers.Conv2D(channels, 1, **_same(f"layer{number}_pointwise_conv"))(x))
    return keras.Model(frames, keras.layers.GlobalAveragePooling2D(name="features")(x), name=name)


def load(model: Any, path: Path) -> Any:
    """Return `model`, made by `build`, with the weights in `path`.

    Args:
        model: The network.
        path: The published `yamnet.h5`, another `.h5` or a `.keras` model of YAMNet's layers, with batch norms or
            with biases that they were folded into, or what Keras saved of `model`. More layers than `model` has, and
            a classifier on top, are left out.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
        BackboneError: a `.keras` file that would run code.
    """
    if path.name.endswith(".weights.h5"):
        load_into(model, path)
        return model
    groups = list(_groups(_stored(path), path))
    convolutions = [layer for layer in model.layers if "conv" in layer.name and not layer.name.endswith("_bn")]
    convolutions = [layer for layer in convolutions if layer.weights]
    if len(groups) < len(convolutions):
        raise WeightsError(f"{_other(model, path)}: it has {len(groups)} convolutions, not {len(convolutions)}")
    for layer, (kernel, *norm) in zip(convolutions, groups, strict=False):
        wanted, got = tuple(layer.kernel.shape), kernel.shape
        if wanted != got:
            raise WeightsError(f"{_other(model, path)}: {layer.name} needs {wanted}, the file has {got}")
        layer.kernel.assign(kernel)
        for variable, value in zip(model.get_layer(f"{layer.name}_bn").weights, _norm(norm), strict=True):
            if tuple(variable.shape) != value.shape:
                raise WeightsError(f"{_other(model, path)}: {layer.name} has {value.shape} beside its kernel")
            variable.assign(value)
    return model


def _same(name: str) -> dict[str, Any]:
    return {"padding": "same", "use_bias": False, "name": name}


def _normed(x: Any) -> Any:
    import keras

    name = x._keras_history.operation.name
    x = keras.layers.BatchNormalization(scale=False, epsilon=_EPSILON, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name.replace('layer1_conv', 'layer1')}_relu")(x)


def _norm(arrays: Sequence[NDArray[np.float32]]) -> Arrays:
    """Return beta, moving mean and variance of a batch norm, or of one that does what a bias does."""
    if len(arrays) == 3:
        return list(arrays)
    (bias,) = arrays
    return [bias, np.zeros_like(bias), np.full_like(bias, 1 - _EPSILON)]


def _stored(path: Path) -> list[Arrays]:
    """Return the arrays of every layer with weights in the file, in order."""
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file")
    if path.suffix in (".h5", ".hdf5"):
        from edgetransfer.models import legacy_h5

        return [part for _, arrays in legacy_h5.read_layers(path) for part in _parts(arrays)]
    if path.suffix != ".keras":
        raise WeightsError(f"weights {path}: expected a .keras or .h5 file, got {path.suffix or 'no'} suffix")
    import keras

    refuse_unsafe(read_config(path), path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as trouble:  # Keras raises whatever a wrong file leads to
        lines = str(trouble).strip().splitlines() or [type(trouble).__name__]
        raise WeightsError(f"weights {path}: Keras {keras.__version__} cannot load it: {lines[0]}") from trouble
    return [[np.asarray(weight) for weight in layer.weights] for layer in flat_layers(model) if layer.weights]


def _parts(arrays: list[NDArray[Any]]) -> list[Arrays]:
    """Return a layer's arrays as they are, those of a nested model layer by layer.

    Keras 2 writes a nested model as one layer: first what is trained, kernel and beta of each, then the moving means
    and variances of all.
    """
    kernels = sum(array.ndim == 4 for array in arrays)
    if kernels < 2 or len(arrays) != 4 * kernels:
        return [arrays]
    trained, moving = arrays[: 2 * kernels], arrays[2 * kernels :]
    pairs = [(trained[i : i + 2], moving[i : i + 2]) for i in range(0, 2 * kernels, 2)]
    return [[kernel, beta, *moments] for (kernel, beta), moments in pairs]


def _groups(layers: list[Arrays], path: Path) -> Iterator[Arrays]:
    """Yield a convolution's kernel with the bias or the batch norm that belongs to it, for each in order."""
    waiting: Arrays = []
    for arrays in layers:
        arrays = [np.asarray(array, np.float32) for array in arrays]
        if waiting:
            if len(arrays) != 3 or any(array.ndim != 1 for array in arrays):
                raise WeightsError(f"weights {path}: expected a batch norm without scale after each convolution")
            yield [*waiting, *arrays]
            waiting = []
        elif arrays[0].ndim != 4:
            return  # a classifier
        elif len(arrays) == 1:
            waiting = arrays
        else:
            yield arrays


def _other(model: Any, path: Path) -> str:
    return f"weights {path}: not those of {model.name} (another network, or a damaged file)"
