"""Writes a model as C++ source: an array, and a header with what firmware needs to run it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from edgetransfer.errors import ExportError
from edgetransfer.spec.tensor import TensorSpec

ARENA_MARGIN = 1 / 8  # for the scratch memory of a vendor's kernels, which the reference kernels do without
_ARENA_ROUNDED_TO = 1024
_BYTES_A_LINE = 20
_IRREGULAR = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
"""Methods of MicroMutableOpResolver that are not named as the rule in `_method` would have it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header tells.

    `output` is the tensor of the logits, `arena_bytes` what was measured, `ops` the names of all ops, each once.
    """

    name: str
    labels: tuple[str, ...]
    input_shape: tuple[int, ...]
    output: TensorSpec
    temperature: float
    arena_bytes: int
    ops: tuple[str, ...]
    model_bytes: int


def namespace(name: str) -> str:
    """Return a C++ identifier for any bundle's name; its ending keeps it clear of keywords, macros and `tflite`."""
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "_".join(words).lower()
    return ("m" if joined[:1].isdigit() else "") + joined + ("_model" if joined else "model")


def reserved_arena_bytes(arena_bytes: int) -> int:
    """Return the arena that the header asks for: what was measured, the margin, rounded up."""
    wanted = arena_bytes * (1 + ARENA_MARGIN)
    return int(-(-wanted // _ARENA_ROUNDED_TO) * _ARENA_ROUNDED_TO)


def header(facts: Facts) -> bytes:
    """Return the content of model.h, ASCII.

    Raises:
        ExportError: the output is no int8 tensor.
    """
    if facts.output.quantization is None or facts.output.dtype != "int8":
        raise ExportError(f"output {facts.output.name!r}: expected int8 logits with a scale, got {facts.output.dtype}")
    space = namespace(facts.name)
    height, width, channels = facts.input_shape
    text = _HEADER.format(
        guard=f"EDGETRANSFER_{space.upper()}_H_",
        space=space,
        model_bytes=facts.model_bytes,
        height=height,
        width=width,
        channels=channels,
        classes=len(facts.labels),
        labels="\n".join(f"    {_literal(label)}," for label in facts.labels),
        scale=_float(facts.output.quantization.scale),
        zero_point=facts.output.quantization.zero_point,
        temperature=_float(facts.temperature),
        measured=facts.arena_bytes,
        arena=reserved_arena_bytes(facts.arena_bytes),
        ops=len(facts.ops),
        adds=" &&\n         ".join(f"resolver.{_method(op)}() == 0" for op in facts.ops),
    )
    return text.encode("ascii")


def source(facts: Facts, model: bytes) -> bytes:
    """Return the content of model.cc, ASCII."""
    rows = range(0, len(model), _BYTES_A_LINE)
    lines = ["".join(f"{byte}," for byte in model[start : start + _BYTES_A_LINE]) for start in rows]
    return _SOURCE.format(space=namespace(facts.name), lines="\n".join(lines)).encode("ascii")


def _method(op: str) -> str:
    """Return the resolver's method that registers `op`: AddDepthwiseConv2D for DEPTHWISE_CONV_2D."""
    words = (part if part[0].isdigit() else part.capitalize() for part in op.split("_"))
    return "Add" + _IRREGULAR.get(op, "".join(words))


def _literal(text: str) -> str:
    """Return `text` as a C string literal of its UTF-8 bytes; what is not plain ASCII is escaped."""
    plain = set(range(32, 127)) - set(b'"\\?')  # a question mark can begin a trigraph
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def _float(value: float) -> str:
    """Return the shortest C float literal that gives `value` as a float32 back."""
    return f"{np.float32(value)!s}f"


_HEADER = """\
// Made by edgetransfer: the model in model.cc and what firmware needs to run it with TensorFlow Lite Micro.
#ifndef {guard}
#define {guard}

#include <cstddef>
#include <cstdint>

namespace {space} {{

alignas(16) extern const unsigned char kModel[];
constexpr std::size_t kModelBytes = {model_bytes};

// The input: uint8 raw pixels 0 to 255, row by row from the top, red, green, blue. Nothing else is to be done to them.
constexpr int kHeightPx = {height};
constexpr int kWidthPx = {width};
constexpr int kChannels = {channels};
constexpr std::size_t kInputBytes = std::size_t{{{height}}} * {width} * {channels};

// The output: one int8 a class; the largest is the answer. Its logit is kOutputScale * (stored - kOutputZeroPoint), its
// score the softmax of logits / kTemperature.
constexpr int kClasses = {classes};
constexpr const char* kLabels[kClasses] = {{
{labels}
}};
constexpr float kOutputScale = {scale};
constexpr int kOutputZeroPoint = {zero_point};
constexpr float kTemperature = {temperature};

// {measured} bytes are what the reference kernels take on a 64-bit computer. A 32-bit microcontroller takes less; a
// vendor's kernels (CMSIS-NN, ESP-NN) may take scratch memory besides. This is an eighth more, rounded up to 1024;
// MicroInterpreter::arena_used_bytes() tells what yours takes.
constexpr std::size_t kArenaBytes = {arena};

// For tflite::MicroMutableOpResolver<kOps>: registers the ops of this model and no others; true if all went well.
constexpr unsigned int kOps = {ops};
template <typename Resolver>
bool AddOps(Resolver& resolver) {{
  return {adds};
}}

}}  // namespace {space}

#endif  // {guard}
"""

_SOURCE = """\
// Made by edgetransfer: the content of model.tflite.
#include "model.h"

namespace {space} {{

alignas(16) const unsigned char kModel[] = {{
{lines}
}};
static_assert(sizeof(kModel) == kModelBytes, "model.h is of another model");

}}  // namespace {space}
"""
