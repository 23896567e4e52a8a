"""Learns one unit of a head from a few examples, numpy alone: logistic regression in its dual form.

The unit competes with the others as they are: its logit is set against the log of the sum of their exponentials, so
that what it says is what a softmax over all would. With n examples an iteration solves n equations, whatever the number
of features (iteratively reweighted least squares; Jaakkola and Haussler 1999).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

PENALTY = 1e-5
"""L2 factor, of features with a mean square norm of 1."""
_ITERATIONS = 50
_NEAR = 1e-7  # less that a step brings than this is none
_LEAST_STEP = 1e-3
_LEAST_CURVE = 1e-9  # of an example that is settled: its equation stays solvable
_BIAS = 1.0  # the constant that stands beside the features, of the same norm


def learn_unit(examples: Real, others: Real, rivals: Real, start: Real, *, share: float = 0.5) -> tuple[Real, float]:
    """Return the weights (D,) and bias that are to be added to a unit, so that it answers for `examples`.

    Args:
        examples: (n, D) features that the unit shall answer for.
        others: (m, D) features that it shall not answer for.
        rivals: (n + m,) log of the sum of exponentials of the other units' logits, examples first.
        start: (n + m,) the unit's own logits so far; of a new one 0.
        share: Weight of the examples in the loss, 0 to 1; the others have the rest.
    """
    rows = np.concatenate([examples, others])
    mean = rows.mean(axis=0)
    spread = np.sqrt(((rows - mean) ** 2).sum(axis=1).mean()) or 1.0
    placed = np.concatenate([(rows - mean) / spread, np.full((len(rows), 1), _BIAS)], axis=1)
    wanted = np.concatenate([np.ones(len(examples)), np.zeros(len(others))])
    weights = np.where(wanted > 0, share / len(examples), (1 - share) / max(len(others), 1))
    dual = _solved(placed @ placed.T, wanted, weights, start - rivals)
    found = placed.T @ dual
    return found[:-1] / spread, float(found[-1] * _BIAS - mean @ found[:-1] / spread)


def _solved(kernel: Real, wanted: Real, weights: Real, offset: Real) -> Real:
    """Return the dual coefficients that minimise the weighted logistic loss plus PENALTY times the squared norm.

    Newton's steps, halved until the loss falls: whole ones can swing where examples are far apart.
    """

    def loss(dual: Real) -> float:
        moved = kernel @ dual
        signed = np.where(wanted > 0, 1, -1) * (moved + offset)
        return float((weights * np.logaddexp(0, -signed)).sum() + PENALTY * dual @ moved)

    dual, best = np.zeros(len(kernel)), loss(np.zeros(len(kernel)))
    for _ in range(_ITERATIONS):
        moved = kernel @ dual
        chance = 1 / (1 + np.exp(-np.clip(moved + offset, -50, 50)))
        curve = np.maximum(weights * chance * (1 - chance), _LEAST_CURVE)
        slope = weights * (chance - wanted)
        system = curve[:, None] * kernel + 2 * PENALTY * np.eye(len(kernel))
        new = np.asarray(np.linalg.solve(system, curve * moved - slope), np.float64)
        step, tried = 1.0, loss(new)
        while tried > best and step > _LEAST_STEP:
            step /= 2
            tried = loss(dual + step * (new - dual))
        if tried > best - _NEAR:
            return dual
        dual, best = np.asarray(dual + step * (new - dual), np.float64), tried
    return dual
