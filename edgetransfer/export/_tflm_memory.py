"""Tells what arena a `.tflite` takes in TensorFlow Lite Micro: tensors at its head, books at its tail, to the byte.

The rules are those of tensorflow/lite/micro in tensorflow/tflite-micro: micro_allocator.cc, micro_interpreter.cc,
micro_allocation_info.cc, greedy_memory_planner.cc, and the reference kernels' `Init` and `Prepare`. Sizes of structs
are those of the package tflite-micro (0.dev20261023182759) on x86-64, as its allocator reports them op by op. Firmware
has 32-bit pointers and other kernels: less at the tail, and with CMSIS-NN more at the head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from edgetransfer.estimate.memory import TFLM, Buffer, arena_bytes
from edgetransfer.export._litert_xnnpack import Tensors
from edgetransfer.quantize.flatbuffer import Graph, Op

_BOOKS_BYTES = 456  # the interpreter's own: allocators, planner
_MODEL_BYTES = (16, 16)  # allocator of options, list of subgraphs
_TENSOR_BYTES = 24  # TfLiteEvalTensor, of every tensor
_NODE_BYTES = 64  # NodeAndRegistration, of every op
_END_BYTES = 64  # TfLiteTensor, of inputs and outputs
_QUANTIZATION_BYTES = 24  # TfLiteAffineQuantization, of inputs and outputs that have one
_POINTER_BYTES = 8
_INT_BYTES = 4
_KERNEL_ALIGNMENT = 16  # of what kernels ask for; structs of the interpreter's own are aligned as C++ does


class _Sizes(NamedTuple):
    """Of one kind of op: its options, how they are aligned, and its kernel's data; in bytes."""

    options: int
    alignment: int
    data: int


_SIZES = {
    "ADD": _Sizes(8, 4, 60),
    "AVERAGE_POOL_2D": _Sizes(40, 4, 32),
    "CONCATENATION": _Sizes(8, 4, 80),
    "CONV_2D": _Sizes(28, 4, 80),
    "DEPTHWISE_CONV_2D": _Sizes(28, 4, 80),
    "DEQUANTIZE": _Sizes(0, 1, 32),
    "FULLY_CONNECTED": _Sizes(32, 4, 72),
    "HARD_SWISH": _Sizes(0, 1, 20),
    "LOGISTIC": _Sizes(0, 1, 16),
    "MAX_POOL_2D": _Sizes(40, 4, 32),
    "MEAN": _Sizes(1, 1, 44),
    "MUL": _Sizes(4, 4, 36),
    "PAD": _Sizes(0, 1, 56),
    "QUANTIZE": _Sizes(0, 1, 32),
    "RELU": _Sizes(0, 1, 28),
    "RESHAPE": _Sizes(36, 4, 0),
    "SOFTMAX": _Sizes(4, 4, 80),
    "STRIDED_SLICE": _Sizes(24, 4, 84),
}


def predicted_arena_bytes(model: bytes) -> int | None:
    """Return what the package tflite-micro will report of `model`; None where it has an op that is not known here."""
    tensors = Tensors(Graph.read(model))
    if any(op.name not in _SIZES for op in tensors.ops):
        return None
    return arena_bytes(buffers(model), TFLM) + _tail_bytes(tensors)


def buffers(model: bytes) -> tuple[Buffer, ...]:
    """Return tensors and scratch memory of `model` as TensorFlow Lite Micro's planner gets them."""
    tensors = Tensors(Graph.read(model))
    first = {tensors.graph.input: 0, tensors.graph.output: 0}
    last = {tensors.graph.input: 0}
    for number, op in enumerate(tensors.ops, 1):
        first.update(dict.fromkeys(op.outputs, number))
        last.update(dict.fromkeys((*op.inputs, *op.outputs), number))
    last[tensors.graph.output] = len(tensors.ops)
    kept = [index for index in sorted(first) if index not in tensors.stored]
    return (
        *(Buffer(tensors.size_bytes(index), first[index], last[index]) for index in kept),
        *(
            Buffer(size, number, number)
            for number, op in enumerate(tensors.ops, 1)
            for size in _scratch_bytes(tensors, op)
        ),
    )


def _tail_bytes(tensors: Tensors) -> int:
    """Return the bytes of everything that stays, each thing put below the one before it."""
    end = -_BOOKS_BYTES
    for size, alignment in _kept(tensors):
        end = (end - size) // alignment * alignment
    return -end


def _kept(tensors: Tensors) -> Iterator[tuple[int, int]]:
    """Yield size and alignment of everything that stays, in the order in which it is asked for."""
    yield from ((size, 8) for size in _MODEL_BYTES)
    yield _TENSOR_BYTES * len(tensors.graph.subgraph.tensors), 8
    yield _NODE_BYTES * len(tensors.ops), 8
    for op in tensors.ops:
        if _SIZES[op.name].options:
            yield _SIZES[op.name].options, _SIZES[op.name].alignment
    for op in tensors.ops:
        if _SIZES[op.name].data:
            yield _SIZES[op.name].data, _KERNEL_ALIGNMENT
    for op in tensors.ops:
        for _ in ("multiplier", "shift"):
            if channels := _channels(tensors, op):
                yield channels * _INT_BYTES, _KERNEL_ALIGNMENT
    if scratch := sum(len(_scratch_bytes(tensors, op)) for op in tensors.ops):
        yield scratch * _POINTER_BYTES, 8
    for index in (tensors.graph.input, tensors.graph.output):
        yield _POINTER_BYTES, _KERNEL_ALIGNMENT
        yield _END_BYTES, 8
        if scales := _scales(tensors, index):
            yield _QUANTIZATION_BYTES, 8
            yield _INT_BYTES * (1 + scales), _INT_BYTES


def _channels(tensors: Tensors, op: Op) -> int:
    """Return for how many channels the kernel of `op` keeps a multiplier and a shift each."""
    if op.name == "FULLY_CONNECTED":
        scales = _scales(tensors, op.inputs[1])
        return scales if scales > 1 and not tensors.is_floats(op) else 0
    if "CONV_2D" in op.name:
        return tensors.graph.shape(op.inputs[1])[-1 if op.name == "DEPTHWISE_CONV_2D" else 0]
    return 0


def _scratch_bytes(tensors: Tensors, op: Op) -> tuple[int, ...]:
    """Return the sizes of what the kernel of `op` asks for while it runs."""
    if op.name != "MEAN":
        return ()
    sums = () if tensors.is_floats(op) else (tensors.elements(op.outputs[0]) * _INT_BYTES,)
    rank, axes = len(tensors.graph.shape(op.inputs[0])), tensors.elements(op.inputs[1])
    return (*sums, rank * _INT_BYTES, axes * _INT_BYTES)


def _scales(tensors: Tensors, index: int) -> int:
    pair = tensors.graph.tensor(index).quantization
    return 0 if pair is None or pair.scale is None or pair.zeroPoint is None else len(pair.scale)
