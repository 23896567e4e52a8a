"""What came of putting a source's parameters into a network: where each parameter comes from, and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.inspection import printable

Found = Literal["name", "order", "place", "initialised"]
"""How a parameter's source is known: by its name, by order and shape, by its place in a graph of the same structure; or
there is none and it is as it was initialised."""
_LISTED = 12


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """A parameter of the target.

    Attributes:
        target: Its name, "LAYER/WORD".
        shape: Its shape.
        sources: Names of the source's parameters that it was made of.
        found: How they are known.
        done: What was done to them, in words; empty where they were copied.
        values: Its new numbers; None: as it was.
        share: Of its numbers that come from the source.
    """

    target: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    found: Found
    done: tuple[str, ...] = ()
    values: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    share: float = 1.0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "target": self.target,
            "shape": list(self.shape),
            "sources": list(self.sources),
            "found_by": self.found,
            "done": list(self.done),
            "share": self.share,
        }


@dataclass(frozen=True, slots=True)
class Counterpart:
    """The source's layer that one of the target stands for, and which of its channels: (n,) of each one out."""

    layer: str
    channels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WeightMapping:
    """Every parameter of a target, and what of the source was left.

    Attributes:
        source: What the source is called.
        target: What the target is called.
        tensors: The target's parameters in its order.
        unused: Names of the source's parameters that went nowhere.
        notes: What the user should know, a sentence each.
        same: Whether the target then computes what the source did: nothing was cut, resized or initialised.
        counterparts: Of the target's layers that stand for one of the source's, by name.
    """

    source: str
    target: str
    tensors: tuple[MappedTensor, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()
    same: bool = False
    counterparts: Mapping[str, Counterpart] = field(default_factory=dict, repr=False)

    @property
    def coverage(self) -> float:
        """The share of the target's parameters that come from the source, 0 to 1."""
        size = sum(one.size for one in self.tensors)
        return sum(one.size * one.share for one in self.tensors) / size if size else 0.0

    @property
    def initialised(self) -> tuple[MappedTensor, ...]:
        """Parameters that nothing of the source went into."""
        return tuple(one for one in self.tensors if not one.sources and one.found == "initialised")

    def apply(self, variables: Mapping[str, Any]) -> None:
        """Give the target's Keras variables their new numbers.

        Args:
            variables: By name, as `KerasGraph.variables` has them.

        Raises:
            WeightsError: a number is not finite, or a shape differs; nothing has been changed then.
        """
        chosen = [(one, one.values) for one in self.tensors if one.values is not None]
        for one, values in chosen:
            if values.shape != tuple(variables[one.target].shape):
                raise WeightsError(f"{one.target}: expected {tuple(variables[one.target].shape)}, got {values.shape}")
            if not np.isfinite(values).all():
                raise WeightsError(
                    f"{one.target}: made of {', '.join(map(repr, one.sources))} it has numbers that are not finite; "
                    "the source is damaged"
                )
        for one, values in chosen:
            variables[one.target].assign(values)

    def to_json(self) -> dict[str, Any]:
        """Return the mapping as JSON values."""
        return {
            "source": self.source,
            "target": self.target,
            "coverage": self.coverage,
            "same_function": self.same,
            "initialised": [one.target for one in self.initialised],
            "unused": list(self.unused),
            "notes": list(self.notes),
            "tensors": [one.to_json() for one in self.tensors],
        }

    def as_text(self) -> str:
        """Return the mapping for people: what was done to how many, then parameter by parameter."""
        kinds: dict[str, int] = {}
        for one in self.tensors:
            kinds[one.found] = kinds.get(one.found, 0) + 1
        by = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in kinds.items())
        lines = [
            f"{printable(self.source)} -> {printable(self.target)}",
            f"  coverage: {self.coverage:.1%} of the target's parameters come from the source",
            f"  parameters: {by}",
        ]
        lines += [f"  {note}" for note in self.notes]
        if self.unused:
            names = ", ".join(printable(name) for name in self.unused[:_LISTED])
            more = f" and {len(self.unused) - _LISTED} more" if len(self.unused) > _LISTED else ""
            lines.append(f"  unused of the source: {names}{more}")
        rows = [["target", "shape", "from", "what was done"]]
        for one in self.tensors:
            origin = ", ".join(printable(name) for name in one.sources) or "-"
            done = "; ".join(one.done) or ("copied" if one.sources else "initialised")
            rows.append([one.target, " x ".join(map(str, one.shape)), origin, done])
        return "\n".join([*lines, "", *aligned(rows, left=len(rows[0]))])


_WORDS: Mapping[str, str] = {
    "name": "by name",
    "order": "by order and shape",
    "place": "by their place in the graph",
    "initialised": "as initialised",
}
