from __future__ import annotations

import pytest

from edgetransfer.pipeline.search import Candidate, keep_budget

RANKED = [Candidate(f"op_{number}", cost) for number, cost in enumerate((5, 90, 1, 7, 3, 8, 2, 4))]


class Validation:
    """Accuracy 0.80, and so much more for each op that is kept; counts the heads that would be trained."""

    def __init__(self, gains: dict[str, float], plain: float = 0.80) -> None:
        self.gains, self.plain, self.asked = gains, plain, []

    def __call__(self, names: tuple[str, ...]) -> float:
        self.asked.append(names)
        return self.plain + sum(self.gains.get(name, 0.0) for name in names)


def search(validation, target, most=16, ranked=RANKED):
    return keep_budget(validation.plain, target, lambda: ranked, validation, most=most)


def test_a_recipe_that_holds_the_budget_is_left_alone_and_nothing_is_ranked():
    outcome = keep_budget(0.9, 0.9, lambda: pytest.fail("ranked for nothing"), lambda _: 0.0, most=16)
    assert (outcome.kept, outcome.evaluations, outcome.met) == ((), 1, True)


def test_the_noisiest_op_alone_is_kept_where_it_is_enough():
    outcome = search(Validation({"op_0": 0.1}), 0.88)
    assert (outcome.kept, outcome.evaluations) == (("op_0",), 2)


def test_the_fewest_of_the_noisiest_that_hold_are_found_by_halving():
    outcome = search(Validation({f"op_{number}": 0.02 for number in range(8)}), 0.90)
    assert outcome.kept == ("op_0", "op_1", "op_2", "op_3", "op_4")
    assert outcome.met


def test_the_costliest_op_is_given_up_where_the_budget_holds_without_it():
    """op_1 costs most and brings nothing: it was only in because of its rank."""
    outcome = search(Validation({"op_0": 0.03, "op_2": 0.03, "op_3": 0.03}), 0.88)
    assert set(outcome.kept) == {"op_0", "op_2", "op_3"}
    assert outcome.met


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9])
def test_no_more_heads_are_trained_than_allowed(most):
    validation = Validation({f"op_{number}": 0.01 for number in range(8)})
    outcome = search(validation, 0.87, most=most)
    assert outcome.evaluations <= most
    assert len(validation.asked) == outcome.evaluations - 1  # the plain recipe was scored before


def test_a_budget_that_cannot_be_met_is_told_with_the_nearest_that_was_found():
    outcome = search(Validation({"op_0": 0.02, "op_1": -0.05}), 0.95)
    assert not outcome.met
    assert (outcome.kept, outcome.value) == (("op_0",), pytest.approx(0.82))
    assert outcome.to_json()["met"] is False


def test_without_any_op_to_keep_the_budget_cannot_be_met():
    outcome = search(Validation({}), 0.9, ranked=[])
    assert (outcome.met, outcome.kept, outcome.evaluations) == (False, (), 1)
