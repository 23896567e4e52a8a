"""WordLlama: one vector a token, and their mean; no layer computes. Vectors of the PyPI package wordllama.

Made from the token embeddings of large language models (Llama 2 70B and others), trained further to stand for
sentences, cut to 256 numbers. https://github.com/dleemiller/WordLlama
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetransfer.models import weights
from edgetransfer.models.backbones import _sentence
from edgetransfer.spec.backbone import BackboneSpec, WeightFile
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.text import TOKENIZER_FILE, TextInput

_VOCABULARY, _FEATURES = 32_000, 256
_LICENCE = "MIT"
_SOURCE = "pip:wordllama==0.4.0.post1"

INPUT = TextInput(tokens=128, pad_id=0)
"""Of Banking77's 13,083 messages the longest has 105 tokens. Id 0 is "<unk>", which no text becomes: unknown
characters are cut into bytes."""

SPEC = BackboneSpec(
    name="wordllama",
    summary="one vector a token and their mean: the smallest and fastest for sentences; English",
    input_px=INPUT.tokens,
    minimum_px=INPUT.tokens,
    sizes_px=(INPUT.tokens,),
    alphas=(1.0,),
    normalisation=Normalisation(1.0, 0),
    feature_size=_FEATURES,
    parameters=_VOCABULARY * _FEATURES,
    macs=0,
    licence=_LICENCE,
    licence_url="https://github.com/dleemiller/WordLlama/blob/main/LICENSE",
    pretrained_on="token embeddings of large language models, pairs of sentences",
    source="https://github.com/dleemiller/WordLlama",
    kind="text",
)

TOKENIZER = WeightFile(
    name="wordllama-l2_supercat-tokenizer.json",
    source=_SOURCE,
    sha256="93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
    licence=_LICENCE,
    size_bytes=1_842_796,
    member="wordllama/tokenizers/l2_supercat_tokenizer_config.json",
)
WEIGHTS = (
    WeightFile(
        name="l2_supercat_256.safetensors",
        source=_SOURCE,
        sha256="64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
        licence=_LICENCE,
        size_bytes=16_384_096,
        member="wordllama/weights/l2_supercat_256.safetensors",
    ),
    TOKENIZER,
)


def weight_file(alpha: float, input_px: int) -> WeightFile:
    """Return the published weights; there is one file."""
    return WEIGHTS[0]


def assets(path: Path) -> dict[str, bytes]:
    """Return the tokenizer, as published but without the "<s>" that the package leaves out too."""
    from edgetransfer.models.backbones._tokenizer_file import without_special_tokens

    return {TOKENIZER_FILE: without_special_tokens(weights.locate(SPEC.name, TOKENIZER).read_bytes())}


def build(alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model (None, tokens) int32 ids -> (None, 256), untrained."""
    import keras

    tokens = _sentence.check_size(SPEC.name, height_px, width_px)
    ids, mask = _sentence.start(tokens, INPUT.pad_id)
    x = keras.layers.Embedding(_VOCABULARY, _FEATURES, embeddings_initializer="zeros", name="words")(ids)
    mean = keras.ops.divide(_sentence.masked_sum(x, mask), _sentence.count(mask))
    return _sentence.finished(ids, mean, SPEC.name)


def load(path: Path, alpha: float, height_px: int, width_px: int) -> Any:
    """Return the Keras model with the vectors in `path`, a .safetensors file.

    Raises:
        WeightsError: the file cannot be read, or is that of another network.
    """
    table = _sentence.tensor(_sentence.read_safetensors(path), "embedding.weight", path)
    return _sentence.assign(build(alpha, height_px, width_px), {"words": [table]}, path)
