from __future__ import annotations

import keras
import numpy as np
import pytest

from edgetransfer.errors import RecipeError, UnknownNameError
from edgetransfer.models.heads._losses import losses_of, named_loss


@pytest.mark.parametrize("kind", ["single_label", "multi_label", "ordinal", "regression"])
def test_every_kind_names_losses_that_keras_has(kind):
    assert losses_of(kind)
    for name in losses_of(kind):
        assert keras.losses.get(name).__name__ == name


@pytest.mark.parametrize("name", ["mse", "MeanSquaredError", "mean_squared_error"])
def test_all_of_keras_spellings_are_one_loss(name):
    loss = named_loss(name, "regression", None)
    got = np.asarray(loss(np.array([[[1.0]]]), np.array([[[3.0]]])))
    np.testing.assert_allclose(got, [[4.0]])


def test_a_misspelt_loss_is_answered_with_the_nearest_that_fits():
    with pytest.raises(UnknownNameError, match=r"did you mean 'huber'\? .* These fit a regression task"):
        named_loss("hubber", "regression", None)


def test_a_loss_of_another_kind_is_refused_with_where_it_fits_and_what_fits_here():
    with pytest.raises(
        RecipeError, match=r"does not fit a multi_label task \(it fits regression\); take one of binary"
    ):
        named_loss("mse", "multi_label", None)
    with pytest.raises(RecipeError, match="does not fit a single_label task; take one of categorical_crossentropy"):
        named_loss("ctc", "single_label", None)
