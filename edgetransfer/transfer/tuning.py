"""Trains a backbone together with its head: staged, on augmented views, the best epoch kept, resumed after a kill.

One loop for all that moves a backbone's weights; what they are moved towards is the `Lesson`'s affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import RecipeError
from edgetransfer.train.single_label import accuracy_and_loss
from edgetransfer.transfer.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from edgetransfer.transfer.precision import Precision, computing_in, scaled, settled
from edgetransfer.transfer.stages import cosine, graded_optimizer, rates_of, stages_of, unfreeze
from edgetransfer.transfer.view_batches import ViewBatches

WARM_UP = 0.1  # of a stage's steps: Adam's second moments are not yet known there


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How a backbone is tuned.

    Attributes:
        epochs: In all stages together; every epoch is run, and the best one is kept.
        unfreeze: Of each stage the share of the layers, from the top, that learn.
        learning_rate: The highest; it falls to 0 along half a cosine, in each stage.
        lowest_rate: The first layer's rate as a share of the last's.
        head_rate: The head's rate as a multiple of the last layer's.
        batch_size: Images a step.
        label_smoothing: Share of a label's weight that goes to all classes alike.
        optimizer: A Keras optimizer by name.
        batch_norm: "frozen": in inference mode, as on the device; "train": learns, with each batch's statistics.
        views: How many augmented views of each image there are; 0: none.
        seed: Of order and views.
        workers: Threads that decode; None: one a core.
        precision: What the backbone computes in while it is tuned; "auto" is 16 bits on GPUs that are faster so.
    """

    epochs: int = 12
    unfreeze: tuple[float, ...] = (0.35, 1.0)
    learning_rate: float = 3e-4
    lowest_rate: float = 0.1
    head_rate: float = 1.0
    batch_size: int = 32
    label_smoothing: float = 0.1
    optimizer: str = "adam"
    batch_norm: Literal["frozen", "train"] = "frozen"
    views: int = 1_000_000
    seed: int = 0
    workers: int | None = None
    precision: Precision = "auto"


class Lesson(Protocol):
    """What a backbone is tuned towards."""

    @property
    def model(self) -> Any:
        """The Keras model that is trained; its first output is (n, labels) logits."""

    @property
    def backbone(self) -> Any:
        """The Keras backbone inside it, the one that is to be tuned."""

    @property
    def loss(self) -> Any:
        """What Keras compiles the model with."""

    def targets(self, rows: NDArray[np.int64], view: int) -> Any:
        """Return what the model's outputs are to be for these rows of the training split, seen as that view."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch: its number, the loss it was trained with, and its figures on the validation split."""

    number: int
    train_loss: float
    val_accuracy: float
    val_loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better."""
        return (self.val_accuracy, -self.val_loss)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning gave; the lesson's model holds the weights of the best epoch.

    Epoch -1 is the model as it was given: where no epoch beats it, nothing was changed.
    """

    best: Epoch
    epochs: tuple[Epoch, ...] = field(repr=False)


class Watcher(Protocol):
    """Is told of each step."""

    def step(self, done: int, total: int) -> None:
        """So many of the steps are done."""


def tune(
    lesson: Lesson,
    train: ViewBatches,
    val: tuple[ViewBatches, NDArray[np.int64]],
    options: TuneOptions,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    watcher: Watcher | None = None,
) -> Tuned:
    """Tune the lesson's model; it ends with the weights of the best epoch on the validation split.

    With the same core count and TensorFlow's deterministic ops (`make_deterministic`), equal runs give equal weights,
    interrupted or not.

    Args:
        lesson: The model and what it is to learn.
        train: The training split.
        val: The validation split, and its (n,) label numbers.
        options: How.
        checkpoint: A file that is written after each epoch; where it is there already, the run goes on from it.
        fingerprint: Of everything that decides the result; a checkpoint with another one is not gone on from.
        watcher: Is told of each step.

    Raises:
        RecipeError: options that cannot be, or a checkpoint of another run.
        InputError: an image cannot be read.
    """
    return _Tuning(lesson, train, val, options, watcher).run(checkpoint, fingerprint)


