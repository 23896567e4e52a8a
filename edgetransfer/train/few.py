"""A head from few examples: logistic regression, its penalty chosen by cross-validation.

With few examples a validation split says little and costs much. Here every example trains, and each is also judged by
heads that did not see it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.evaluate import wilson_interval
from edgetransfer.spec.dense import Dense
from edgetransfer.train.single_label import log_scores

PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Tried from strong to weak, of features whose mean square norm is 1. At the strong end the head points at the class
means, as a nearest-class-mean classifier does."""

ONE_SHOT_PENALTY = 3e-4
"""Where no example can be left out. With one a class of TrashNet (EfficientNet-Lite0) or of scikit-learn's digits
accuracy was the same within a point from 3e-6 to 1e-1, and the log loss least from 1e-4 to 3e-4."""

_FOLDS = 5
_ITERATIONS = 200
_TOLERANCE = 1e-5  # of the loss, relative; 2e-9 took longer, chose the same penalties and gave the same accuracy


@dataclass(frozen=True, slots=True)
class FewFit:
    """A head from few examples.

    Attributes:
        head: One dense layer, for features as they come.
        penalty: The L2 factor that was chosen.
        accuracy: Of heads on examples that they did not see, 0 to 1; None where no example could be left out. A
            little low, for those heads learned from fewer examples than `head`: with 5 folds, from four fifths.
        accuracy_95: Its 95 % Wilson interval.
        folds: How many parts the examples were divided into; 0 where they were not.
        left_out: How many examples were left out, each once.
        because: How the penalty was chosen, for people.
        candidates: One row a penalty.
    """

    head: tuple[Dense, ...]
    penalty: float
    accuracy: float | None
    accuracy_95: tuple[float, float] | None
    folds: int
    because: str
    candidates: tuple[dict[str, float], ...] = field(repr=False)
    left_out: int = 0


def fit_few(
    features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, *, balance: bool = False, seed: int = 0
) -> FewFit:
    """Return the head that does best on examples left out in turn, trained on all.

    Args:
        features: (n, D) float32 of all examples, training and validation together.
        labels: (n,) int64, 0..classes-1.
        classes: How many labels there are.
        balance: Let each label count alike, however many examples it has.
        seed: Of the division into folds.

    Raises:
        DataError: shapes that do not fit, or a label without examples.
    """
    counts = _checked_counts(features, labels, classes)
    rows = _Rows.of(features)
    weights = len(labels) / (classes * counts) if balance else np.ones(classes)
    # A class of one example cannot be left out and be learned: it always trains, and is not asked about.
    folds = int(min(_FOLDS, max(2, counts[counts > 1].min()))) if (counts > 1).any() else 0
    if not folds:
        head = rows.head(_descend(rows.table, labels, weights, ONE_SHOT_PENALTY))
        because = "one example a class leaves none to choose by: a penalty that served other data"
        return FewFit((head,), ONE_SHOT_PENALTY, None, None, 0, because, ())
    fold = divide(labels, folds, np.random.default_rng(seed))
    fold[np.isin(labels, np.flatnonzero(counts == 1))] = -1
    right, losses = _left_out(rows.table, labels, weights, fold)
    penalty, accuracy, interval, table = _chosen(right, losses)
    head = rows.head(_descend(rows.table, labels, weights, penalty))
    because = f"least loss of {len(right)} examples left out in {folds} parts{_of_singles(counts)}"
    return FewFit((head,), penalty, accuracy, interval, folds, because, table, len(right))


def _chosen(
    right: NDArray[np.bool_], losses: NDArray[np.float64]
) -> tuple[float, float, tuple[float, float], tuple[dict[str, float], ...]]:
    """Return the penalty of the least loss, its accuracy with its interval, and a row for each that was tried."""
    best = int(np.argmin(losses.mean(axis=0)))
    rows = tuple(
        {"penalty": penalty, "accuracy": float(one), "loss": float(loss)}
        for penalty, one, loss in zip(PENALTIES, right.mean(axis=0), losses.mean(axis=0), strict=False)
    )
    interval = wilson_interval(int(right[:, best].sum()), len(right))
    return PENALTIES[best], rows[best]["accuracy"], interval, rows


def fit_plain(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int, penalty: float) -> Dense:
    """Return the head of `fit_few` for a given penalty."""
    _checked_counts(features, labels, classes)
    rows = _Rows.of(features)
    return rows.head(_descend(rows.table, labels, np.ones(classes), penalty))


