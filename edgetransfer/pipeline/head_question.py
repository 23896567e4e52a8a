"""What a head is asked to answer: the kind of task, from the data's column and what the user says besides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample, targets_of
from edgetransfer.errors import DataError, RecipeError

SINGLE_LABEL = "single_label"


@dataclass(frozen=True, slots=True)
class HeadWish:
    """A head that is asked for: its name, the data that it learns from, and what the data cannot say.

    Attributes:
        name: What results are called by; of a quantity also its name.
        data: A folder or a table.
        order: The labels from least to most, for one label of several that have an order; else none.
        unit: What values are counted in, for a quantity; else "".
    """

    name: str
    data: Path
    order: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A kind of task of `train.tasks.KINDS`, the labels in the order of its answers, and the unit of a quantity."""

    kind: str
    labels: tuple[str, ...]
    unit: str = ""

    def targets(self, samples: Sequence[Sample]) -> NDArray[Any]:
        """Return the answers of `samples`, see `data.targets_of`."""
        return targets_of(samples, self.kind, self.labels)


def question_of(wish: HeadWish, dataset: Dataset) -> Question:
    """Return what the head is asked.

    Raises:
        DataError: an order or a unit that does not fit the data; says what does.
    """
    where = f"head {wish.name!r} ({wish.data})"
    if wish.unit and dataset.task != "regression":
        raise DataError(f"{where}: the unit {wish.unit!r} is for values, a table with the column 'value'; leave it out")
    if dataset.task == "regression":
        if wish.order:
            raise DataError(f"{where}: an order is for labels, and these samples have values; leave it out")
        return Question("regression", (wish.name,), wish.unit)
    if not wish.order:
        return Question(dataset.task, dataset.labels)
    if dataset.task != SINGLE_LABEL:
        raise DataError(
            f"{where}: an order is for one label of several, and these samples have any number; leave it out"
        )
    _check_order(where, wish.order, dataset.labels)
    return Question("ordinal", wish.order)


def _check_order(where: str, order: Sequence[str], labels: Sequence[str]) -> None:
    problems = [f"{label!r} stands twice" for label in sorted({one for one in order if order.count(one) > 1})]
    problems += [f"{label!r} is no label of the data" for label in order if label not in labels]
    problems += [f"{label!r} is missing" for label in labels if label not in order]
    if problems:
        raise DataError(
            f"{where}: the order must name each label of the data once, from least to most: {'; '.join(problems)}",
            problems,
        )


def refuse_unfit(name: str, question: Question, *, reject: float | None, teachable: bool) -> None:
    """Refuse what the kind of task cannot have, before any work is done.

    Raises:
        RecipeError: says how to build without it.
    """
    asked = {"--reject": reject is not None, "--teachable": teachable}
    if question.kind != SINGLE_LABEL:
        for option in (one for one, given in asked.items() if given):
            raise RecipeError(
                f"head {name!r}: {option} is for heads of one label of several, and this one is {question.kind}; leave "
                "it out, or train that head by itself with edgetransfer heads train"
            )
