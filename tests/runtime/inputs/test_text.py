"""Sentences to ids of tokens, with a tokenizer of ten words that is made here."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgetransfer.errors import BundleError, InputError
from edgetransfer.runtime.inputs import open_reader
from edgetransfer.runtime.inputs.text import TextReader
from edgetransfer.spec.text import TextInput

pytest.importorskip("tokenizers", reason="sentences need the extra 'text'")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "my", "card", "is", "lost", "卡", "?"]
SPEC = TextInput(tokens=6, pad_id=0)


def tiny_tokenizer() -> bytes:
    """A tokenizer of whole words, in small letters, with a token before and after; it asks for other lengths itself."""
    about = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    template = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    content = {
        "version": "1.0",
        "truncation": {"max_length": 100, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": about
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }  # fmt: skip
    return json.dumps(content).encode()


@pytest.fixture
def reader() -> TextReader:
    return files_reader({SPEC.file: tiny_tokenizer()}.__getitem__)


def files_reader(files: Callable[[str], bytes]) -> TextReader:
    found = open_reader(SPEC, files)
    assert isinstance(found, TextReader)
    return found


def ids(reader: TextReader, sentence: Any) -> list[list[int]]:
    found = reader.prepare(reader.read(sentence))
    assert found.dtype == np.int32
    assert found.shape == (1, *SPEC.shape)
    return found.tolist()


def test_a_sentence_is_filled_up_with_the_pad_id(reader):
    assert ids(reader, "My card") == [[2, 4, 5, 3, 0, 0]]


def test_a_long_sentence_is_cut_off_but_keeps_its_last_special_token(reader):
    assert ids(reader, "my card is lost ? my card is lost ?") == [[2, 4, 5, 6, 7, 3]]


def test_unknown_words_and_chinese_are_tokens_too(reader):
    assert ids(reader, "我 卡?") == [[2, 1, 8, 9, 3, 0]]


def test_the_same_sentence_as_str_and_as_bytes_and_as_raw_bytes_is_the_same(reader):
    sentence = "my 卡 ?"
    expected = ids(reader, sentence)
    assert ids(reader, sentence.encode()) == expected
    assert ids(reader, np.frombuffer(sentence.encode(), np.uint8)) == expected


def test_what_is_read_is_the_utf_8_of_the_sentence_as_it_was_given(reader):
    raw = reader.read("  é 卡\n")
    assert raw.dtype == np.uint8
    assert bytes(raw) == b"  \xc3\xa9 \xe5\x8d\xa1\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "expected some text, got nothing"),
        (" \t\u3000\n", "expected some text, got blanks only"),
        (b"caf\xe9", "expected UTF-8, got the byte 0xe9 at 3"),
        ("half \ud83d", "half of a pair"),
        (7, "expected str or UTF-8 bytes, got int"),
        (None, "got NoneType"),
        (np.zeros((2, 2), np.uint8), "got ndarray"),
    ],
)
def test_what_is_no_sentence_is_refused_with_the_reason(reader, source, message):
    with pytest.raises(InputError, match=message):
        reader.read(source)


@pytest.mark.parametrize("raw", [np.zeros(3, np.int32), np.zeros((1, 3), np.uint8)])
def test_prepare_takes_raw_bytes_only(reader, raw):
    with pytest.raises(InputError, match=r"expected \(n,\) uint8 of UTF-8"):
        reader.prepare(raw)


def test_a_file_that_is_no_tokenizer_is_refused_by_name():
    with pytest.raises(BundleError, match=r"tokenizer\.json: expected a tokenizer's file"):
        files_reader(lambda name: b"{}")


def test_a_missing_package_is_answered_with_the_command(monkeypatch):
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "tokenizers":
            raise ImportError("No module named 'tokenizers'")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'edgetransfer\[text\]'"):
        files_reader(lambda name: tiny_tokenizer())
