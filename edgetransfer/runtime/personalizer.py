"""Learning on the device: a head learns a new label, or one that it has better, from a few examples; numpy alone.

Only the label's own unit moves. It is learned against the head's memory, features of a few examples that the head was
not trained on, and is held back as far as it would take right answers from the other labels there. The new head lies
beside the bundle, whose own files stay as they were verified; each lesson can be taken back.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError, InputError, OutputError, UnknownNameError
from edgetransfer.runtime.heads import add_head, heads_folder, load_heads, remove_head
from edgetransfer.runtime.learn_unit import learn_unit
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.head import HEAD_SUFFIX, Head
from edgetransfer.spec.memory import Memory

if TYPE_CHECKING:
    from edgetransfer.runtime.predictor import Predictor, Source

MOST_LABELS = 1000
"""Labels that a head may come to have by teaching: memory and file stay bounded."""
MOST_UNDO = 8
"""Lessons that can be taken back, one after the other."""
_FOLDS = 5
_EASY = 0.2  # of the examples, left out in turn, that may be hard before the bias goes out of its way for them
_TINY = 1e-6
_HISTORY = "history"

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a lesson did.

    Attributes:
        label: That was taught.
        is_new: Whether the head did not know it before.
        examples: It was taught from.
        right_before: Share of the memory's examples of all labels that were answered right before, 0 to 1.
        right_after: The same afterwards, each example judged by a lesson that it took no part in.
        learned: Share of the new examples that are answered right now.
    """

    label: str
    is_new: bool
    examples: int
    right_before: float
    right_after: float
    learned: float

    def to_json(self) -> dict[str, Any]:
        """Return the lesson as JSON values."""
        return {
            "label": self.label,
            "new": self.is_new,
            "examples": self.examples,
            "right_before": self.right_before,
            "right_after": self.right_after,
            "learned": self.learned,
        }

    def as_text(self) -> str:
        """Return the lesson for people."""
        what = "learned" if self.is_new else "corrected"
        return (
            f"{what} {self.label!r} from {self.examples} examples, of which {self.learned:.0%} are answered right now; "
            f"of the examples remembered {self.right_before:.1%} were right before and {self.right_after:.1%} are now"
        )