def make_deterministic(seed: int) -> None:
    """Let TensorFlow compute the same every time, for the rest of this process; costs a few per cent of speed."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class _Tuning:
    """One run: the state between epochs is the model's weights, the optimizer's and the epochs so far."""

    def __init__(
        self,
        lesson: Lesson,
        train: ViewBatches,
        val: tuple[ViewBatches, NDArray[np.int64]],
        options: TuneOptions,
        watcher: Watcher | None,
    ) -> None:
        self._lesson, self._train, self._val = lesson, train, val
        self._options, self._watcher = options, watcher
        self._precision = settled(options.precision, aware=False)
        self._stages = stages_of(options.unfreeze, options.epochs)
        self._rates = self._rates_by_path()
        self._epochs: list[Epoch] = []
        self._best: tuple[Epoch, list[NDArray[Any]]] | None = None

    def run(self, path: Path | None, fingerprint: str) -> Tuned:
        with computing_in(self._lesson.backbone, self._precision):
            return self._run(path, fingerprint)

    def _run(self, path: Path | None, fingerprint: str) -> Tuned:
        found = None if path is None else read_checkpoint(path, fingerprint)
        begin = 0 if found is None else self._restore(found)
        if self._best is None:
            self._keep_best(Epoch(-1, float("nan"), *self._judge()))
        for stage in self._stages:
            if stage.end <= begin:
                continue
            self._compile(stage.share)
            if found is not None and begin > stage.begin:
                self._restore_optimizer(found)
            for number in range(max(begin, stage.begin), stage.end):
                loss = self._epoch(number, stage.begin, stage.end)
                epoch = Epoch(number, loss, *self._judge())
                self._epochs.append(epoch)
                self._keep_best(epoch)
                if path is not None:
                    write_checkpoint(path, self._checkpoint(fingerprint))
        return self._end()

    def _compile(self, share: float) -> None:
        model, options = self._lesson.model, self._options
        unfreeze(self._lesson.backbone, share, batch_norm=options.batch_norm == "train")
        optimizer = graded_optimizer(options.optimizer, self._rates, model.trainable_variables)
        optimizer = scaled(optimizer, model.trainable_variables, self._precision)
        model.compile(optimizer=optimizer, loss=self._lesson.loss, jit_compile=False)

    def _rates_by_path(self) -> Mapping[str, float]:
        found = dict(rates_of(self._lesson.backbone, self._options.lowest_rate))
        inside = set(found)
        others = [weight.path for weight in self._lesson.model.weights if weight.path not in inside]
        return found | dict.fromkeys(others, self._options.head_rate)

    def _epoch(self, number: int, begin: int, end: int) -> float:
        """Train one epoch of the stage from `begin` to `end`, and return the mean loss."""
        model, options, steps = self._lesson.model, self._options, self._train.steps
        warm_up = max(1, round(WARM_UP * steps * (end - begin)))
        view, losses = self._train.view_number(number), []
        for step, (rows, pixels) in enumerate(self._train.epoch(number)):
            share = cosine(steps * (number - begin) + step, steps * (end - begin), warm_up=warm_up)
            model.optimizer.learning_rate = options.learning_rate * share
            found = model.train_on_batch(pixels, self._lesson.targets(rows, view))
            losses.append(float(found[0] if isinstance(found, list) else found))
            if not np.isfinite(losses[-1]):
                raise RecipeError(
                    f"tuning: the loss became {losses[-1]} in epoch {number + 1}; lower --learning-rate "
                    f"(now {options.learning_rate:g})"
                )
            model.reset_metrics()
            if self._watcher is not None:
                self._watcher.step(steps * number + step + 1, steps * options.epochs)
        return float(np.mean(losses))

    def _judge(self) -> tuple[float, float]:
        """Return accuracy and mean cross-entropy on the validation split."""
        batches, labels = self._val
        logits = np.concatenate([logits_of(self._lesson.model, pixels) for _, pixels in batches.plain()])
        return accuracy_and_loss(logits, labels)

    def _keep_best(self, epoch: Epoch) -> None:
        if self._best is None or epoch.rank > self._best[0].rank:
            self._best = (epoch, [np.array(weight) for weight in self._lesson.model.weights])

    def _end(self) -> Tuned:
        assert self._best is not None  # the model as it was given is always judged
        best, values = self._best
        _assign(self._lesson.model.weights, values)
        return Tuned(best, tuple(self._epochs))

    def _checkpoint(self, fingerprint: str) -> Checkpoint:
        assert self._best is not None
        model = self._lesson.model
        arrays = {"model": [np.array(one) for one in model.variables], "best": self._best[1]}
        arrays["optimizer"] = [np.array(one) for one in model.optimizer.variables]
        best = self._best[0]
        rows = [[e.number, e.train_loss, e.val_accuracy, e.val_loss] for e in [best, *self._epochs]]
        return Checkpoint(fingerprint, rows, arrays)

    def _restore(self, found: Checkpoint) -> int:
        """Take weights and figures from the checkpoint and return the next epoch's number."""
        epochs = [Epoch(int(row[0]), *row[1:]) for row in found.rows]
        self._best, self._epochs = (epochs[0], list(found.arrays["best"])), epochs[1:]
        _assign(self._lesson.model.variables, found.arrays["model"])
        return self._epochs[-1].number + 1

    def _restore_optimizer(self, found: Checkpoint) -> None:
        _assign(self._lesson.model.optimizer.variables, found.arrays["optimizer"])


def logits_of(model: Any, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the model's first output for a batch, (n, labels), in inference mode."""
    found = model.predict_on_batch(pixels)
    return np.asarray(found[0] if isinstance(found, list | tuple) else found, np.float64)


def _assign(variables: Sequence[Any], values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
