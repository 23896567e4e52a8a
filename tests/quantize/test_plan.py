from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.errors import BackboneError, DeviceError, EdgetransferError, RecipeError, UnknownNameError
from edgetransfer.quantize.plan import FORMAT_OF_ENGINE, PREFERENCE, make_plan, plan_as_text
from edgetransfer.spec.backbone import BackboneSpec
from edgetransfer.spec.device import Device, device_names, load_device
from edgetransfer.spec.device_file import ENGINES
from edgetransfer.spec.manifest import FORMATS
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Recipe, get_recipe

LITE0 = BackboneSpec(
    name="efficientnet_lite0",
    summary="",
    input_px=224,
    minimum_px=32,
    sizes_px=(224,),
    alphas=(1.0,),
    normalisation=Normalisation(1 / 127, 127),
    feature_size=1280,
    parameters=3_413_024,
    macs=385_000_000,
    licence="Apache-2.0",
    licence_url="",
    pretrained_on="ImageNet",
    source="",
)
MOBILE = dataclasses.replace(LITE0, name="mobilenet_v2", alphas=(0.35, 0.5, 0.75, 1.0, 1.4), parameters=2_257_984)
SMALL = dataclasses.replace(LITE0, name="mobilenet_v3_small", parameters=939_120)


def device_with(**changes: object) -> Device:
    return dataclasses.replace(load_device("raspberry_pi_4"), **changes)


def engine_with(**changes: object) -> Device:
    device = load_device("raspberry_pi_4")
    return dataclasses.replace(device, engines=(dataclasses.replace(device.engines[0], **changes),))


def test_with_nothing_named_the_plan_is_static_int8_on_litert_with_threads_left_open() -> None:
    plan = make_plan(LITE0)
    assert (plan.recipe.name, plan.engine, plan.format) == ("static_int8", "litert", "litert")
    assert (plan.device, plan.threads, plan.height_px, plan.width_px, plan.alpha) == (None, None, 224, 224, 1.0)
    assert any("No device is named" in note for note in plan.notes)


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_device_gets_a_plan_for_lite0(name: str) -> None:
    device = load_device(name)
    if device.is_microcontroller:
        with pytest.raises(DeviceError, match="has no room for efficientnet_lite0"):
            make_plan(LITE0, device=device)
    plan = make_plan(SMALL if device.is_microcontroller else LITE0, device=device)
    assert (plan.recipe.name, plan.engine, plan.device) == ("static_int8", device.engines[0].name, name)
    assert plan.threads == device.threads
    text = plan_as_text(plan)
    for item in device.accelerators:
        assert f"{item.name}) is not used: it needs {item.needs}." in text
    assert ("has no 8-bit dot-product instructions" in text) == (
        bool(device.clusters) and not device.has_dotprod and not device.is_microcontroller
    )
    assert ("What its cores are is not known" in text) == (not device.clusters)
    assert all(note.endswith(".") and ".." not in note for note in plan.notes)
    json.dumps(plan.to_json())


def test_what_the_caller_names_is_taken() -> None:
    plan = make_plan(
        MOBILE, RECIPES["float32"], load_device("raspberry_pi_5"), alpha=0.5, input_px=160, engine="litert"
    )
    assert (plan.recipe.name, plan.alpha, plan.height_px) == ("float32", 0.5, 160)
    assert plan.notes[0] == "Recipe float32 was asked for."
    assert "budget there is 64.0 MB" in plan.notes[1]


def test_a_recipe_that_the_engine_refuses_is_refused_with_the_reason_and_another_recipe() -> None:
    device = engine_with(recipes=("float32", "float16"), refused=(("static_int8", "its kernels are broken"),))
    with pytest.raises(RecipeError) as caught:
        make_plan(LITE0, RECIPES["static_int8"], device)
    message = str(caught.value)
    assert "device 'raspberry_pi_4' does not run recipe 'static_int8' (litert: its kernels are broken)" in message
    assert "try recipe 'float32' or 'float16'" in message


def test_a_recipe_that_the_file_does_not_list_is_refused() -> None:
    with pytest.raises(RecipeError, match="its device file lists only float32"):
        make_plan(LITE0, RECIPES["static_int8"], engine_with(recipes=("float32",)))


def test_a_recipe_that_nobody_named_is_chosen_and_the_note_says_why_not_the_better_one() -> None:
    device = engine_with(recipes=("float32",), refused=(("static_int8", "its kernels are broken"),))
    plan = make_plan(LITE0, device=device)
    assert plan.recipe.name == "float32"
    assert "does not run recipe 'static_int8' (litert: its kernels are broken)" in plan.notes[0]


