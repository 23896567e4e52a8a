"""Backbones of sentences against other implementations: numpy written here from the papers, in double precision.

The sentences are real ones, in several languages; ids come from the tokenizer that the bundle carries.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models import backbones, weights
from edgetransfer.models.backbones import _sentence
from edgetransfer.models.backbones._tokenizer_file import from_sentencepiece, without_special_tokens
from edgetransfer.runtime.inputs import open_reader
from edgetransfer.spec.backbone import BackboneChoice

pytest.importorskip("keras", reason="building needs the extra 'train'")
pytest.importorskip("tokenizers", reason="sentences need the extra 'text'")

NAMES = [name for name in backbones.names() if backbones.get_spec(name).kind == "text"]
SENTENCES = (
    "How do I locate my card?",
    "I still have not received my new card, I ordered over a week ago.",
    "My transfer failed, what should I do?",
    "  Why was I   charged a fee of £1.50 twice?! ",
    "The exchange rate is wrong; café, naïve, ﬁne ①２３",
    "我的卡丢了怎么办",
    "信用卡还没有收到，请问什么时候寄出？",
    "Ich möchte mein Konto schließen, bitte.",
    "¿Puedo obtener un reembolso?",
    "今日はいい天気ですね。",
    "<s> [CLS] 😀😀 ꙮꙮ",
    "word " * 200,
)
# Ids of the SentencePiece model by the package sentencepiece 0.2 (`SentencePieceProcessor.encode`), with 1 and 2 about.
SENTENCEPIECE_IDS = {
    "Hello world": [1, 17486, 1017, 2],
    "我的卡丢了怎么办": [1, 6, 1372, 789, 31495, 127, 602, 386, 2676, 2],
    "  a  b ": [1, 10, 254, 2],
    "<s> hi": [1, 87, 9, 65, 3859, 2],
    "😀😀😀 ok": [1, 6, 0, 2116, 2],
    "ꙮꙮ": [1, 6, 0, 2],
}


def fetched(name: str) -> Path:
    try:
        return weights.fetch(name)
    except WeightsError as trouble:
        pytest.skip(f"needs the weights of {name}, which are neither here nor to be fetched: {trouble}")


def tokens_of(name: str, sentences: Any) -> NDArray[np.int32]:
    choice = BackboneChoice(name)
    spec = backbones.input_of(choice)
    assert spec is not None
    reader = open_reader(spec, backbones.assets(choice).__getitem__)
    return np.concatenate([reader.prepare(reader.read(sentence)) for sentence in sentences])


def normed(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-12)
    return (x - x.mean(axis=-1, keepdims=True)) / spread * weight + bias


def by_wordllama(path: Path, ids: list[int]) -> NDArray[Any]:
    return _sentence.read_safetensors(path)["embedding.weight"].astype(np.float64)[ids].mean(axis=0)


def by_minilm(path: Path, ids: list[int]) -> NDArray[Any]:
    from scipy.special import erf, softmax

    w = {name: value.astype(np.float64) for name, value in _sentence.read_safetensors(path).items()}

    def dense(x: NDArray[Any], name: str) -> NDArray[Any]:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: NDArray[Any], name: str) -> NDArray[Any]:
        return normed(x, w[f"{name}.weight"], w[f"{name}.bias"])

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{n}" for n in range(6)):
        heads = [np.split(dense(x, f"{layer}.attention.self.{part}"), 12, -1) for part in ("query", "key", "value")]
        seen = [softmax(q @ k.T / np.sqrt(32), axis=-1) @ v for q, k, v in zip(*heads, strict=True)]
        mixed = dense(np.concatenate(seen, axis=-1), f"{layer}.attention.output.dense")
        x = norm(x + mixed, f"{layer}.attention.output.LayerNorm")
        wide = dense(x, f"{layer}.intermediate.dense")
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = norm(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def by_use_multilingual(path: Path, ids: list[int]) -> NDArray[Any]:
    w = {name: value.astype(np.float64) for name, value in np.load(path).items()}
    rows = [w[f"q{i % 17 + 1}"][i // 17] * w["scale"][i % 17] + w["lo"][i % 17] for i in ids]
    x = np.stack(rows)
    into = np.concatenate([x @ w[f"proj{n}"] + w[f"proj_b{n}"] for n in (2, 3, 5)], axis=-1)
    gains, biases = (np.concatenate([w[f"{part}{n}"] for n in (2, 3, 5)]) for part in ("ln_g", "ln_b"))
    stacks = np.split(normed(into, gains, biases), 3, axis=-1)
    for place, order in enumerate((2, 3, 5)):
        for number in (1, 2):
            padded = np.pad(stacks[place], [((order - 1) // 2, order // 2), (0, 0)])
            around = np.concatenate([padded[k : k + len(ids)] for k in range(order)], axis=-1)
            seen = around @ w[f"w{number}_{order}"] + w[f"b{number}_{order}"]
            stacks[place] = stacks[place] + np.maximum(seen, 0)
    every = normed(np.concatenate([x, *stacks], axis=-1), w["ln_g"], w["ln_b"])
    sentence = (every @ w["cnn_W"] + w["cnn_b"]).sum(axis=0) / np.sqrt(len(ids))
    first = np.maximum(sentence @ w["p1"] + np.maximum(sentence @ w["d0"], 0) @ w["d1"], 0)
    last = np.tanh(first @ w["p3"] + np.maximum(first @ w["d2"], 0) @ w["d3"])
    return last / np.linalg.norm(last)


REFERENCES = {"minilm": by_minilm, "use_multilingual": by_use_multilingual, "wordllama": by_wordllama}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_another_implementation(name):
    path = fetched(name)
    loaded = backbones.load(BackboneChoice(name))
    spec = backbones.input_of(BackboneChoice(name))
    ids = tokens_of(name, SENTENCES)
    got = np.asarray(loaded.model(ids))
    wanted = np.stack([REFERENCES[name](path, row[row != spec.pad_id].tolist()) for row in ids])
    assert np.abs(got - wanted).max() <= 1e-5  # of numbers around 0.05 (wordllama: 0.1); float32 gave 4e-7
    assert loaded.feature_size == wanted.shape[1]


def test_every_backbone_of_sentences_has_a_reference_here():
    assert sorted(REFERENCES) == NAMES


@pytest.mark.slow
def test_the_sentencepiece_model_gives_the_ids_of_sentencepiece():
    fetched("use_multilingual")
    for sentence, expected in SENTENCEPIECE_IDS.items():
        (row,) = tokens_of("use_multilingual", [sentence])
        assert row[row != 128_000].tolist() == expected, sentence


@pytest.mark.slow
def test_a_chinese_sentence_is_nearest_to_its_translation():
    fetched("use_multilingual")
    model = backbones.load(BackboneChoice("use_multilingual")).model
    english = np.asarray(model(tokens_of("use_multilingual", ["I lost my card", "I forgot my PIN", "I want a refund"])))
    chinese = np.asarray(model(tokens_of("use_multilingual", ["我的卡丢了", "我忘记了密码", "我想要退款"])))
    assert (english @ chinese.T).argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["minilm", "wordllama"])
def test_what_fills_up_a_sentence_changes_nothing(name):
    plugin: Any = backbones._plugin(name)
    short, long = plugin.build(1.0, 8, 8), plugin.build(1.0, 16, 16)
    rng = np.random.default_rng(3)
    for one, other in zip(short.weights, long.weights, strict=True):
        value = rng.normal(0, 0.1, other.shape).astype(np.float32)
        other.assign(value)
        one.assign(value[: one.shape[0]])
    ids = np.array([[2, 7, 9, 4, 0, 0, 0, 0]], np.int32)
    padded = np.pad(ids, [(0, 0), (0, 8)])
    assert np.abs(np.asarray(short(ids)) - np.asarray(long(padded))).max() < 1e-6
    other = ids.copy()
    other[0, 3] = 5
    assert np.abs(np.asarray(short(ids)) - np.asarray(short(other))).max() > 1e-4


@pytest.mark.parametrize(("height", "width"), [(8, 9), (0, 0), (513, 513)])
def test_a_number_of_tokens_that_cannot_be_is_refused(height, width):
    plugin: Any = backbones._plugin("minilm")
    with pytest.raises(WeightsError, match="expected 1 to 512 tokens"):
        plugin.build(1.0, height, width)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_no_file_of_weights_is_refused(name, tmp_path):
    (tmp_path / "weights").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="expected a whole"):
        backbones.load(BackboneChoice(name, weights=tmp_path / "weights"))


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.numpy import save

    (tmp_path / "a").write_bytes(save({"embedding.weight": np.zeros((3, 4), np.float32)}))
    with pytest.raises(WeightsError, match=r"words of wordllama needs \[\(32000, 256\)\], the file has \[\(3, 4\)\]"):
        backbones.load(BackboneChoice("wordllama", weights=tmp_path / "a"))
    with pytest.raises(WeightsError, match="has no tensor 'embeddings"):
        backbones.load(BackboneChoice("minilm", weights=tmp_path / "a"))


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return bytes([number << 3, content])
    size = len(content)
    return bytes([number << 3 | 2, *([size] if size < 128 else [size & 127 | 128, size >> 7])]) + content


def piece(text: str, score: float, kind: int = 1) -> bytes:
    return field(1, field(1, text.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", score) + field(3, kind))


def model(*pieces: bytes, trainer: bytes = b"") -> bytes:
    empty_map = struct.pack("<I", 1024) + bytes(1024)  # a trie that leads nowhere from any byte
    return b"".join(pieces) + field(2, trainer) + field(3, field(2, empty_map))


CONTROL = (piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3))


def test_a_sentencepiece_model_becomes_the_likeliest_segmentation():
    from tokenizers import Tokenizer

    pieces = [*CONTROL, piece("▁", -3), piece("a", -3), piece("b", -3), piece("▁ab", -4), piece("ba", -1)]
    tokenizer = Tokenizer.from_buffer(from_sentencepiece(model(*pieces), 1, 2))
    assert tokenizer.encode(" ab ").ids == [1, 6, 2]
    assert tokenizer.encode("aba").ids == [1, 3, 4, 7, 2]
    assert tokenizer.encode("x<s>").ids == [1, 3, 0, 2]  # "<s>" in a text is no control token; unknowns become one


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a whole SentencePiece model"),
        (b"\x0a\xff", "expected a whole SentencePiece model"),
        (model(*CONTROL)[:-3], "expected a whole SentencePiece model"),
        (model(*CONTROL, trainer=field(3, 2)), "expected a SentencePiece model of unigrams"),
        (model(*CONTROL, piece("<0x00>", 0, 6)), "expected a SentencePiece model of unigrams without bytes"),
    ],
)
def test_what_is_no_unigram_model_is_refused(content, message):
    with pytest.raises(WeightsError, match=message):
        from_sentencepiece(content, 1, 2)


def test_special_tokens_are_taken_out_of_a_tokenizer():
    assert json.loads(without_special_tokens(b'{"model": 1, "post_processor": 2}')) == {
        "model": 1,
        "post_processor": None,
    }
    with pytest.raises(WeightsError, match="expected a JSON file"):
        without_special_tokens(b"no json")
