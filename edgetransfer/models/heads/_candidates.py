"""Heads of all candidates in one Keras model, whatever the task: how each kind is trained is in its own file.

All candidates for dropout and weight decay are trained side by side on the same batches. Their parameters never meet
and Adam treats each number by itself, so each candidate learns as it would alone, at the cost of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgetransfer.spec.dense import Dense


@dataclass(frozen=True, slots=True)
class Candidate:
    """One choice of what the validation split decides.

    `hidden` is the size of the hidden layer (0: a linear head), `dropout` a rate, `weight_decay` the factor of an
    L2 penalty.
    """

    hidden: int
    dropout: float
    weight_decay: float


class CandidateDecay(keras.regularizers.Regularizer):  # type: ignore[misc]  # keras has no types
    """L2 penalty with a factor for each candidate; the candidates are axis 1 of the kernel (in, k, out)."""

    def __init__(self, factors: Sequence[float]) -> None:
        """Keep the `factors`, one a candidate."""
        self.factors = [float(factor) for factor in factors]

    def __call__(self, kernel: Any) -> Any:
        """Return the penalty of `kernel`."""
        squares = keras.ops.sum(keras.ops.square(kernel), axis=(0, 2))
        return keras.ops.sum(squares * keras.ops.convert_to_tensor(self.factors, kernel.dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal regularizer."""
        return {"factors": self.factors}


def build_candidates(features: int, classes: int, candidates: Sequence[Candidate], *, seed: int) -> keras.Model:
    """Return one model that holds a head for every candidate: (n, features) -> (n, candidates, classes) logits.

    Candidates of one size and dropout stand together, in the order of `groups`, and share the dropped features.
    """
    inputs = keras.Input((features,), name="features")
    outputs = []
    for number, ((hidden, rate), decays) in enumerate(groups(candidates).items()):
        x = keras.layers.Dropout(rate, seed=seed + number, name=f"dropout_{number}")(inputs)
        equation = "bd,dkc->bkc"
        if hidden:
            x = _dense("bd,dkh->bkh", hidden, decays, f"hidden_{number}", seed, "relu")(x)
            equation = "bkh,hkc->bkc"
        outputs.append(_dense(equation, classes, decays, f"logits_{number}", seed)(x))
    joined = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate(axis=1, name="candidates")(outputs)
    return keras.Model(inputs, joined, name="candidates")


def groups(candidates: Sequence[Candidate]) -> dict[tuple[int, float], list[float]]:
    """Return the weight decays of the candidates by (hidden, dropout), in order of first appearance."""
    found: dict[tuple[int, float], list[float]] = {}
    for candidate in candidates:
        found.setdefault((candidate.hidden, candidate.dropout), []).append(candidate.weight_decay)
    return found


def _dense(
    equation: str, size: int, decays: list[float], name: str, seed: int, activation: str | None = None
) -> keras.layers.Layer:
    return keras.layers.EinsumDense(
        equation,
        output_shape=(len(decays), size),
        bias_axes=equation[-2:],
        activation=activation,
        kernel_regularizer=CandidateDecay(decays),
        kernel_initializer=_SameForAll(seed),
        name=name,
    )


class _SameForAll(keras.initializers.Initializer):  # type: ignore[misc]  # keras has no types
    """Glorot's uniform start, the same for every candidate, so that only the choices differ."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        wide, candidates, narrow = shape
        one = keras.initializers.GlorotUniform(self.seed)((wide, narrow), dtype)
        return keras.ops.repeat(one[:, None, :], candidates, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


def candidate_head(weights: dict[str, NDArray[np.float32]], place: tuple[int, int]) -> tuple[Dense, ...]:
    """Return one candidate as plain dense layers.

    Args:
        weights: The candidates' weights by name, from `named_weights`.
        place: (number of the group, position within it).
    """
    group, position = place
    layers = []
    if f"hidden_{group}/kernel" in weights:
        kernel, bias = weights[f"hidden_{group}/kernel"], weights[f"hidden_{group}/bias"]
        layers.append(Dense(kernel[:, position].copy(), bias[position].copy(), "relu"))
    kernel, bias = weights[f"logits_{group}/kernel"], weights[f"logits_{group}/bias"]
    return (*layers, Dense(kernel[:, position].copy(), bias[position].copy()))


def named_weights(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Return copies of the model's weights by "layer/name"."""
    return {
        f"{layer.name}/{variable.name}": np.array(variable.numpy(), np.float32)
        for layer in model.layers
        for variable in layer.trainable_variables
    }
