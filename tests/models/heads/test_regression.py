from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.models.heads import regression

OUTPUTS = np.array([[[0.0], [0.5]], [[4.0], [-1.0]]], np.float32)
VALUES = np.array([0.5, 1.0], np.float32)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mean_squared_error", [0.25, 9 + 4]),
        ("mean_absolute_error", [0.5, 3 + 2]),
        ("huber", [0.125, 2.5 + 1.5]),
        ("log_cosh", [np.log(np.cosh(0.5)), np.log(np.cosh(3)) + np.log(np.cosh(2))]),
    ],
)
def test_the_loss_is_summed_over_candidates(name, wanted):
    np.testing.assert_allclose(np.asarray(regression.summed_loss(name)(VALUES, OUTPUTS)), wanted, rtol=1e-5)
