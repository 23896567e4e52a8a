from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from edgetransfer.quantize.support import slower_than_float, why_not
from edgetransfer.spec.manifest import FORMATS
from edgetransfer.spec.recipe import RECIPES, Override

CARRIED_OUT = {
    "litert": set(RECIPES),
    "onnx": {"float32", "float16", "static_int8", "static_int8_per_tensor"},
    "tflm": {"static_int8", "static_int8_per_tensor"},
}
SLOW = {"dynamic_int8", "static_int16x8", "weight_int4"}


def changed(name, **fields):
    return dataclasses.replace(RECIPES[name], name="mine", **fields)


def test_every_format_has_its_row():
    assert set(CARRIED_OUT) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("format", sorted(CARRIED_OUT))
def test_every_recipe_works_in_a_format_or_has_a_reason(format, name):
    reason = why_not(format, RECIPES[name])
    assert (reason is None) == (name in CARRIED_OUT[format])
    assert reason is None or len(reason) > 30


@pytest.mark.parametrize(
    ("format", "fields", "reason"),
    [
        ("litert", {"weights": "float32"}, "int8 activations need integer weights"),
        ("litert", {"activations": "uint8"}, "not uint8"),
        ("litert", {"granularity": "-"}, "need a granularity"),
        ("onnx", {"weights": "int4"}, "no convolution with int4 weights"),
        ("onnx", {"activations": "int16"}, "no convolution with int16 activations"),
        ("onnx", {"overrides": (Override("stem", "int8", "uint8"),)}, "override 'stem': in ONNX an op is as the whole"),
        ("onnx", {"activations": "float32"}, "stored as float16"),
        ("tflm", {"overrides": (Override("stem", "float32", "float32"),)}, "every op of a microcontroller"),
        ("litert", {"overrides": (Override("stem", "float16", "int8"),)}, "override 'stem': int8 activations need"),
    ],
)
def test_what_a_format_cannot_do_is_said(format, fields, reason):
    assert reason in why_not(format, changed("static_int8", **fields))


@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_ops_kept_in_floats_are_no_obstacle(format):
    assert why_not(format, changed("static_int8", overrides=(Override("stem", "float32", "float32"),))) is None


def test_slow_recipes_are_named_with_what_was_measured():
    for name, recipe in RECIPES.items():
        warning = slower_than_float("litert", recipe)
        assert (warning is not None) == (name in SLOW)
        assert warning is None or (warning.startswith(f"{name} ") and "times as long" in warning)
        assert slower_than_float("onnx", recipe) is None


def test_one_slow_override_is_enough_for_a_warning():
    recipe = changed("static_int8", overrides=(Override("stem", "int8", "int16"),))
    assert "reference kernels" in slower_than_float("litert", recipe)


def test_asking_loads_no_vendor():
    code = (
        "import sys, edgetransfer.quantize.support\n"
        "print(sorted({'keras', 'tensorflow', 'ai_edge_litert', 'ai_edge_quantizer', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
