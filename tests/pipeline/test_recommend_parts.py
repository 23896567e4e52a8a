from __future__ import annotations

from dataclasses import replace

import pytest

from edgetransfer.errors import UnknownNameError
from edgetransfer.models import backbones, weights
from edgetransfer.pipeline.recommend_candidates import Candidate, Space, input_sizes, list_candidates
from edgetransfer.pipeline.recommend_choice import Limits, choose, pareto_front
from edgetransfer.pipeline.recommend_judge import Cost, ImageTime, Judged
from edgetransfer.quantize.plan import make_plan
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.device import load_device
from edgetransfer.spec.recipe import RECIPES

# === What there is to choose among ===


def only(monkeypatch, *parts):
    """Have only the weights whose file names contain one of `parts`."""
    monkeypatch.setattr(weights, "find", lambda file: file.name if any(part in file.name for part in parts) else None)


def test_every_backbone_for_photos_is_a_candidate_or_is_listed_with_how_to_get_it(monkeypatch):
    only(monkeypatch, "lite0")
    candidates, left_out = list_candidates(Space(), load_device("raspberry_pi_4"))
    assert {one.choice.name for one in candidates} == {"efficientnet_lite0"}
    for_photos = {name for name in backbones.names() if backbones.get_spec(name).kind == "image"}
    assert {one.what for one in left_out} == for_photos - {"efficientnet_lite0"}
    assert all(one.kind == "weights" and f"weights fetch {one.what}" in one.reason for one in left_out)


def test_a_backbone_of_many_widths_brings_the_least_the_usual_and_the_greatest(monkeypatch):
    only(monkeypatch, "mobilenet_v2")
    candidates, left_out = list_candidates(Space(("mobilenet_v2",)), load_device("raspberry_pi_4"))
    assert {one.choice.alpha for one in candidates} == {0.35, 1.0, 1.4}
    assert {one.choice.input_px for one in candidates} == {160, 224, 288}
    assert [(one.what, one.kind) for one in left_out] == [("mobilenet_v2 alpha 0.5, 0.75, 1.3", "unasked")]


def test_widths_and_sizes_without_weights_are_listed(monkeypatch):
    only(monkeypatch, "1.0_224", "0.5_160")
    candidates, left_out = list_candidates(Space(("mobilenet_v2",)), None)
    assert {(one.choice.alpha, one.choice.input_px) for one in candidates} == {
        (1.0, 224), (1.0, 288), (0.5, 160),
    }  # fmt: skip  # 288 px have no file of their own: Keras' choice is that of 224
    assert ("mobilenet_v2 160 px", "weights") in [(one.what, one.kind) for one in left_out]
    assert any("1.0_160" in one.reason for one in left_out)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet_lite0", (224, 160, 288)),
        ("efficientnet_lite2", (260, 192, 352)),
        ("mobilenet_v2", (224, 160, 288)),
    ],
)
def test_sizes_are_the_usual_one_a_smaller_and_a_larger(name, expected):
    assert input_sizes(backbones.get_spec(name)) == expected


def recipes_for(device, **space):
    candidates, left_out = list_candidates(Space(("efficientnet_lite0",), **space), load_device(device))
    return {one.recipe: one.rank for one in candidates}, left_out


def test_the_recipes_are_those_that_the_device_runs_integers_first(monkeypatch):
    only(monkeypatch, "lite0")
    assert recipes_for("raspberry_pi_4") == ({"static_int8": 0, "float32": 1}, [])
    assert recipes_for("jetson_orin_nano", format="onnx")[0] == {"static_int8": 0, "float16": 1}


def test_what_does_not_fit_is_listed_with_the_reason(monkeypatch):
    only(monkeypatch, "lite0")
    found, left_out = recipes_for("st_stm32n6", recipes=("static_int8", "float32"))
    assert found == {}
    assert any(one.what == "recipe float32" and "does not run" in one.reason for one in left_out)
    assert sum(one.kind == "plan" and "has no room" in one.reason for one in left_out) == 3


