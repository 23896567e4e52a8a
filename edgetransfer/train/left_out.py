"""Ridge regression in closed form on all rows but one, for each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def left_out_scores(gram: NDArray[np.float64], targets: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return what ridge regression on all other rows says of each row, (n, k), without n regressions.

    Args:
        gram: (n, n) inner products of the rows.
        targets: (n, k).
        ridge: The penalty.

    Source: y_i - f_i = a_i / (G^-1)_ii with a = G^-1 y and G = gram + ridge I (Rasmussen and Williams 2006, equation
    5.12).
    """
    inverse = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    scores: NDArray[np.float64] = targets - (inverse @ targets) / np.diag(inverse)[:, None]
    return scores
