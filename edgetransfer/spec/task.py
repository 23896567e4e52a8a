"""What a model is asked: the kind of answer, its labels, and what validation chose for reading the outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edgetransfer.errors import BundleError

EMBEDDING = "embedding"
"""The kind of a graph that ends in features: it has no labels, and heads outside of it answer."""

_ALWAYS = {"kind": str, "labels": [str], "temperature": float}
_REGRESSION = {"unit": str, "offset": float, "scale": float, "half_width": (None, float), "coverage": float}
TASK_SHAPE: Any = (_ALWAYS, _ALWAYS | {"thresholds": [float]}, _ALWAYS | _REGRESSION)
"""What `Task.to_json` gives, in the words of `json_shape`: any of three."""

_OWN_FIELDS: dict[str, tuple[str, ...]] = {"multi_label": ("thresholds",), "regression": tuple(_REGRESSION)}
"""The fields that only one kind has; no other kind's JSON holds them."""

_FEWEST_LABELS = {EMBEDDING: 0, "multi_label": 1, "regression": 1}


@dataclass(frozen=True, slots=True)
class Task:
    """A question with its possible answers; `kind` names the file in models/heads and runtime/decoders.

    Attributes:
        kind: "single_label", "multi_label", "ordinal", "regression", "embedding", or another package's.
        labels: `labels[i]` is what output i means; "ordinal" has them from least to most, and "regression" has one,
            the name of the quantity.
        temperature: Divides the logits before the softmax or the sigmoid.
        thresholds: Of "multi_label", one a label, between 0 and 1: a label is given from this score on.
        unit: Of "regression": what the value is counted in, "" for a pure number.
        offset: Of "regression", in its unit: the head's output 0 means this value.
        scale: Of "regression", in its unit: how much the value grows when the output grows by 1.
        half_width: Of "regression", in its unit: the true value is expected within value +- half_width; None where
            too few examples were there to tell.
        coverage: Of "regression": how often, 0 to 1, the interval is to hold the true value.
    """

    kind: str
    labels: tuple[str, ...]
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    unit: str = ""
    offset: float = 0.0
    scale: float = 1.0
    half_width: float | None = None
    coverage: float = 0.9

    def __post_init__(self) -> None:
        least = _FEWEST_LABELS.get(self.kind, 2)
        if len(self.labels) < least:
            raise BundleError(f"task labels: expected at least {least}, got {list(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise BundleError(f"task labels: expected no label twice, got {list(self.labels)}")
        if not self.temperature > 0:
            raise BundleError(f"task temperature: expected above 0, got {self.temperature}")
        if self.kind == EMBEDDING and self.labels:
            raise BundleError(f"task labels: an embedding has none, got {list(self.labels)}")
        self._refuse_foreign_fields()
        if self.kind == "multi_label":
            self._check_thresholds()
        if self.kind == "regression":
            self._check_regression()

    @property
    def outputs(self) -> int:
        """How many logits the head gives: one a label, but "ordinal" one for each step between two labels."""
        return len(self.labels) - 1 if self.kind == "ordinal" else len(self.labels)

    def to_json(self) -> dict[str, Any]:
        """Return the form that the manifest keeps: what every task has, and what its kind has besides."""
        found: dict[str, Any] = {"kind": self.kind, "labels": list(self.labels), "temperature": self.temperature}
        own = {name: getattr(self, name) for name in _OWN_FIELDS.get(self.kind, ())}
        return found | {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Task:
        """Return the task that `to_json` described.

        Raises:
            BundleError: it makes no sense, or a field that its kind needs is missing.
        """
        kind, labels = str(data["kind"]), tuple(str(label) for label in data["labels"])
        fields = [name for names in _OWN_FIELDS.values() for name in names if name in data]
        if missing := [name for name in _OWN_FIELDS.get(kind, ()) if name not in data]:
            raise BundleError(f"task of kind {kind!r}: expected {', '.join(missing)}, got none")
        own: dict[str, Any] = {
            name: tuple(data[name]) if isinstance(data[name], list) else data[name] for name in fields
        }
        return cls(kind, labels, float(data.get("temperature", 1.0)), **own)

    def _refuse_foreign_fields(self) -> None:
        for kind, names in _OWN_FIELDS.items():
            for name in names:
                value = getattr(self, name)
                # The default stands in the class as a descriptor, for the class has slots; so ask the fields.
                if kind != self.kind and value != type(self).__dataclass_fields__[name].default:
                    raise BundleError(f"task {name}: only the kind {kind!r} has it, got {value} for {self.kind!r}")

    def _check_thresholds(self) -> None:
        if len(self.thresholds) != len(self.labels):
            raise BundleError(f"task thresholds: expected {len(self.labels)}, one a label, got {list(self.thresholds)}")
        if not all(0 < threshold < 1 for threshold in self.thresholds):
            raise BundleError(f"task thresholds: expected between 0 and 1, got {list(self.thresholds)}")

    def _check_regression(self) -> None:
        if len(self.labels) != 1:
            raise BundleError(f"task labels: expected one, the name of the quantity, got {list(self.labels)}")
        if self.temperature != 1:
            raise BundleError(f"task temperature: a regression has none; expected 1, got {self.temperature}")
        if not (math.isfinite(self.offset) and 0 < self.scale < math.inf):
            raise BundleError(f"task offset and scale: expected numbers, scale above 0: {self.offset}, {self.scale}")
        if self.half_width is not None and not 0 <= self.half_width < math.inf:
            raise BundleError(f"task half_width: expected from 0, or none, got {self.half_width}")
        if not 0 < self.coverage < 1:
            raise BundleError(f"task coverage: expected between 0 and 1, got {self.coverage}")
