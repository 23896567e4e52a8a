from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import RecipeError, UnknownNameError
from edgetransfer.train.optimizers import RATES, make_optimizer
from edgetransfer.train.search import HeadOptions


@pytest.mark.parametrize("name", sorted(RATES))
def test_every_optimizer_starts_at_the_rate_that_suits_it_and_ends_at_none(name):
    optimizer = make_optimizer(HeadOptions(optimizer=name, epochs=10), 5)
    assert type(optimizer).__name__.lower() == name
    schedule = optimizer._learning_rate
    assert float(schedule(0)) == pytest.approx(RATES[name])
    assert float(schedule(50)) == pytest.approx(0, abs=1e-7)


def test_a_rate_that_is_asked_for_is_taken():
    assert float(make_optimizer(HeadOptions(learning_rate=0.5), 1)._learning_rate(0)) == pytest.approx(0.5)


def test_a_misspelt_optimizer_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'rmsprop'"):
        make_optimizer(HeadOptions(optimizer="rmsprob"), 1)


@pytest.mark.parametrize("name", ["muon", "adafactor"])
def test_an_optimizer_that_mixes_candidates_is_refused(name):
    with pytest.raises(RecipeError, match="mixes what candidates trained side by side learn"):
        make_optimizer(HeadOptions(optimizer=name), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RATES))
def test_every_optimizer_trains_each_candidate_as_it_would_alone_and_trains_it_well(name):
    from edgetransfer.spec.dense import apply_head
    from edgetransfer.train.fit import fit

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 240)
    centres = 0.5 * rng.normal(size=(3, 300))  # many features that each tell a little, as a backbone's
    features = (rng.normal(size=(240, 300)) + centres[labels]).astype(np.float32)
    data = features[:160], labels[:160]
    val = features[160:], labels[160:]
    options = {"hidden": (0,), "dropouts": (0.0,), "epochs": 20, "patience": 20, "optimizer": name}
    both = fit(data, val, 3, HeadOptions(weight_decays=(1e-4, 1.0), **options))
    alone = fit(data, val, 3, HeadOptions(weight_decays=(1e-4,), **options))
    assert both.candidates[0]["val_loss"] == pytest.approx(alone.candidates[0]["val_loss"], rel=1e-3)
    assert (apply_head(alone.head, val[0]).argmax(axis=1) == val[1]).mean() > 0.8