def test_a_model_larger_than_the_budget_is_refused_and_recipes_that_fit_are_named() -> None:
    with pytest.raises(DeviceError) as caught:
        make_plan(LITE0, RECIPES["float32"], device_with(max_model_bytes=5_000_000))
    message = str(caught.value)
    assert "efficientnet_lite0 at alpha 1 as float32: about 13.7 MB" in message
    assert "(advice.max_model_bytes) is 5.0 MB" in message
    assert "recipe 'static_int8' (4.4 MB)" in message


def test_a_model_that_no_recipe_makes_small_enough_names_narrower_and_other_backbones() -> None:
    tight = device_with(max_model_bytes=1_300_000)
    with pytest.raises(DeviceError, match=r"try alpha 0\.5 or backbone 'mobilenet_v3_small'$"):
        make_plan(MOBILE, None, tight, alpha=1.0, alternatives=(LITE0, MOBILE, SMALL))
    with pytest.raises(DeviceError, match="try a smaller backbone, or a copy of the file with a larger budget"):
        make_plan(LITE0, None, device_with(max_model_bytes=1000), alternatives=(SMALL,))


def test_the_smallest_recipe_is_chosen_when_only_it_fits() -> None:
    only = load_device("raspberry_pi_4").engines[0]
    engines = (dataclasses.replace(only, recipes=("static_int8", "float32", "dynamic_int8")),)
    plan = make_plan(LITE0, device=device_with(max_model_bytes=4_000_000, engines=engines))
    assert plan.recipe.name == "dynamic_int8"
    assert "has no room for static_int8 (4.4 MB)" in plan.notes[0]
    assert any("dynamic_int8 can be slower than float32" in note for note in plan.notes)


def test_misspelt_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'static_int8'"):
        get_recipe("statc_int8")
    with pytest.raises(UnknownNameError, match="did you mean 'litert'"):
        make_plan(LITE0, engine="litrt")


def test_a_format_that_nothing_writes_is_refused() -> None:
    with pytest.raises(RecipeError, match="writes the format litert, onnx, tflm, not 'onxx'"):
        make_plan(LITE0, format="onxx")
    with pytest.raises(RecipeError, match="engine 'litert' opens the format 'litert', not 'onnx'"):
        make_plan(LITE0, engine="litert", format="onnx")


def test_a_device_without_an_engine_that_opens_our_formats_is_refused() -> None:
    onnx_only = device_with(engines=load_device("raspberry_pi_4").engines[1:])
    with pytest.raises(DeviceError, match="has no engine for the format litert: it lists onnx"):
        make_plan(LITE0, device=onnx_only, format="litert")
    with pytest.raises(DeviceError, match="has no engine 'litert'"):
        make_plan(LITE0, device=onnx_only, engine="litert")


def test_a_width_or_size_that_the_backbone_lacks_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"expected an alpha of 0\.35, 0\.5, 0\.75, 1, 1\.4, got 0\.6"):
        make_plan(MOBILE, alpha=0.6)
    with pytest.raises(BackboneError, match="at least 32 px, got 16"):
        make_plan(LITE0, input_px=16)


def test_a_32_bit_device_is_told_about_tflite_runtime() -> None:
    text = plan_as_text(make_plan(LITE0, device=load_device("rockchip_rv1126")))
    assert "The engine litert comes there from tflite-runtime, for " in text
    assert "numpy below 2" in text
    assert "Compare static_int8 with float32 there." in text


def test_a_latency_target_is_named_with_what_would_check_it() -> None:
    assert any(
        "target is 40 ms" in n and "edgetransfer profile" in n
        for n in make_plan(LITE0, device=device_with(max_latency_ms=40.0)).notes
    )


def test_threads_that_differ_from_the_big_cores_are_said_so() -> None:
    assert any("1 thread is advised, of 4 cores." in n for n in make_plan(LITE0, device=device_with(threads=1)).notes)


def test_every_recipe_and_engine_has_its_place() -> None:
    assert set(PREFERENCE) == set(RECIPES) - {"static_int16x8", "weight_int4"}  # those are asked for or not at all
    assert tuple(FORMAT_OF_ENGINE) == ENGINES
    assert set(FORMATS) <= set(FORMAT_OF_ENGINE.values())


