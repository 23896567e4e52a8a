"""Chooses how windows or patches become one feature vector: their mean, or attention where it clearly helps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import DataError
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.train.optimizers import make_optimizer
from edgetransfer.train.search import HeadOptions, Progress, Scaling, steps_of
from edgetransfer.train.tasks import Split, TaskFit, TaskGoal, fit_task, prepare


@dataclass(frozen=True, slots=True)
class PoolFit:
    """What pools the windows, and the head behind it.

    Attributes:
        pool: None: the mean.
        fit: The head that takes pooled features, with its task.
        gain: How much better attention was on the validation split, in what the task counts: accuracy, ranks, the
            quantity's unit, or cross-entropy for several labels.
        gain_error: The standard error of that.
        rows: The validation figures of "mean" and "attention".
    """

    pool: AttentionPool | None
    fit: TaskFit
    gain: float
    gain_error: float
    rows: dict[str, dict[str, float]]


def fit_pooling(
    kind: str,
    train: Split,
    val: Split,
    labels: tuple[str, ...],
    options: HeadOptions,
    *,
    unit: str = "",
    must: bool = False,
    progress: Progress | None = None,
) -> PoolFit:
    """Return the pooling and the head for windows: the mean, unless attention wins by more than a standard error.

    Args:
        kind: As `fit_task`, as are all others.
        train: (n, W, D) float32 features of at most W windows each, and the targets. Where an example has fewer
            windows than W, NaN stands in the last rows.
        val: The same of the validation split.
        labels: See `fit_task`.
        options: How to train; attention has a linear head, with the dropout and decay that did best for the mean.
        unit: See `fit_task`.
        must: Take attention whether it wins or not.
        progress: Called with (epochs done, epochs at most) of both.

    Raises:
        DataError: no windows; and as `fit_task`.
    """
    if train[0].ndim != 3 or val[0].ndim != 3:
        raise DataError(f"windows: expected features (n, windows, D), got {train[0].shape} and {val[0].shape}")
    goal, targets = prepare(kind, train, val, labels, options, unit)
    means = [(pool_windows(split[0], None), split[1]) for split in (train, val)]
    mean = fit_task(kind, means[0], means[1], labels, options, unit=unit, progress=progress)
    best = _best_linear(mean, goal)
    chosen = replace(options, hidden=(0,), dropouts=(best["dropout"],), weight_decays=(best["weight_decay"],))
    pool, head = _train(train[0], targets, goal, chosen)
    logits = apply_head((head,), pool_windows(val[0], pool))
    difference = goal.each(logits) - goal.each(apply_head(mean.head, means[1][0]))
    gain, gain_error = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
    value, loss = goal.judge(logits)
    row = dict(best) | {goal.measure: value, "val_loss": loss}
    attention = TaskFit((head,), goal.task(labels, logits), row, (row,))
    wins, rows = must or gain > gain_error, {"mean": mean.chosen, "attention": row}
    return PoolFit(pool if wins else None, attention if wins else mean, gain, gain_error, rows)


def pool_windows(windows: NDArray[np.float32], pool: AttentionPool | None) -> NDArray[np.float32]:
    """Return the features (n, D) of (n, W, D) windows, of which rows of NaN are none; without `pool` their mean."""
    rows = []
    for one in windows:
        there = one[~np.isnan(one[:, 0])]
        rows.append(there.mean(axis=0, dtype=np.float32) if pool is None else pool.apply(there))
    return np.stack(rows)


def _best_linear(mean: TaskFit, goal: TaskGoal) -> dict[str, float]:
    """Return the row of the best candidate without a hidden layer; of all, where each has one."""
    linear = [row for row in mean.candidates if not row["hidden"]] or [mean.chosen]
    return max(linear, key=lambda row: row[goal.measure] if goal.larger_is_better else -row[goal.measure])


def _train(
    windows: NDArray[np.float32], targets: NDArray[Any], goal: TaskGoal, options: HeadOptions
) -> tuple[AttentionPool, Dense]:
    import keras

    from edgetransfer.models.pooling import attention_parts, build_attention

    keras.utils.set_random_seed(options.seed)
    present = ~np.isnan(windows[..., 0])
    scaling = Scaling.of(pool_windows(windows, None))  # the spread of what the head sees, as when it sees the means
    model = build_attention(
        windows.shape[1],
        windows.shape[2],
        goal.outputs,
        dropout=options.dropouts[0],
        decay=options.weight_decays[0],
        seed=options.seed,
    )
    batch_size, steps = steps_of(len(targets), options)
    optimizer = make_optimizer(options, steps)
    model.compile(optimizer=optimizer, loss=goal.loss(), jit_compile=False, steps_per_execution=steps)
    inputs = {"windows": np.nan_to_num(scaling.apply(windows)), "present": present.astype(np.float32)}
    model.fit(inputs, targets, batch_size=batch_size, epochs=options.epochs, verbose=0)
    pool, head = attention_parts(model)
    # A shift of all windows alike moves all scores alike, and the softmax does not see it.
    return AttentionPool((pool.weights / scaling.spread).astype(np.float32)), scaling.fold_into((head,))[0]