def divide(labels: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the number of the fold, 0..folds-1, of each of (n,) labels; each label is spread over all of them."""
    found = np.empty(len(labels), np.int64)
    begin = 0
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        found[own] = (np.arange(len(own)) + begin) % folds
        begin += len(own)  # so that the last fold is not short of every label
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    """Features about their mean, of mean square norm 1, in as few coordinates as there are examples.

    `table` is (n, r) float64 with features = mean + spread * table @ basis; `basis` (r, D) has orthonormal rows, so a
    penalty in these coordinates is the same as in all D.
    """

    table: NDArray[np.float64]
    basis: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: float

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> _Rows:
        mean = features.mean(axis=0, dtype=np.float64)
        about = features - mean
        spread = max(float(np.sqrt((about**2).sum(axis=1).mean())), 1e-6)
        if len(features) < features.shape[1]:
            basis, table = np.linalg.qr((about / spread).T)
            return cls(table.T, basis.T, mean, spread)
        return cls(about / spread, np.eye(features.shape[1]), mean, spread)

    def head(self, found: NDArray[np.float64]) -> Dense:
        """Return (r + 1, classes) weights, the last row the bias, as a layer for features as they come."""
        kernel = self.basis.T @ found[:-1] / self.spread
        return Dense(kernel.astype(np.float32), (found[-1] - self.mean @ kernel).astype(np.float32))


def _left_out(
    table: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return whether each example left out is answered rightly, and its loss: (m, penalties tried).

    Weaker penalties take longer and longer; they are tried until the loss has risen twice.
    """
    parts = [fold == number for number in range(int(fold.max()) + 1)]
    heads: list[NDArray[np.float64] | None] = [None] * len(parts)
    right: list[NDArray[np.bool_]] = []
    losses: list[NDArray[np.float64]] = []
    for penalty in PENALTIES:
        rows = []
        for number, out in enumerate(parts):
            heads[number] = head = _descend(table[~out], labels[~out], weights, penalty, heads[number])
            rows.append(log_scores(table[out] @ head[:-1] + head[-1]))
        wanted = np.concatenate([labels[out] for out in parts])
        scores = np.concatenate(rows)
        right.append(scores.argmax(axis=1) == wanted)
        losses.append(-scores[np.arange(len(wanted)), wanted] * weights[wanted])
        means = [float(one.mean()) for one in losses]
        if len(means) - 1 - int(np.argmin(means)) >= 2:
            break
    return np.stack(right, axis=1), np.stack(losses, axis=1)


def _descend(
    table: NDArray[np.float64],
    labels: NDArray[np.int64],
    weights: NDArray[np.float64],
    penalty: float,
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the (r + 1, classes) weights of multinomial logistic regression, the bias last; that is not penalised."""
    from scipy.optimize import minimize

    n, size, classes = len(labels), table.shape[1], len(weights)
    wanted, counts = np.eye(classes)[labels], (weights[labels] / n)[:, None]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        head = flat.reshape(size + 1, classes)
        scores = log_scores(table @ head[:-1] + head[-1])
        off = (np.exp(scores) - wanted) * counts
        gradient = np.concatenate([table.T @ off + 2 * penalty * head[:-1], off.sum(axis=0, keepdims=True)])
        return float(-(wanted * scores * counts).sum() + penalty * (head[:-1] ** 2).sum()), gradient.ravel()

    begin = np.zeros((size + 1) * classes) if start is None else start.ravel()
    options: dict[str, Any] = {"maxiter": _ITERATIONS, "ftol": _TOLERANCE}
    found: NDArray[np.float64] = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options).x
    return found.reshape(size + 1, classes)


def _checked_counts(features: NDArray[Any], labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    if features.ndim != 2 or labels.shape != (len(features),):
        raise DataError(f"few examples: expected features (n, D) and n labels, got {features.shape}, {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or (len(labels) and not 0 <= labels.min() <= labels.max() < classes):
        raise DataError(f"few examples: expected labels as whole numbers from 0 to {classes - 1}")
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise DataError(f"label number {int(np.argmin(counts))} has no training example")
    return counts


def _of_singles(counts: NDArray[np.int64]) -> str:
    singles = int((counts == 1).sum())
    return f"; {singles} of {len(counts)} classes have a single example, which was never left out" if singles else ""
