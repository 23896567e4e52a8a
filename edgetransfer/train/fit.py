"""Trains a head on the features of the deployed backbone, and lets the validation split choose how."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.dense import Dense, apply_head

if TYPE_CHECKING:
    from edgetransfer.models.heads.single_label import Candidate

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How a head is trained.

    Attributes:
        hidden: Sizes of the hidden layer to choose from on the validation split; 0 is a linear head.
        dropouts: Rates to choose from on the validation split.
        weight_decays: L2 factors to choose from on the validation split.
        label_smoothing: Share of a label's weight that goes to all classes alike.
        balance: Weight the classes by the inverse of their number of examples.
        epochs: At most so many passes over the features.
        patience: Stop when the validation loss of no candidate has fallen for so many epochs.
        batch_size: Examples a step; 0: an eighth of the examples, within 16 to 256, so that few examples get as
            many steps as many.
        learning_rate: Adam's, falling to zero along half a cosine.
        seed: Of order and dropout.
    """

    hidden: tuple[int, ...] = (0, 128)
    dropouts: tuple[float, ...] = (0.3, 0.5)
    weight_decays: tuple[float, ...] = (1e-3, 3e-3)
    label_smoothing: float = 0.1
    balance: bool = False
    epochs: int = 25
    patience: int = 10
    batch_size: int = 0
    learning_rate: float = 8e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """A trained head, and what was tried: one row a candidate."""

    head: tuple[Dense, ...]
    chosen: dict[str, float]
    candidates: tuple[dict[str, float], ...] = field(repr=False)


def fit(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    val: tuple[NDArray[np.float32], NDArray[np.int64]],
    classes: int,
    options: HeadOptions,
    *,
    progress: Progress | None = None,
) -> Fit:
    """Return the head that does best on `val`.

    Args:
        train: (n, D) float32 features and (n,) labels 0..classes-1.
        val: The same of the validation split; chooses the candidate, stops the training, and is never trained on.
        classes: How many labels there are.
        options: How to train.
        progress: Called with (epochs done, epochs at most).

    Raises:
        DataError: a label has no training example.
    """
    counts = np.bincount(train[1], minlength=classes)
    if (counts == 0).any():
        raise DataError(f"label number {int(np.argmin(counts))} has no training example")
    scaling = _Scaling.of(train[0])
    tables = [scaling.apply(train[0]), scaling.apply(val[0])]
    found = _Search(tables, (train[1], val[1]), counts, options).run(progress)
    best = max(found, key=lambda one: one.rank)
    return Fit(scaling.fold_into(best.head), best.row(), tuple(one.row() for one in found))


@dataclass(frozen=True, slots=True)
class _Scaling:
    """Features moved to mean 0 and divided by one number; folded into the first layer afterwards.

    One number, not one a feature: dividing by each feature's own spread would give rare features large weights,
    which an int8 head could not keep beside small ones.
    """

    mean: NDArray[np.float32]
    spread: np.float32

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> _Scaling:
        mean = features.mean(axis=0)
        return cls(mean, np.float32(max(float((features - mean).std()), 1e-6)))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return (features - self.mean) / self.spread

    def fold_into(self, head: tuple[Dense, ...]) -> tuple[Dense, ...]:
        kernel = head[0].kernel / self.spread
        return (Dense(kernel, head[0].bias - self.mean @ kernel, head[0].activation), *head[1:])


@dataclass(frozen=True, slots=True)
class _Trained:
    """A candidate as it was after some epoch, and its figures on the validation split."""

    choice: Candidate
    head: tuple[Dense, ...]
    accuracy: float
    loss: float

    @property
    def rank(self) -> tuple[float, ...]:
        """Larger is better: accuracy, then loss, then the smaller head and the stronger decay."""
        return (self.accuracy, -self.loss, -self.choice.hidden, self.choice.weight_decay)

    def row(self) -> dict[str, float]:
        return {
            "hidden": self.choice.hidden,
            "dropout": self.choice.dropout,
            "weight_decay": self.choice.weight_decay,
            "val_accuracy": self.accuracy,
            "val_loss": self.loss,
        }


class _Search:
    """All candidates, in one Keras model."""

    def __init__(self, tables: list[Any], labels: tuple[Any, Any], counts: Any, options: HeadOptions) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        from edgetransfer.models.heads import single_label

        self._home, self._keras, self._options = single_label, keras, options
        self._tables, self._labels = tables, labels
        self._candidates = [
            single_label.Candidate(hidden, dropout, decay)
            for hidden in sorted(set(options.hidden))
            for dropout in sorted(set(options.dropouts))
            for decay in sorted(set(options.weight_decays))
        ]
        keras.utils.set_random_seed(options.seed)
        self._model = single_label.build_candidates(
            tables[0].shape[1], len(counts), self._candidates, seed=options.seed
        )
        weights = len(labels[0]) / (len(counts) * counts) if options.balance else np.ones(len(counts))
        self._class_weights = weights.astype(np.float32)
        self._lowest = np.full(len(self._candidates), np.inf)
        self._kept: list[Any] = [None] * len(self._candidates)
        self._stale = 0

    def run(self, progress: Progress | None) -> list[_Trained]:
        options, keras = self._options, self._keras
        batch_size = options.batch_size or int(np.clip(len(self._labels[0]) // 8, 16, 256))
        steps = -(-len(self._labels[0]) // batch_size)
        rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, steps * options.epochs)
        self._model.compile(
            optimizer=keras.optimizers.Adam(rate),
            loss=self._home.summed_cross_entropy(options.label_smoothing, self._class_weights),
            jit_compile=False,  # compiling takes longer than training a head
            steps_per_execution=steps,
        )

        def look(epoch: int, _: Any) -> None:
            self._look()
            self._model.stop_training = self._stale >= options.patience
            if progress is not None:
                progress(epoch + 1, options.epochs)

        self._model.fit(
            self._tables[0],
            self._labels[0],
            batch_size=batch_size,
            epochs=options.epochs,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=look)],
        )
        if progress is not None:
            progress(options.epochs, options.epochs)  # early stopping is the end too
        # After a whole schedule the last epoch is the one to keep: the learning rate has come down to nothing, and
        # picking the luckiest epoch on the validation split cost half a point to a point on new images (five
        # splits of TrashNet, MobileNetV2). Training that was stopped goes back to where the loss was least.
        now = self._home.named_weights(self._model)
        kept = self._kept if self._model.stop_training else [now] * len(self._candidates)
        return [self._trained(number, weights) for number, weights in enumerate(kept)]

    def _look(self) -> None:
        """Keep the weights of each candidate whose validation loss has never been lower; count epochs without any."""
        logits = np.asarray(self._model(self._tables[1], training=False))
        losses = np.array([_score(logits[:, number], self._labels[1])[1] for number in range(len(self._candidates))])
        fallen = losses < self._lowest
        self._stale = 0 if fallen.any() else self._stale + 1
        if fallen.any():
            self._lowest = np.minimum(losses, self._lowest)
            now = self._home.named_weights(self._model)
            self._kept = [now if lower else kept for lower, kept in zip(fallen, self._kept, strict=True)]

    def _trained(self, number: int, weights: Any) -> _Trained:
        head = self._home.candidate_head(weights, divmod(number, len(set(self._options.weight_decays))))
        accuracy, loss = _score(apply_head(head, self._tables[1]), self._labels[1])
        return _Trained(self._candidates[number], head, accuracy, loss)


def _score(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) of `logits`."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float((logits.argmax(axis=1) == labels).mean()), -float(log_scores[np.arange(len(labels)), labels].mean())
