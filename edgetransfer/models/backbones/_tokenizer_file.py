"""Turns published tokenizers into files of the package `tokenizers`, with the json module alone."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from edgetransfer.errors import WeightsError

_CONTROL, _UNKNOWN, _BYTE, _UNIGRAM = 3, 2, 6, 1  # sentencepiece_model.proto, ModelProto.SentencePiece.Type
_SPACE = "\u2581"


def without_special_tokens(content: bytes) -> bytes:
    """Return a tokenizer's file that adds no token before or after a sentence.

    Raises:
        WeightsError: it is no such file.
    """
    try:
        tokenizer: dict[str, Any] = json.loads(content)
    except ValueError as trouble:
        raise WeightsError(f"tokenizer: expected a JSON file of the package tokenizers: {trouble}") from trouble
    return _written(tokenizer | {"post_processor": None})


def from_sentencepiece(content: bytes, begin: int, end: int) -> bytes:
    """Return the tokenizer's file of a SentencePiece unigram model, with tokens `begin` and `end` about a sentence.

    What SentencePiece does and this keeps: its own normalisation table, blanks at the ends and repeated ones left out,
    one blank put before, the likeliest segmentation, neighbouring unknown characters made one. Names of control tokens
    are not looked for in text: here they get a blank, which no piece can have.
    Source: sentencepiece_model.proto, unigram_model.cc and normalizer.cc in https://github.com/google/sentencepiece.

    Raises:
        WeightsError: it is no such model, or asks for something else.
    """
    try:
        top = list(_fields(content))
        pieces = [_piece(value) for number, value in top if number == 1]
        trainer = dict(_fields(next(value for number, value in top if number == 2)))
        normalizer = dict(_fields(next(value for number, value in top if number == 3)))
        unknown = [kind for _, _, kind in pieces].index(_UNKNOWN)
    except (StopIteration, IndexError, ValueError, TypeError, struct.error) as trouble:
        raise WeightsError("tokenizer: expected a whole SentencePiece model") from trouble
    if trainer.get(3, _UNIGRAM) != _UNIGRAM or any(kind == _BYTE for _, _, kind in pieces):
        raise WeightsError("tokenizer: expected a SentencePiece model of unigrams without bytes, got another one")
    if not all(normalizer.get(flag, 1) == 1 for flag in (3, 4, 5)):
        raise WeightsError("tokenizer: expected SentencePiece's usual treatment of blanks, got another one")
    vocabulary = [[f" {text}" if kind in (_CONTROL, _UNKNOWN) else text, score] for text, score, kind in pieces]
    return _written(_unigram(vocabulary, unknown, bytes(normalizer[2]), begin, end))


def _unigram(vocabulary: list[list[Any]], unknown: int, charsmap: bytes, begin: int, end: int) -> dict[str, Any]:
    names = {number: str(vocabulary[number][0]) for number in (begin, end)}
    about = [{"SpecialToken": {"id": name, "type_id": 0}} for name in names.values()]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
                {"type": "Strip", "strip_left": True, "strip_right": True},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": False},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [about[0], {"Sequence": {"id": "A", "type_id": 0}}, about[1]],
            "pair": [about[0], {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [n], "tokens": [name]} for n, name in names.items()},
        },
        "decoder": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": False},
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": False},
    }


def _written(tokenizer: dict[str, Any]) -> bytes:
    return json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()


def _piece(content: Any) -> tuple[str, float, int]:
    """Return text, score and type of one piece; a type that is left out is 1, a normal piece."""
    fields = dict(_fields(content))
    (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
    return bytes(fields[1]).decode(), float(score), int(fields.get(3, 1))


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of a protocol buffer's fields: int of a varint, else bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(content, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(content):
            raise ValueError("cut off")
        yield number, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at
