"""The firmware example, compiled and run with a real bundle's files against declarations of TensorFlow Lite Micro.

Its sources are in no package that pip or apt installs, so STUBS declares what main.cc uses, with the signatures of
the headers it includes. What is shown is that model.h, model.cc and main.cc fit each other and that main.cc reads
outputs rightly; that the model runs in TensorFlow Lite Micro is shown in tests/export/test_tflm.py.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite_micro", reason="there are wheels for Linux on x86-64 only")

from edgetransfer.export import Card, tflm
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import ImageInput

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "microcontroller_camera"

# A stand-in interpreter: it keeps what it is given and answers with ANSWER, three int8 logits.
STUBS = {
    "tensorflow/lite/schema/schema_generated.h": """
#pragma once
namespace tflite { struct Model {}; const Model* GetModel(const void* content); }
""",
    "tensorflow/lite/micro/micro_log.h": "#pragma once\nvoid MicroPrintf(const char* format, ...);\n",
    "tensorflow/lite/micro/system_setup.h": "#pragma once\nnamespace tflite { void InitializeTarget(); }\n",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """
#pragma once
#include "tensorflow/lite/micro/micro_interpreter.h"
namespace tflite {
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  TfLiteStatus AddAveragePool2D() { return Add(); }
  TfLiteStatus AddFullyConnected() { return Add(); }
  TfLiteStatus AddQuantize() { return Add(); }
  TfLiteStatus AddReshape() { return Add(); }
 private:
  TfLiteStatus Add() { return ++added_ <= tOpCount ? kTfLiteOk : kTfLiteError; }
  unsigned int added_ = 0;
};
}
""",
    "tensorflow/lite/micro/micro_interpreter.h": """
#pragma once
#include <cstddef>
#include <cstdint>
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
union TfLitePtrUnion { std::uint8_t* uint8; std::int8_t* int8; };
struct TfLiteTensor { TfLitePtrUnion data; };
namespace tflite {
struct Model;
class MicroOpResolver {};
class MicroInterpreter {
 public:
  MicroInterpreter(const Model*, const MicroOpResolver&, std::uint8_t* tensor_arena, std::size_t tensor_arena_size);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(std::size_t index);
  TfLiteTensor* output(std::size_t index);
  std::size_t arena_used_bytes() const;
};
}
""",
}
BOARD = """
#include <cstdarg>
#include <cstdio>
#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/schema/schema_generated.h"
static std::uint8_t frames[2][waste_model::kInputBytes], pixels[waste_model::kInputBytes];
static std::int8_t logits[] = {ANSWER};
static TfLiteTensor given, made;
static std::size_t size = 0;
void MicroPrintf(const char* format, ...) {
  va_list args; va_start(args, format); std::vprintf(format, args); va_end(args); std::puts("");
}
const std::uint8_t* CaptureFrame() { static int taken = 0; return taken < 2 ? frames[taken++] : nullptr; }
namespace tflite {
void InitializeTarget() { frames[1][waste_model::kInputBytes - 1] = 200; }
const Model* GetModel(const void*) { static Model model; return &model; }
MicroInterpreter::MicroInterpreter(const Model*, const MicroOpResolver&, std::uint8_t*, std::size_t n) { size = n; }
TfLiteStatus MicroInterpreter::AllocateTensors() { return kTfLiteOk; }
TfLiteStatus MicroInterpreter::Invoke() {
  std::printf("last pixel %d\\n", pixels[waste_model::kInputBytes - 1]);
  return kTfLiteOk;
}
TfLiteTensor* MicroInterpreter::input(std::size_t) { given.data.uint8 = pixels; return &given; }
TfLiteTensor* MicroInterpreter::output(std::size_t) { made.data.int8 = logits; return &made; }
std::size_t MicroInterpreter::arena_used_bytes() const { return size - 1; }
}
"""


@pytest.fixture(scope="module")
def model(tiny_bundle):
    card = Card("waste", tiny_bundle.LABELS, "Apache-2.0", ImageInput(16, 16), scores=False)
    return tflm.finish(tiny_bundle.model_content(), card)


def test_main_cc_compiles_against_declared_stubs_and_prints_the_label_and_score_of_the_largest_output(model, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    engine = open_engine("tflm", model)
    answer = np.array([[-20, 31, 12]], np.int8)
    for name, content in (tflm.extra_files(model, "waste", temperature=2.0)).items():
        (tmp_path / name).write_bytes(content)
    for name, text in {**STUBS, "board.cc": BOARD.replace("ANSWER", ", ".join(map(str, answer[0])))}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    shutil.copy(EXAMPLE / "main.cc", tmp_path)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-rtti", "-I."]
    subprocess.run([compiler, *flags, "main.cc", "model.cc", "board.cc", "-o", "camera"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "camera"], capture_output=True, text=True, check=True)

    logits = engine.output.to_real(answer)[0] / 2.0
    score = round(100 * float(np.exp(logits[1]) / np.exp(logits).sum()))
    assert 50 < score < 95
    arena = int(done.stdout.split(" of ")[1].split()[0])
    assert arena >= tflm.arena_bytes(model)
    assert done.stdout.splitlines() == [
        f"arena: {arena - 1} of {arena} bytes",
        "last pixel 0",
        f"green {score} %",
        "last pixel 200",
        f"green {score} %",
    ]
