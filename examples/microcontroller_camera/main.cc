// Says what a camera sees, with TensorFlow Lite Micro. README.md tells what to put beside it.
#include <cmath>
#include <cstring>

#include "model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace model = waste_model;  // as model.h has it: the bundle's name and "_model"

const std::uint8_t* CaptureFrame();  // the board's: the next kInputBytes of RGB pixels, nullptr to stop

alignas(16) static std::uint8_t arena[model::kArenaBytes];

int main() {
  tflite::InitializeTarget();
  tflite::MicroMutableOpResolver<model::kOps> resolver;
  if (!model::AddOps(resolver)) return 1;
  tflite::MicroInterpreter interpreter(tflite::GetModel(model::kModel), resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
  MicroPrintf("arena: %d of %d bytes", int(interpreter.arena_used_bytes()), int(sizeof(arena)));
  while (const std::uint8_t* frame = CaptureFrame()) {
    std::memcpy(interpreter.input(0)->data.uint8, frame, model::kInputBytes);
    if (interpreter.Invoke() != kTfLiteOk) return 1;
    const std::int8_t* stored = interpreter.output(0)->data.int8;
    int best = 0;
    for (int i = 1; i < model::kClasses; ++i) {
      if (stored[i] > stored[best]) best = i;
    }
    float sum = 0;  // of the softmax, relative to the best
    for (int i = 0; i < model::kClasses; ++i) {
      sum += std::exp((stored[i] - stored[best]) * model::kOutputScale / model::kTemperature);
    }
    MicroPrintf("%s %d %%", model::kLabels[best], int(100 / sum + 0.5f));
  }
  return 0;
}