class Personalizer:
    """Teaches one head of a predictor. Not for several threads at once; the predictor may answer meanwhile."""

    def __init__(self, predictor: Predictor, head: str | None = None) -> None:
        """Take the head of that name, or the only one.

        Raises:
            InputError: the predictor has several heads, and none is named.
            UnknownNameError: no such head.
            BundleError: the head cannot be taught.
        """
        heads = {one.name: one for one in predictor.heads}
        if head is None and len(heads) != 1:
            raise InputError(f"personalizer: expected the name of one of the heads {', '.join(heads) or 'none'}")
        name = head or next(iter(heads))
        if name not in heads:
            raise UnknownNameError("head", name, heads)
        self._predictor, self._name = predictor, name
        self._check(heads[name])

    @property
    def head(self) -> Head:
        """The head as it answers now."""
        return next(head for head in self._predictor.heads if head.name == self._name)

    def teach(self, label: str, sources: Iterable[Source], *, max_forgetting: float = 0.0) -> Lesson:
        """Learn `label` from a few inputs, let the new head answer at once, and keep it beside the bundle.

        Args:
            label: A new one, or one that the head has.
            sources: Inputs that show it, as `Predictor.predict` takes them.
            max_forgetting: Share of the right answers so far that may be lost, as far as the memory can tell. With 0,
                TrashNet's classes, each taught in turn from 20 photos, cost the others 0.7 points and had 42 % right.

        Raises:
            InputError: no inputs, one that cannot be read, or a label that is none.
            OutputError: the new head cannot be kept; the old one goes on answering.
        """
        head = self.head
        features = [head.pooled(self._predictor.embed_windows(source)) for source in sources]
        if not features:
            raise InputError(f"teach {label!r}: expected at least one example, got none")
        return self.teach_features(label, np.stack(features), max_forgetting=max_forgetting)

    def teach_features(self, label: str, features: NDArray[np.float32], *, max_forgetting: float = 0.0) -> Lesson:
        """Do the same from real features (n, D): `Predictor.embed` gives them for a head that takes the mean."""
        head = self.head
        self._check_label(label, head)
        taught, after = _taught(head, label, features, max_forgetting)
        self._keep_old()
        add_head(self._predictor.bundle, taught)
        self._predictor.use_head(taught)
        number = taught.task.labels.index(label)
        learned = float((taught.logits(features).argmax(axis=1) == number).mean())
        return Lesson(label, label not in head.task.labels, len(features), _right(head), after, learned)

    def undo(self) -> Head:
        """Take the last lesson back and return the head that answers now.

        Raises:
            InputError: there is no lesson to take back.
        """
        bundle, kept = self._predictor.bundle, self._kept()
        beside = heads_folder(bundle) / f"{self._name}{HEAD_SUFFIX}"
        if not beside.is_file():
            raise InputError(f"head {self._name!r}: there is no lesson to take back")
        if kept:
            kept[-1].replace(beside)
        else:
            remove_head(bundle, self._name)
        head = next(head for head in load_heads(bundle) if head.name == self._name)
        self._predictor.use_head(head)
        return head

    def forget_all(self) -> Head:
        """Take every lesson back and return the head as it came.

        Raises:
            InputError: there is no lesson to take back.
        """
        shutil.rmtree(self._history(), ignore_errors=True)
        return self.undo()

    def _keep_old(self) -> None:
        """Keep the head that answers now, if it is a taught one, for `undo`."""
        beside = heads_folder(self._predictor.bundle) / f"{self._name}{HEAD_SUFFIX}"
        if not beside.is_file():
            shutil.rmtree(self._history(), ignore_errors=True)
            return
        kept = self._kept()
        number = int(kept[-1].stem) + 1 if kept else 0
        try:
            self._history().mkdir(parents=True, exist_ok=True)
            shutil.copyfile(beside, self._history() / f"{number:06}{HEAD_SUFFIX}")
        except OSError as error:
            raise OutputError(
                f"{self._history()}: cannot be written ({error.strerror}); nothing was learned"
            ) from error
        for old in kept[: max(0, len(kept) + 1 - (MOST_UNDO - 1))]:
            old.unlink(missing_ok=True)

    def _kept(self) -> list[Path]:
        return sorted(self._history().glob(f"*{HEAD_SUFFIX}"))

    def _history(self) -> Path:
        return heads_folder(self._predictor.bundle) / _HISTORY / self._name

    def _check(self, head: Head) -> None:
        if head.task.kind != "single_label":
            raise BundleError(f"head {head.name!r}: expected a single_label one to teach, got {head.task.kind}")
        _memory(head)

    @staticmethod
    def _check_label(label: str, head: Head) -> None:
        if label.splitlines() != [label] or not label.strip():
            raise InputError(f"label {label!r}: expected one line of text")
        if label not in head.task.labels and len(head.task.labels) >= MOST_LABELS:
            raise InputError(f"head {head.name!r}: has {MOST_LABELS} labels, as many as can be taught")


def _taught(head: Head, label: str, features: NDArray[np.float32], max_forgetting: float) -> tuple[Head, float]:
    """Return the head with `label` learned, and how right the memory is answered by lessons without each example."""
    memory = _memory(head)
    is_new = label not in head.task.labels
    labels = (*head.task.labels, label) if is_new else head.task.labels
    number = labels.index(label)
    lesson = _Lesson(_with_unit(head.layers) if is_new else head.layers, number, features, memory)
    layers, after = lesson.held_back(max_forgetting)
    numbers = np.concatenate([np.full(len(features), number, np.uint16), memory.labels])
    known = np.concatenate([features, memory.features])
    outliers = head.outliers.with_class(features, number) if head.outliers is not None and is_new else head.outliers
    task = replace(head.task, labels=labels)
    new = replace(head, task=task, layers=layers, outliers=outliers, memory=Memory.of(known, numbers))
    return replace(new, metrics={}, training={}).rounded(), after  # what was measured was the other head


def _memory(head: Head) -> Memory:
    if head.memory is None:
        raise BundleError(f"head {head.name!r}: has no memory to learn beside; build it with --teachable")
    return head.memory


def _right(head: Head) -> float:
    memory = _memory(head)
    return float((head.logits(memory.features).argmax(axis=1) == memory.labels).mean())


