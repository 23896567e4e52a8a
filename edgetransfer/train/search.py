"""Trains all candidates for a head in one Keras model, and lets the validation split choose, whatever the task."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.train.ensemble import averaged

if TYPE_CHECKING:
    from edgetransfer.models.heads._candidates import Candidate

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HeadOptions:
    """How a head is trained.

    Attributes:
        hidden: Sizes of the hidden layer to choose from on the validation split; 0 is a linear head.
        dropouts: Rates to choose from on the validation split.
        weight_decays: L2 factors to choose from on the validation split.
        label_smoothing: Share of a label's weight that goes to all classes alike; of single-label heads.
        balance: Weight the classes by the inverse of their number of examples.
        epochs: At most so many passes over the features.
        patience: Stop when the validation loss of no candidate has fallen for so many epochs.
        batch_size: Examples a step; 0: an eighth of the examples, within 16 to 256, so that few examples get as
            many steps as many.
        learning_rate: At the start, falling to zero along half a cosine; None takes what suits the optimizer
            (`optimizers.RATES`).
        seed: Of order and dropout.
        loss: A Keras loss by name, one that fits the task; None takes the task's own.
        optimizer: A Keras optimizer by name.
        ensemble: Take the mean of the candidates of the best one's kind, as one head, where it does better.
    """

    hidden: tuple[int, ...] = (0, 128)
    dropouts: tuple[float, ...] = (0.3, 0.5)
    weight_decays: tuple[float, ...] = (1e-3, 3e-3)
    label_smoothing: float = 0.1
    balance: bool = False
    epochs: int = 25
    patience: int = 10
    batch_size: int = 0
    learning_rate: float | None = None
    seed: int = 0
    loss: str | None = None
    optimizer: str = "adam"
    ensemble: bool = False

    @property
    def choices(self) -> tuple[tuple[int, float, float], ...]:
        """(hidden, dropout, weight decay) of every candidate; those of one hidden and dropout follow each other."""
        return tuple(
            (hidden, dropout, decay)
            for hidden in sorted(set(self.hidden))
            for dropout in sorted(set(self.dropouts))
            for decay in sorted(set(self.weight_decays))
        )


class Goal(Protocol):
    """What a kind of task asks of the search."""

    @property
    def outputs(self) -> int:
        """How many logits a head gives."""

    @property
    def measure(self) -> str:
        """The figure of the validation split that chooses, as rows of candidates call it: "val_accuracy"."""

    @property
    def larger_is_better(self) -> bool:
        """Whether that figure is better when it is larger."""

    def loss(self) -> Any:
        """Return the loss to train with, as Keras calls it: targets, (n, candidates, outputs) logits -> (n,)."""

    def judge(self, logits: NDArray[np.float32]) -> tuple[float, float]:
        """Return (the figure, the mean loss) of (n, outputs) logits of the validation split."""

    def each(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how good (n, outputs) logits of the validation split are, example by example: (n,), more is better."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A candidate as it was after some epoch, and its figures on the validation split; or the mean of `heads` ones."""

    choice: Candidate
    head: tuple[Dense, ...]
    value: float
    loss: float
    measure: str = field(repr=False)
    larger_is_better: bool = field(repr=False)
    heads: int = 1

    @property
    def rank(self) -> tuple[float, ...]:
        """Larger is better: the figure, then loss, then the smaller head and the stronger decay."""
        value = self.value if self.larger_is_better else -self.value
        return (value, -self.loss, -self.choice.hidden, self.choice.weight_decay)

    def row(self) -> dict[str, float]:
        """Return the candidate as a row of a table."""
        return {
            "hidden": self.choice.hidden,
            "dropout": self.choice.dropout,
            "weight_decay": self.choice.weight_decay,
            self.measure: self.value,
            "val_loss": self.loss,
            **({"heads": self.heads} if self.heads > 1 else {}),
        }


