"""What a model is asked: the kind of answer and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BundleError


@dataclass(frozen=True, slots=True)
class Task:
    """A question with its possible answers; `kind` names the file in models/heads and runtime/decoders.

    `labels[i]` is what output i means. `temperature` divides the logits before the softmax.
    """

    kind: str
    labels: tuple[str, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise BundleError(f"task labels: expected at least 2, got {list(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise BundleError(f"task labels: expected no label twice, got {list(self.labels)}")
        if not self.temperature > 0:
            raise BundleError(f"task temperature: expected above 0, got {self.temperature}")

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps."""
        return {"kind": self.kind, "labels": list(self.labels), "temperature": self.temperature}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Task:
        """Return the task that `to_json` described."""
        labels = tuple(str(label) for label in data["labels"])
        return cls(str(data["kind"]), labels, float(data.get("temperature", 1.0)))