def _with_unit(layers: Sequence[Dense]) -> tuple[Dense, ...]:
    """Return `layers` with one more unit at the end that says nothing yet: its logit is 0."""
    last = layers[-1]
    kernel = np.concatenate([last.kernel, np.zeros((len(last.kernel), 1), np.float32)], axis=1)
    return (*layers[:-1], Dense(kernel, np.append(last.bias, np.float32(0)), last.activation))


class _Lesson:
    """One unit, what it shall answer for, and what it shall not."""

    def __init__(self, layers: Sequence[Dense], number: int, features: NDArray[np.float32], memory: Memory) -> None:
        self.layers, self.number = tuple(layers), number
        remembered = memory.features
        self._is_own = memory.labels == number
        self._is_new = not self._is_own.any()
        self._labels = memory.labels
        self._examples = self._hidden(np.concatenate([features, remembered[self._is_own]]))
        self._memory = self._hidden(remembered)
        self._before = self._logits(self._memory)

    def held_back(self, max_forgetting: float) -> tuple[tuple[Dense, ...], float]:
        """Return the layers with the unit learned, and how right the memory is answered then.

        Its bias is set so that it takes as few answers from the others as is allowed: what it would take is measured on
        the memory, each part of it by a lesson that it took no part in. A new unit may be raised as well as lowered.
        """
        others = np.flatnonzero(~self._is_own)
        leads, examples = self._leads(others)
        right = self._before[others].argmax(axis=1) == self._labels[others]
        over = np.sort(leads[others[right]])
        allowed = int(max_forgetting * len(over))
        edge = float(over[-1 - allowed]) + _TINY if len(over) > allowed else 0.0
        easy = float(np.quantile(examples, _EASY))
        limit = (edge + easy) / 2 if easy > edge else edge  # where there is room between the two, in its middle
        shift = -limit if self._is_new else min(0.0, -edge)
        weights, bias = self._learned(np.arange(len(self._examples)), others)
        after = self._before.copy()
        after[:, self.number] = leads + shift + np.delete(self._before, self.number, axis=1).max(axis=1)
        return self._moved(weights, bias + shift), float((after.argmax(axis=1) == self._labels).mean())

    def _leads(self, others: NDArray[np.intp]) -> tuple[Real, Real]:
        """Return by how much the unit's logit is above the best other one: on the memory, and on the examples.

        Both are divided into parts, each judged by a unit that learned from the others.
        """
        memory, examples = np.zeros(len(self._memory)), np.zeros(len(self._examples))
        own, every = np.flatnonzero(self._is_own), np.arange(len(self._examples))
        for start in range(_FOLDS):
            part, some = others[start::_FOLDS], every[start::_FOLDS]
            kept = np.setdiff1d(every, some)
            weights, bias = self._learned(kept if len(kept) else every, np.setdiff1d(others, part))
            memory[part] = self._lead(self._memory[part], weights, bias)
            examples[some] = self._lead(self._examples[some], weights, bias)
        weights, bias = self._learned(every, others)
        memory[own] = self._lead(self._memory[own], weights, bias)
        return memory, examples

    def _lead(self, rows: Real, weights: Real, bias: float) -> Real:
        logits = self._logits(rows)
        lead: Real = logits[:, self.number] + rows @ weights + bias - np.delete(logits, self.number, axis=1).max(axis=1)
        return lead

    def _learned(self, examples: NDArray[np.intp], others: NDArray[np.intp]) -> tuple[Real, float]:
        rows = np.concatenate([self._examples[examples], self._memory[others]])
        logits = self._logits(rows)
        rivals = np.delete(logits, self.number, axis=1)
        top = rivals.max(axis=1)
        summed = np.log(np.exp(rivals - top[:, None]).sum(axis=1)) + top
        return learn_unit(self._examples[examples], self._memory[others], summed, logits[:, self.number])

    def _moved(self, weights: Real, bias: float) -> tuple[Dense, ...]:
        last = self.layers[-1]
        kernel, biases = last.kernel.copy(), last.bias.copy()
        kernel[:, self.number] += weights.astype(np.float32)
        biases[self.number] += np.float32(bias)
        return (*self.layers[:-1], Dense(kernel, biases, last.activation))

    def _hidden(self, features: NDArray[np.float32]) -> Real:
        return apply_head(self.layers[:-1], features).astype(np.float64)

    def _logits(self, hidden: Real) -> Real:
        last = self.layers[-1]
        return hidden @ last.kernel.astype(np.float64) + last.bias
