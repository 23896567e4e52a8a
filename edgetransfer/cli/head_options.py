"""The options that only heads outside of the graph have: order, unit, pooling of windows, learning curve."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgetransfer.errors import UnknownNameError

if TYPE_CHECKING:
    from edgetransfer.pipeline.head_question import HeadWish
    from edgetransfer.pipeline.options import BuildOptions

Command = Callable[..., Any]

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option("--order", "orders", multiple=True, metavar="[HEAD=]LOW,MIDDLE,HIGH",
                 help="The labels from least to most: answers then have an order, and mistakes a size. Of the head "
                 "HEAD, or of DATA's. Makes a --split bundle."),
    click.option("--unit", "units", multiple=True, metavar="[HEAD=]TEXT",
                 help="What the values of a table with the column 'value' are counted in, such as kg."),
    click.option("--pooling", type=click.Choice(["mean", "attention", "auto"]), default="mean", show_default=True,
                 help="How several windows of a sound become one answer. auto: attention where it wins by more than a "
                 "standard error on validation."),
    click.option("--learning-curve/--no-learning-curve", default=None,
                 help="Work out what more data would bring. [default: where it takes some seconds; of heads outside of "
                 "the graph with one label of several]"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class HeadSays:
    """What a user says of heads beside their data, as it was typed."""

    orders: tuple[str, ...]
    units: tuple[str, ...]
    pooling: Any
    learning_curve: bool | None

    @property
    def makes_split(self) -> bool:
        """Whether only heads outside of the graph can carry it out."""
        return bool(self.orders or self.units or self.pooling != "mean")

    def options(self, options: BuildOptions) -> BuildOptions:
        """Return `options` with what is said of pooling and of the learning curve."""
        return replace(options, pooling=self.pooling, learning_curve=self.learning_curve)

    def wishes(self, heads: Sequence[tuple[str, Path]]) -> list[HeadWish]:
        """Return a wish for each (name, data), the first of which is meant where no head is named.

        Raises:
            UsageError: a head's order or unit is said twice, or an order is no list of labels.
            UnknownNameError: there is no head of that name.
        """
        from edgetransfer.pipeline.head_question import HeadWish

        names = [name for name, _ in heads]
        orders, units = _by_head("--order", self.orders, names), _by_head("--unit", self.units, names)
        return [
            HeadWish(name, data, _labels(orders[name]) if name in orders else (), units.get(name, ""))
            for name, data in heads
        ]


def head_says(function: Command) -> Command:
    """Add the options; `function` gets them as `says: HeadSays`."""

    @functools.wraps(function)
    def with_says(*, orders: Any, units: Any, pooling: Any, learning_curve: Any, **others: Any) -> Any:
        return function(says=HeadSays(tuple(orders), tuple(units), pooling, learning_curve), **others)

    command: Command = with_says
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def _by_head(option: str, said: Sequence[str], names: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in said:
        before, equals, after = text.partition("=")
        if equals and before.isidentifier():
            if before not in names:
                raise UnknownNameError("head", before, names, hint=f"{option} takes [HEAD=]VALUE.")
            name, value = before, after
        else:
            name, value = names[0], text
        if name in found or not value.strip():
            raise click.UsageError(f"{option} {text}: expected a value, and one for each head, got {said!r}")
        found[name] = value.strip()
    return found


def _labels(text: str) -> tuple[str, ...]:
    from edgetransfer.data.sources import clean_label

    try:
        return tuple(clean_label(label) for label in next(csv.reader([text], strict=True)))
    except (csv.Error, ValueError) as error:
        raise click.UsageError(
            f"--order {text}: {error}; expected labels with commas between, one with a comma in quotes"
        ) from error
