"""Several heads on one backbone as one head: its logits are the mean of theirs.

Heads that were trained apart err apart, and their mean errs less (Hansen and Salamon 1990, "Neural Network Ensembles",
IEEE PAMI 12:10). On one backbone that costs no second pass: hidden layers stand side by side, and the last layer takes
the mean. What comes out is an ordinary head, so nothing else needs to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.dense import Dense


def averaged(heads: Sequence[Sequence[Dense]]) -> tuple[Dense, ...]:
    """Return one head whose logits are the mean of those of `heads`, for every input.

    Args:
        heads: Of the same inputs and outputs, all linear, or all with one hidden layer of the same activation; the
            sizes of the hidden layers may differ.

    Raises:
        ValueError: heads that do not fit together.
    """
    kinds = {tuple(layer.activation for layer in head) for head in heads}
    if len(kinds) != 1 or len(next(iter(kinds))) > 2:
        raise ValueError(f"expected heads of one kind with at most one hidden layer, got {sorted(map(str, kinds))}")
    last = [head[-1] for head in heads]
    bias = _mean([layer.bias for layer in last])
    if len(heads[0]) == 1:
        return (Dense(_mean([layer.kernel for layer in last]), bias, last[0].activation),)
    first = [head[0] for head in heads]
    hidden = Dense(
        np.concatenate([layer.kernel for layer in first], axis=1),
        np.concatenate([layer.bias for layer in first]),
        first[0].activation,
    )
    kernel = np.concatenate([layer.kernel / np.float32(len(heads)) for layer in last])
    return hidden, Dense(kernel, bias, last[0].activation)


def _mean(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.asarray(np.mean(np.stack(arrays), axis=0, dtype=np.float64), np.float32)