def test_what_is_surely_over_the_limit_of_bytes_is_not_made(monkeypatch):
    only(monkeypatch, "lite0")
    candidates, left_out = list_candidates(Space(("efficientnet_lite0",)), None, 5_000_000)
    assert {one.recipe for one in candidates} == {"static_int8"}
    assert {one.kind for one in left_out} == {"limit"}
    assert all("over --max-bytes 5,000,000" in one.reason for one in left_out)


def test_a_misspelt_name_is_refused():
    with pytest.raises(UnknownNameError, match="efficientnet_lite0"):
        list_candidates(Space(("eficientnet_lite0",)), None)
    with pytest.raises(UnknownNameError, match="static_int8"):
        list_candidates(Space(("efficientnet_lite0",), recipes=("static_int",)), None)


# === The choice ===


def judged(name, accuracy, ms, *, megabytes=4.0, error=0.01, spread=(0.8, 1.25), macs=1, recipe="static_int8"):
    spec = backbones.get_spec("efficientnet_lite0")
    plan = replace(make_plan(spec, RECIPES[recipe]), backbone=name)
    time = None if ms is None else ImageTime(ms, ms * spread[0], ms * spread[1], 1, False, True, "predicted")
    cost = Cost(round(megabytes * 1e6), macs, time, "" if time else "no figures")
    candidate = Candidate(BackboneChoice(name), recipe, plan, macs, 0)
    return Judged(candidate, cost, 600, accuracy, error, (accuracy - 0.02, accuracy + 0.02), 0.5)


def test_the_front_is_what_no_other_beats_in_accuracy_time_and_bytes():
    a, b = judged("a", 0.90, 10), judged("b", 0.85, 5)
    worse, small = judged("worse", 0.84, 6), judged("small", 0.80, 10, megabytes=1)
    assert pareto_front([a, b, worse, small]) == (b, a, small)
    twins = [judged("one", 0.9, 10), judged("two", 0.9, 10)]
    assert pareto_front(twins) == tuple(twins)


def test_the_best_is_the_fastest_within_one_standard_error_of_the_most_accurate():
    top, near, far = judged("top", 0.900, 20), judged("near", 0.891, 8), judged("far", 0.88, 2)
    best, reason = choose([far, near, top], Limits())
    assert best is near
    assert "within one standard error (1.0 points) of the most accurate, top" in reason
    assert "8 ms" in reason
    assert "20 ms" in reason
    assert choose([far, top], Limits())[0] is top


def test_a_limit_leaves_only_what_is_expected_to_hold_it_and_doubts_are_told():
    slow, straddles, sure = judged("slow", 0.95, 20), judged("straddles", 0.90, 9), judged("sure", 0.80, 4)
    limits = Limits(max_latency_ms=10)
    assert [limits.verdict(one.cost) for one in (slow, straddles, sure)] == ["exceeds", "may exceed", "holds"]
    best, reason = choose([slow, straddles, sure], limits)
    assert best is straddles
    assert "may exceed 10 ms" in reason
    assert "sure 224 px static_int8 (80.0%) would not" in reason
    above = judged("above", 0.95, 11)  # its interval reaches below the limit, but not its middle
    assert limits.verdict(above.cost) == "may exceed"
    assert choose([above, sure], limits)[0] is sure
    none, reason = choose([above], limits)
    assert none is None
    assert "No candidate is expected to hold the limits; the nearest is above" in reason


def test_without_a_prediction_no_limit_of_time_is_said_to_hold():
    light, heavy = judged("light", 0.9, None, macs=10**8), judged("heavy", 0.9, None, macs=10**9)
    limits = Limits(max_latency_ms=10)
    assert limits.verdict(light.cost) == "not known"
    best, reason = choose([heavy, light], limits)
    assert best is light
    assert "whether an image stays within 10 ms is not known: no figures" in reason
    assert "100 M multiply-adds" in reason
    assert "within the limits" not in reason


def test_nothing_judged_is_no_best():
    assert choose([], Limits()) == (None, "No candidate could be judged.")
