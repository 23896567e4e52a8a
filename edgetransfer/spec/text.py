"""How a sentence becomes model input: data only, the code is in edgetransfer.runtime.inputs.text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BundleError

TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class TextInput:
    """A sentence as the model takes it: (tokens,) int32 token ids, cut off or filled up with `pad_id`.

    Attributes:
        tokens: How many ids the model takes.
        pad_id: What fills a shorter sentence; the graph leaves it out of its mean or attention.
        file: The tokenizer's file in the bundle, in the form of the package `tokenizers`.
    """

    tokens: int
    pad_id: int = 0
    file: str = TOKENIZER_FILE

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.pad_id < 0:
            raise BundleError(f"text input: expected tokens from 1 and a pad_id from 0, got {self}")

    @property
    def kind(self) -> str:
        """The name of this kind of input."""
        return "text"

    @property
    def shape(self) -> tuple[int]:
        """(tokens,) of one sentence."""
        return (self.tokens,)

    @property
    def files(self) -> tuple[str, ...]:
        """Files of the bundle that it needs."""
        return (self.file,)

    @property
    def dtype(self) -> str:
        """The dtype of one sentence."""
        return "int32"

    @property
    def summary(self) -> str:
        """What it is, as a phrase."""
        return f"UTF-8, at most {self.tokens} tokens ({self.file})"

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {"kind": "text", "tokens": self.tokens, "pad_id": self.pad_id, "file": self.file}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TextInput:
        """Return the input that `to_json` described."""
        return cls(int(data["tokens"]), int(data["pad_id"]), str(data["file"]))
