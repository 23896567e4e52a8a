"""What is in a source model, as a report: its layers, what can be put into another network, what not and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetransfer.errors import WeightsError
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.source import SourceLayer, SourceModel, SourceTensor

_MOST_NAME = 60  # characters of a name in the table; converters join the names of all layers they fused
_MOST_REASONS = 20


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What was found of a parameter.

    Attributes:
        tensor: The parameter.
        not_finite: How many of its numbers are infinite or none; None where they cannot be read.
        problem: Why it cannot be put into another network, "" if it can.
    """

    tensor: SourceTensor
    not_finite: int | None
    problem: str

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "name": self.tensor.name,
            "role": self.tensor.role,
            "layout": self.tensor.layout or None,
            "shape": list(self.tensor.shape),
            "dtype": self.tensor.dtype,
            "numbers": self.tensor.size,
            "bytes": self.tensor.stored_bytes,
            "stated": self.tensor.stated,
            "reason": self.tensor.reason,
            "mappable": not self.problem,
            "problem": self.problem or None,
            "not_finite": self.not_finite,
        }


@dataclass(frozen=True, slots=True)
class SourceReport:
    """A source model and what was found of each parameter, in its order."""

    model: SourceModel
    facts: tuple[TensorFacts, ...]

    @property
    def size(self) -> int:
        """How many numbers all parameters have."""
        return sum(one.tensor.size for one in self.facts)

    @property
    def mappable_size(self) -> int:
        """How many of them can be put into another network."""
        return sum(one.tensor.size for one in self.facts if not one.problem)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; names are as the file has them."""
        model, facts = self.model, iter(self.facts)
        return {
            "name": model.name,
            "framework": model.framework,
            "format": model.format,
            "path": str(model.path),
            "sha256": model.sha256,
            "parameters": self.size,
            "mappable_parameters": self.mappable_size,
            "bytes": _bytes(self.facts),
            "not_finite": sum(one.not_finite or 0 for one in self.facts),
            "notes": list(model.notes),
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind or None,
                    "epsilon": layer.epsilon,
                    "attributes": _finite(dict(layer.attributes)),
                    "tensors": [next(facts).to_json() for _ in layer.tensors],
                }
                for layer in model.parts
            ],
        }

    def as_text(self) -> str:
        """Return the report for people; what cannot be printed in a name is shown escaped."""
        model = self.model
        title = f"{printable(str(model.path))}  {model.sha256[:12]}"
        facts = [
            ["model", printable(model.name)],
            ["written by", f"{printable(model.framework)}, read as {model.format}"],
            [
                "parameters",
                f"{self.size:,} in {len(self.facts)} arrays of {len(model.parts)} layers, {_size(self.facts)}",
            ],
            ["can be mapped", f"{self.mappable_size:,} ({_share(self.mappable_size, self.size)})"],
        ]
        broken = [one for one in self.facts if one.not_finite]
        if broken:
            count = sum(one.not_finite or 0 for one in broken)
            facts.append(["not finite", f"{count:,} numbers, in {_list(one.tensor.name for one in broken)}"])
        facts += [["left out", note] for note in model.notes]
        lines = [title, *(f"  {line}" for line in aligned(facts, left=2)), "", *self._table(), *self._problems()]
        if any(not one.tensor.stated for one in self.facts if not one.problem):
            lines += ["", "? inferred from names and shapes; the format does not say it"]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows = [["layer", "kind", "parameter", "role", "layout", "dtype", "shape"]]
        facts = iter(self.facts)
        for layer in self.model.parts:
            for number in range(len(layer.tensors)):
                rows.append([*(_of(layer) if number == 0 else ["", ""]), *_row(next(facts), layer)])
        return aligned(rows, left=len(rows[0]))

    def _problems(self) -> list[str]:
        """Return a line for each reason for which parameters cannot be mapped, the most frequent first."""
        found: dict[str, list[SourceTensor]] = {}
        for one in self.facts:
            if one.problem:
                found.setdefault(one.problem, []).append(one.tensor)
        reasons = sorted(found, key=lambda reason: -len(found[reason]))
        lines = [
            f"  {len(found[r])} x {printable(r)}: {_list(t.name for t in found[r])}" for r in reasons[:_MOST_REASONS]
        ]
        if len(reasons) > _MOST_REASONS:
            lines.append(f"  ... and {len(reasons) - _MOST_REASONS} further reasons")
        return ["", "cannot be mapped:", *lines] if lines else []


def inspect(model: SourceModel, *, progress: Callable[[int, int], None] | None = None) -> SourceReport:
    """Return the report on `model`; reads all its numbers.

    Args:
        model: The source model.
        progress: Is told of parameters done and in all.

    Raises:
        WeightsError: the file was changed meanwhile.
    """
    facts = []
    for number, tensor in enumerate(model.tensors):
        facts.append(_facts(tensor))
        if progress is not None:
            progress(number + 1, len(model.tensors))
    return SourceReport(model, tuple(facts))


def printable(text: str) -> str:
    """Return `text` with characters that cannot be printed, or that turn the direction of writing, escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _facts(tensor: SourceTensor) -> TensorFacts:
    try:
        not_finite = int(np.count_nonzero(~np.isfinite(tensor.values())))
    except WeightsError as trouble:
        return TensorFacts(tensor, None, str(trouble))
    return TensorFacts(tensor, not_finite, "" if tensor.mappable else tensor.reason)


def _of(layer: SourceLayer) -> list[str]:
    epsilon = "" if layer.epsilon is None else f" (epsilon {layer.epsilon:g})"
    return [_short(layer.name), f"{printable(layer.kind) or '-'}{epsilon}"]


def _row(facts: TensorFacts, layer: SourceLayer) -> list[str]:
    tensor = facts.tensor
    name = tensor.name.removeprefix(layer.name).lstrip("./") or tensor.name
    sure = "" if tensor.stated or facts.problem else " ?"
    shape = " x ".join(map(str, tensor.shape)) or "1"
    return [_short(name), f"{tensor.role}{sure}", tensor.layout or "-", tensor.dtype, shape]


def _short(name: str) -> str:
    shown = printable(name)
    half = _MOST_NAME // 2
    return shown if len(shown) <= _MOST_NAME else f"{shown[: half - 3]}...{shown[-half:]}"


def _list(names: Iterable[str]) -> str:
    shown = [_short(name) for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _bytes(facts: Iterable[TensorFacts]) -> int:
    return sum(one.tensor.stored_bytes or 0 for one in facts)


def _size(facts: Iterable[TensorFacts]) -> str:
    return f"{_bytes(facts) / 1e6:.2f} MB"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"


def _finite(value: Any) -> Any:
    """Return `value` with floats that JSON does not have as texts; a file may say anything of its attributes."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
