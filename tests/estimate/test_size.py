from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.estimate import size
from edgetransfer.spec.backbone import BackboneSpec
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES, Recipe

# keras.applications, include_top=False, weights=None, 224 px: Model.count_params() of keras 3.15.1
MOBILENET_V2 = {0.35: 410_208, 0.5: 706_224, 0.75: 1_382_064, 1.0: 2_257_984, 1.3: 3_766_048, 1.4: 4_363_712}
MOBILENET_V3_SMALL = {0.75: 583_160, 1.0: 939_120}
MOBILENET_V3_LARGE = {0.75: 1_808_736, 1.0: 2_996_352}
INT4_STATIC = Recipe("mine", "int4", "int8", "per_channel", "")
WEIGHTS_ALONE = Recipe("mine", "int8", "float32", "per_channel", "")
# (parameters, recipe, bytes of the .tflite) with keras 3.15.1 and ai-edge-quantizer 0.10.0
FILES = [
    (2_257_984, RECIPES["float32"], 8_800_776),
    (2_257_984, RECIPES["float16"], 4_430_856),
    (2_257_984, RECIPES["dynamic_int8"], 2_437_368),
    (2_257_984, RECIPES["static_int8"], 2_699_976),
    (2_257_984, RECIPES["static_int8_per_tensor"], 2_291_920),
    (2_257_984, RECIPES["static_int16x8"], 2_768_200),
    (2_257_984, WEIGHTS_ALONE, 2_446_760),
    (939_120, RECIPES["float32"], 3_694_136),
    (939_120, RECIPES["float16"], 1_878_888),
    (939_120, RECIPES["dynamic_int8"], 1_066_632),
    (939_120, RECIPES["static_int8"], 1_194_480),
    (939_120, RECIPES["static_int8_per_tensor"], 988_056),
    (939_120, RECIPES["static_int16x8"], 1_235_808),
    (939_120, WEIGHTS_ALONE, 1_075_192),
    (2_257_984, RECIPES["weight_int4"], 1_479_928),
    (2_257_984, INT4_STATIC, 1_742_536),
    (939_120, RECIPES["weight_int4"], 680_712),
    (939_120, INT4_STATIC, 808_560),
]


def spec(parameters: int, alphas: tuple[float, ...] = (1.0,), macs: int = 300_000_000) -> BackboneSpec:
    return BackboneSpec(
        "net", "a net", 224, 32, (224,), alphas, Normalisation(1 / 127, 127), 1280, parameters, macs, "MIT", "", "", ""
    )


@pytest.mark.parametrize(("parameters", "recipe", "file_bytes"), FILES)
def test_file_sizes_are_on_the_high_side_by_less_than_a_seventh(
    parameters: int, recipe: Recipe, file_bytes: int
) -> None:
    guess = size.model_bytes(parameters, recipe)
    assert 1.0 <= guess / file_bytes < 8 / 7


def test_every_recipe_has_a_size_and_fewer_bits_take_fewer_bytes() -> None:
    sizes = {name: size.model_bytes(1_000_000, recipe) for name, recipe in RECIPES.items()}
    assert sizes["weight_int4"] < sizes["static_int8_per_tensor"] < sizes["static_int8"] < sizes["static_int16x8"]
    assert sizes["static_int16x8"] < sizes["float16"] < sizes["float32"]


@pytest.mark.parametrize("counts", [MOBILENET_V2, MOBILENET_V3_SMALL, MOBILENET_V3_LARGE])
def test_parameters_at_other_widths_are_within_a_seventh_and_never_far_below(counts: dict[float, int]) -> None:
    net = spec(counts[1.0], tuple(counts))
    for alpha, count in counts.items():
        assert 0.98 <= size.parameters(net, alpha) / count < 1.15, alpha


def test_the_default_width_is_one_unless_there_is_none() -> None:
    assert size.default_alpha(spec(1, (0.5, 1.0, 1.4))) == 1.0
    assert size.default_alpha(spec(1, (0.25,))) == 0.25
    assert size.default_alpha(spec(1, ())) == 1.0
    assert size.parameters(spec(1000, (0.25,)), 0.25) == 1000


@given(st.integers(32, 512), st.integers(32, 512))
def test_work_grows_with_the_area(small_px: int, large_px: int) -> None:
    net = spec(1000)
    assert size.macs(net, 1.0, 224) == net.macs
    assert size.macs(net, 1.0, 448) == 4 * net.macs
    ratio = size.macs(net, 1.0, large_px) / size.macs(net, 1.0, small_px)
    assert ratio == pytest.approx((large_px / small_px) ** 2, rel=1e-4)