@dataclass(frozen=True, slots=True)
class Scaling:
    """Features moved to mean 0 and divided by one number; folded into the first layer afterwards.

    One number, not one a feature: dividing by each feature's own spread would give rare features large weights,
    which an int8 head could not keep beside small ones.
    """

    mean: NDArray[np.float32]
    spread: np.float32

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Scaling:
        """Return the scaling that (n, D) features ask for."""
        mean = features.mean(axis=0)
        return cls(mean, np.float32(max(float((features - mean).std()), 1e-6)))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (..., D) features scaled."""
        return (features - self.mean) / self.spread

    def fold_into(self, head: tuple[Dense, ...]) -> tuple[Dense, ...]:
        """Return the head for features as they come that does what `head` does for scaled ones."""
        kernel = head[0].kernel / self.spread
        return (Dense(kernel, head[0].bias - self.mean @ kernel, head[0].activation), *head[1:])


def search(
    tables: tuple[NDArray[np.float32], NDArray[np.float32]],
    targets: NDArray[Any],
    goal: Goal,
    options: HeadOptions,
    progress: Progress | None = None,
    weights: NDArray[np.float32] | None = None,
) -> tuple[Trained, tuple[Trained, ...]]:
    """Return the candidate that does best on the validation split, or a mean that does better, and all candidates.

    Args:
        tables: (n, D) float32 features of the training and of the validation split.
        targets: (n, ...) of the training split, as the goal's loss takes them.
        goal: What to train for; it knows the targets of the validation split.
        options: How to train.
        progress: Called with (epochs done, epochs at most).
        weights: (n,) how much each training example counts, of mean 1; None: all alike.

    Raises:
        UnknownNameError, RecipeError: the loss or the optimizer.
    """
    scaling = Scaling.of(tables[0])
    scaled = (scaling.apply(tables[0]), scaling.apply(tables[1]))
    found = _Search(scaled, targets, goal, options, weights).run(progress)
    folded = tuple(
        Trained(one.choice, scaling.fold_into(one.head), one.value, one.loss, one.measure, one.larger_is_better)
        for one in found
    )
    best = max(folded, key=lambda one: one.rank)
    return better_of(best, folded, goal, tables[1]) if options.ensemble else best, folded


def better_of(best: Trained, found: Sequence[Trained], goal: Goal, features: NDArray[np.float32]) -> Trained:
    """Return `best`, or the mean of all candidates of its kind where that does better on (n, D) validation features."""
    alike = [one for one in found if bool(one.choice.hidden) == bool(best.choice.hidden)]
    head = averaged([one.head for one in alike])
    value, loss = goal.judge(apply_head(head, features))
    mean = replace(best, head=head, value=value, loss=loss, heads=len(alike))
    return mean if mean.rank > best.rank else best


def steps_of(examples: int, options: HeadOptions) -> tuple[int, int]:
    """Return (examples a step, steps an epoch)."""
    batch_size = options.batch_size or int(np.clip(examples // 8, 16, 256))
    return batch_size, -(-examples // batch_size)


class _Search:
    """All candidates, in one Keras model."""

    def __init__(
        self, tables: tuple[Any, Any], targets: Any, goal: Goal, options: HeadOptions, weights: Any = None
    ) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import keras

        from edgetransfer.models.heads import _candidates

        self._home, self._keras, self._options, self._goal = _candidates, keras, options, goal
        self._tables, self._targets, self._weights = tables, targets, weights
        self._candidates = [_candidates.Candidate(*choice) for choice in options.choices]
        keras.utils.set_random_seed(options.seed)
        self._model = _candidates.build_candidates(
            tables[0].shape[1], goal.outputs, self._candidates, seed=options.seed
        )
        self._lowest = np.full(len(self._candidates), np.inf)
        self._kept: list[Any] = [None] * len(self._candidates)
        self._stale = 0

    def run(self, progress: Progress | None) -> list[Trained]:
        from edgetransfer.train.optimizers import make_optimizer

        options, keras = self._options, self._keras
        batch_size, steps = steps_of(len(self._targets), options)
        self._model.compile(
            optimizer=make_optimizer(options, steps),
            loss=self._goal.loss(),
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
            self._targets,
            sample_weight=self._weights,
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
        losses = np.array([self._goal.judge(logits[:, number])[1] for number in range(len(self._candidates))])
        fallen = losses < self._lowest
        self._stale = 0 if fallen.any() else self._stale + 1
        if fallen.any():
            self._lowest = np.minimum(losses, self._lowest)
            now = self._home.named_weights(self._model)
            self._kept = [now if lower else kept for lower, kept in zip(fallen, self._kept, strict=True)]

    def _trained(self, number: int, weights: Any) -> Trained:
        head = self._home.candidate_head(weights, divmod(number, len(set(self._options.weight_decays))))
        value, loss = self._goal.judge(apply_head(head, self._tables[1]))
        goal = self._goal
        return Trained(self._candidates[number], head, value, loss, goal.measure, goal.larger_is_better)
