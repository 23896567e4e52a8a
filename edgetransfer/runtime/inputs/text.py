"""Sentences: text to ids of tokens with the bundle's own tokenizer, by the package `tokenizers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError, InputError
from edgetransfer.spec.text import TextInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHOWN = 40  # characters of a sentence that a message quotes


def open_reader(spec: TextInput, files: Callable[[str], bytes]) -> TextReader:
    """Return the reader for sentences; it asks for the tokenizer's file.

    Raises:
        InputError: the package `tokenizers` is not installed; says what to install.
        BundleError: the file is no tokenizer.
    """
    return TextReader(spec, _tokenizer(spec, files(spec.file)))


class TextReader:
    """See `InputReader`; one sentence is one window."""

    def __init__(self, spec: TextInput, tokenizer: Tokenizer) -> None:
        self._spec = spec
        self._tokenizer = tokenizer

    def read(self, source: Any) -> NDArray[np.uint8]:
        """Return the UTF-8 bytes (n,) uint8 of a sentence, itself given as str or as UTF-8 bytes.

        Raises:
            InputError: anything else, no valid UTF-8, or nothing but blanks.
        """
        if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 1:
            source = source.tobytes()
        if not isinstance(source, str | bytes | bytearray):
            raise InputError(f"sentence: expected str or UTF-8 bytes, got {type(source).__name__}")
        text = source if isinstance(source, str) else _decoded(bytes(source))
        if not text.strip():
            raise InputError(f"sentence: expected some text, got {'nothing' if not text else 'blanks only'}")
        try:
            return np.frombuffer(text.encode("utf-8"), np.uint8)
        except UnicodeEncodeError as error:
            quoted = text[:_SHOWN].encode("utf-8", "replace").decode()
            raise InputError(
                f"sentence {quoted!r}: character {error.start} is half of a pair (a surrogate), which no UTF-8 has: "
                "decode the text with the encoding that it is in"
            ) from error

    def prepare(self, raw: NDArray[Any]) -> NDArray[np.int32]:
        """Return the ids (1, tokens) int32 of one sentence, cut off or filled up as the input says.

        Raises:
            InputError: no (n,) uint8 of valid UTF-8.
        """
        if raw.dtype != np.uint8 or raw.ndim != 1:
            raise InputError(f"sentence: expected (n,) uint8 of UTF-8, got {raw.shape} {raw.dtype}")
        encoded = self._tokenizer.encode(_decoded(raw.tobytes()))
        return np.array([encoded.ids], np.int32)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"sentence: expected UTF-8, got the byte 0x{content[error.start]:02x} at {error.start}: decode the text "
            "with the encoding that it is in"
        ) from error


def _tokenizer(spec: TextInput, content: bytes) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as missing:
        raise InputError(
            f"sentences need the package tokenizers ({missing}): pip install 'edgetransfer[text]'"
        ) from missing
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except BaseException as error:  # plain exceptions; where its Rust gives up, one that is derived from none of them
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(f"{spec.file}: expected a tokenizer's file of the package tokenizers: {error}") from error
    tokenizer.enable_truncation(spec.tokens)
    tokenizer.enable_padding(length=spec.tokens, pad_id=spec.pad_id)
    return tokenizer
