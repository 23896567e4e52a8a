from __future__ import annotations

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from edgetransfer.errors import ExportError
from edgetransfer.export._tflm_source import Facts, header, namespace, reserved_arena_bytes, source
from edgetransfer.spec.tensor import Quantization, TensorSpec

LABELS = ('Glas, "grün"', "what??/", "back\\slash %s", "垃圾")
FACTS = Facts(
    name="3. Müll camera",
    labels=LABELS,
    input_shape=(96, 64, 3),
    output=TensorSpec("logits", (1, 4), "int8", Quantization(0.1, -7)),
    temperature=1.3,
    arena_bytes=84816,
    ops=("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "PADV2", "QUANTIZE"),
    model_bytes=1000,
)
MODEL = np.random.default_rng(1).integers(0, 256, 1000, np.uint8).tobytes()

# Writes the model's bytes and, after them, what the header says.
DUMP = """
#include <cstdio>
#include "model.h"
namespace m = m3_m_ll_camera_model;
struct Resolver {
  int added = 0;
  int AddAdd() { return ++added, 0; }
  int AddConv2D(int standard = 0) { return ++added, standard; }
  int AddDepthwiseConv2D() { return ++added, 0; }
  int AddMean() { return ++added, 0; }
  int AddPadV2() { return ++added, 0; }
  int AddQuantize() { return ++added, full; }
  int full = 0;
};
int main() {
  std::fwrite(m::kModel, 1, m::kModelBytes, stdout);
  for (const char* label : m::kLabels) std::puts(label);
  Resolver roomy, full;
  full.full = 1;
  bool fits = m::AddOps(roomy), crowded = m::AddOps(full);
  std::printf("%d %d %d %zu %d %.9g %d %.9g %zu\\n", m::kHeightPx, m::kWidthPx, m::kChannels, m::kInputBytes,
              m::kClasses, m::kOutputScale, m::kOutputZeroPoint, m::kTemperature, m::kArenaBytes);
  std::printf("%u %d %d %d %d\\n", m::kOps, roomy.added, fits, crowded,
              static_cast<int>(reinterpret_cast<std::uintptr_t>(m::kModel) % 16));
}
"""


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("g++")
    if found is None:
        pytest.skip("needs g++")
    return [found, "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.mark.parametrize("standard", ["c++11", "c++17", "c++20"])
def test_the_compiled_array_is_the_model_and_the_header_tells_the_facts(compiler, standard, tmp_path):
    (tmp_path / "model.h").write_bytes(header(FACTS))
    (tmp_path / "model.cc").write_bytes(source(FACTS, MODEL))
    (tmp_path / "dump.cc").write_text(DUMP)
    subprocess.run([*compiler, f"-std={standard}", "dump.cc", "model.cc", "-o", "dump"], cwd=tmp_path, check=True)
    told = subprocess.run([tmp_path / "dump"], capture_output=True, check=True).stdout
    assert told[: len(MODEL)] == MODEL
    *labels, numbers, ops = told[len(MODEL) :].decode().splitlines()
    assert tuple(labels) == LABELS
    height, width, channels, size, classes, scale, zero_point, temperature, arena = numbers.split()
    assert (height, width, channels, size, classes) == ("96", "64", "3", str(96 * 64 * 3), "4")
    assert (np.float32(scale), zero_point) == (np.float32(0.1), "-7")
    assert (np.float32(temperature), int(arena)) == (np.float32(1.3), 96256)
    assert ops == "6 6 1 0 0"


def test_an_array_of_another_model_does_not_compile_with_the_header(compiler, tmp_path):
    (tmp_path / "model.h").write_bytes(header(FACTS))
    (tmp_path / "model.cc").write_bytes(source(FACTS, MODEL[:-1]))
    done = subprocess.run([*compiler, "-std=c++17", "-c", "model.cc"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode != 0
    assert b"model.h is of another model" in done.stderr


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("waste", "waste_model"),
        ("Waste-Camera v2", "waste_camera_v2_model"),
        ("2024", "m2024_model"),
        ("class", "class_model"),
        ("__linux__", "linux_model"),
        ("垃圾", "model"),
    ],
)
def test_every_bundle_name_gives_an_identifier(name, expected):
    assert namespace(name) == expected


def test_the_arena_has_an_eighth_to_spare_and_is_whole_kilobytes():
    assert reserved_arena_bytes(8192) == 9216
    assert reserved_arena_bytes(8193) == 10240


def test_a_float_output_is_refused():
    facts = dataclasses.replace(FACTS, output=TensorSpec("scores", (1, 4), "float32"))
    with pytest.raises(ExportError, match="output 'scores': expected int8 logits with a scale, got float32"):
        header(facts)
