from __future__ import annotations

from dataclasses import replace

import pytest

from edgetransfer.estimate.op import Op
from edgetransfer.export import OpFact
from edgetransfer.pipeline.placement import left_to_cpu, placements, placements_as_text
from edgetransfer.spec.device import Accelerator, load_device
from edgetransfer.spec.recipe import RECIPES

CORAL = load_device("coral_dev_board")
EDGE_TPU = CORAL.accelerators[0]
COSTS = [Op("conv", 100_000_000, 100_000, 10_000, 100_000, "int8", channels_in=64, channels_out=64)]


def graph(*kinds: str, computes: str = "int8") -> list[OpFact]:
    return [OpFact(kind, f"op_{number}", 100, computes) for number, kind in enumerate(kinds)]


def placed(ops, recipe="static_int8", device=CORAL, costs=COSTS, format="litert"):
    return placements(ops, costs, device, RECIPES[recipe], format, "litert")


def test_ops_that_only_convert_at_the_ends_are_nobodys_loss():
    ops = [replace(one, edge=True) for one in graph("CAST")] + graph("CONV_2D")
    assert left_to_cpu(ops, EDGE_TPU) == ((), 0.0)


def test_an_accelerator_of_one_part_leaves_all_that_follows_the_first_op_that_it_lacks():
    ops = graph("CONV_2D", "HARD_SWISH", "CONV_2D", "CONV_2D")
    assert left_to_cpu(ops, EDGE_TPU) == (("HARD_SWISH (int8)", "all that follows"), 0.75)
    assert left_to_cpu(ops, replace(EDGE_TPU, whole_graph=False)) == (("HARD_SWISH (int8)",), 0.25)


def test_floats_are_left_by_an_accelerator_of_integers():
    assert left_to_cpu(graph("CONV_2D", computes="float32"), EDGE_TPU) == (("CONV_2D (float32)",), 1.0)


def test_a_graph_that_it_takes_whole_is_given_its_time_and_no_other():
    (taken,) = placed(graph("CONV_2D"))
    assert taken.predicted is not None
    assert taken.predicted.processor == "Edge TPU"
    assert taken.predicted.low_ms < taken.predicted.ms < taken.predicted.high_ms
    assert "takes every op" in taken.as_text()
    assert "on Edge TPU" in taken.as_text()
    (part,) = placed(graph("CONV_2D", "HARD_SWISH"))
    assert part.predicted is None
    assert "would leave HARD_SWISH (int8) to the CPU, 50.0% of the compute" in part.as_text()
    assert part.to_json()["cpu_share"] == 0.5


def test_a_recipe_that_it_refuses_is_said_with_the_reason():
    (core_ml,) = placed(graph("CONV_2D"), device=load_device("iphone_15_pro"))
    assert "takes float32 and float16 models only" in core_ml.as_text()
    assert core_ml.share is None
    assert core_ml.predicted is None


def test_ops_of_another_format_are_not_held_against_names_of_litert():
    (unknown,) = placed(graph("Conv"), format="onnx")
    assert unknown.share is None
    assert unknown.left == ()


def test_an_accelerator_of_half_floats_is_predicted_in_half_floats():
    phone = load_device("galaxy_s24")
    floats = [replace(one, precision="float32") for one in COSTS]
    npu = placed(graph("CONV_2D", computes="float32"), "float32", phone, floats)[0]
    assert npu.predicted is not None
    assert npu.predicted.unknown == ()
    assert npu.predicted.runtime == "LiteRT with QNN"
    assert npu.predicted.validated


def test_an_accelerator_without_figures_is_given_no_time():
    bare = Accelerator("NPU", "npu", None, (), "a compiler", ())
    (found,) = placed(graph("CONV_2D"), device=replace(CORAL, accelerators=(bare,)))
    assert found.predicted is None
    assert found.as_text() == "NPU: which ops it takes is not published"
    assert placements_as_text([found], "or there ") == []
    assert len(placements_as_text(placed(graph("CONV_2D")), "or there ")) == 1


@pytest.mark.parametrize("slug", ["coral_dev_board", "galaxy_s24", "qualcomm_sa8295p"])
def test_figures_of_an_accelerator_are_never_taken_for_the_cpus(slug):
    device = load_device(slug)
    names = {one.name for one in device.accelerators}
    assert {speed.processor for speed in device.speeds} - {"cpu"} <= names
    assert {speed.processor for speed in device.speeds} & names