def test_text_shows_every_choice() -> None:
    text = plan_as_text(make_plan(MOBILE, RECIPES["float16"], load_device("pixel_8"), alpha=0.75))
    for part in ("mobilenet_v2, alpha 0.75", "224 x 224 px", "float16", "litert", "pixel_8", "threads   5"):
        assert part in text
    assert "the weights become float32" in text


def test_planning_loads_neither_keras_nor_an_engine() -> None:
    code = (
        "import sys, edgetransfer.quantize.plan, edgetransfer.spec.device as d; d.load_device('raspberry_pi_4')\n"
        "heavy = {'keras', 'tensorflow', 'ai_edge_litert', 'ai_edge_quantizer', 'onnxruntime', 'click', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(
    st.sampled_from([None, *RECIPES.values()]),
    st.sampled_from([None, *device_names()]),
    st.sampled_from(MOBILE.alphas),
    st.integers(10**5, 10**8),
)
def test_a_named_recipe_is_kept_or_refused_never_replaced(
    recipe: Recipe | None, slug: str | None, alpha: float, budget: int
) -> None:
    device = None if slug is None else dataclasses.replace(load_device(slug), max_model_bytes=budget)
    try:
        plan = make_plan(MOBILE, recipe, device, alpha=alpha)
    except EdgetransferError as error:
        assert device is not None
        assert "try" in str(error)  # noqa: PT017
    else:
        assert recipe is None or (recipe.name, recipe.weights) == (plan.recipe.name, plan.recipe.weights)
        assert plan.alpha == alpha
        assert plan.device == slug


def test_onnx_activations_are_unsigned_but_where_tensorrt_computes() -> None:
    plain = make_plan(LITE0, format="onnx")
    assert (plan_as_text(plain).count("engine    onnx"), plain.recipe.activations) == (1, "uint8")
    jetson = make_plan(LITE0, device=load_device("jetson_orin_nano"), format="onnx")
    assert (jetson.providers, jetson.recipe.activations) == (("tensorrt", "cuda", "cpu"), "int8")
    assert "engine    onnx on tensorrt, cuda, cpu" in plan_as_text(jetson)


def test_a_recipe_of_ones_own_runs_where_a_known_one_of_its_dtypes_does() -> None:
    own = dataclasses.replace(RECIPES["static_int8"], name="mine", weight_ranges="mse")
    assert make_plan(LITE0, own, load_device("raspberry_pi_4")).recipe == own
    with pytest.raises(RecipeError, match="does not run recipe 'mine'"):
        make_plan(LITE0, own, engine_with(recipes=("float32",)))


def test_a_recipe_that_the_format_cannot_carry_out_is_refused_with_the_reason() -> None:
    with pytest.raises(RecipeError, match=r"does not run recipe 'static_int16x8' \(onnx: "):
        make_plan(LITE0, RECIPES["static_int16x8"], format="onnx")


def notes_of(recipe: str, slug: str, backbone: BackboneSpec = LITE0) -> str:
    return "\n".join(make_plan(backbone, RECIPES[recipe], load_device(slug)).notes)


def test_an_accelerator_that_would_refuse_the_recipe_is_named_with_the_way_out() -> None:
    text = notes_of("static_int8", "st_stm32mp25")
    assert "would not take static_int8: " in text
    assert "; build for it with recipe static_int8_per_tensor." in text
    assert "would not take" not in notes_of("static_int8_per_tensor", "st_stm32mp25")
    assert "would not take" not in notes_of("static_int8", "raspberry_pi_4_coral")
    refused = dict(load_device("iphone_15_pro").accelerators[0].refused)
    assert f"would not take static_int8: {refused['static_int8']}." in notes_of("static_int8", "iphone_15_pro")
    assert "would not take" not in notes_of("float32", "iphone_15_pro")


def test_a_plan_says_how_models_get_to_the_accelerator_and_what_stays_on_the_cpu() -> None:
    text = notes_of("static_int8", "raspberry_pi_4_coral")
    assert "Models get there through edgetpu." in text
    assert "from the first op that it lacks on, the CPU computes the rest." in text
    assert "keeps 8.0 MB of weights" not in text
    device = dataclasses.replace(load_device("raspberry_pi_4_coral"), max_model_bytes=20_000_000)
    large = make_plan(dataclasses.replace(LITE0, parameters=10_000_000), device=device)
    assert any("keeps 8.0 MB of weights: what is above is sent again" in note for note in large.notes)


def test_a_microcontroller_is_told_about_its_one_core() -> None:
    text = notes_of("static_int8", "esp32_s3", SMALL)
    assert "TensorFlow Lite Micro computes on one core; it has 2." in text
    assert "edgetransfer profile" not in text
