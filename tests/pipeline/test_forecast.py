from __future__ import annotations

from dataclasses import replace

import pytest

from edgetransfer.estimate.latency import Prediction
from edgetransfer.models import backbones
from edgetransfer.pipeline.forecast import budget_words, forecast_plan, why_unknown
from edgetransfer.quantize.plan import make_plan
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.device import load_device

TEN = Prediction(10.0, 8.0, 13.0, 4, "LiteRT", validated=True, words="validated")
JETSON = load_device("jetson_orin_nano")


def test_figures_of_a_cpu_tell_nothing_of_another_processor():
    assert JETSON.speeds
    assert why_unknown(JETSON, ("tensorrt", "cuda", "cpu")) == "no figures are known of tensorrt on jetson_orin_nano"
    assert why_unknown(JETSON, ("cpu",)) == why_unknown(JETSON, ()) == ""
    assert "no figures of its CPU to predict it from" in why_unknown(replace(JETSON, speeds=()), ())


def test_a_plan_for_a_gpu_is_given_no_time():
    plan = make_plan(backbones.get_spec("efficientnet_lite0"), None, JETSON, format="onnx")
    assert plan.providers[0] == "tensorrt"
    assert forecast_plan(plan, BackboneChoice("efficientnet_lite0"), JETSON) is None


@pytest.mark.parametrize(
    ("target_ms", "words"),
    [(None, ""), (13.0, "within the target of 13 ms"), (9.0, "may exceed the target"), (7.0, "above the target")],
)
def test_the_interval_not_the_middle_is_held_against_the_target(target_ms, words):
    found = budget_words(TEN, target_ms)
    assert words in found
    assert bool(found) == bool(words)
