"""What the weights of a float `.tflite` are multiplied with: first and second moments over calibration images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgetransfer.quantize.flatbuffer import Graph, Op
from edgetransfer.quantize.litert_ops import WEIGHTED
from edgetransfer.runtime.cores import available_cores

POSITIONS = 64
"""Output pixels looked at in each image and op, spread evenly: neighbours say nearly the same."""
DEPTHWISE_POSITIONS = 16  # there are few weights to fit to them, 9 or 25
BLOCK = 512
"""Neighbours among which errors are made good: from 128 on more gain nothing with int8 weights, a tenth with int4."""

_TOGETHER = 8  # images whose numbers wait to be multiplied in one go
_DAMPING = 0.01  # of the mean square; GPTQ's, so that inputs that hardly vary do not blow a correction up


@dataclass(frozen=True, slots=True)
class Moments:
    """What is known of the K numbers that one row of weights is multiplied with.

    `mean` is (G, K); G is the number of channels in a depthwise convolution, where each sees other numbers, and else 1.
    `told` has for each block of at most BLOCK neighbours among the K an upper triangular (G, k, k): row j says,
    relative to its diagonal, how the weights after weight j best make good an error in it. It is the Cholesky factor
    of the inverse of the damped second moment.
    """

    mean: NDArray[np.float32]
    told: tuple[NDArray[np.float32], ...]


def moments(float_model: bytes, inputs: NDArray[Any]) -> dict[int, Moments]:
    """Return the moments of each op with weights, by the index of its output tensor.

    Args:
        float_model: A `.tflite` with one input (1, H, W, 3) float32, or (1, tokens) int32.
        inputs: (n, H, W, 3) normalised pixels, or (n, tokens) ids.
    """
    graph = Graph.read(float_model)
    found: dict[int, _Sum] = {}
    patches = {
        op.outputs[0]: _Patches(graph, op, raw)
        for op, raw in zip(graph.ops(), graph.subgraph.operators, strict=True)
        if op.name in WEIGHTED and graph.constant(op.inputs[1]) is not None
    }
    for number, read in enumerate(_runs(float_model, inputs)):
        for output, patch in patches.items():
            found.setdefault(output, _Sum()).add(patch.of(read(patch.input), number))
    return {output: total.moments() for output, total in found.items()}


def _runs(float_model: bytes, inputs: NDArray[Any]) -> Iterator[Any]:
    """Run the model on each input; yield a function that reads a tensor by its index."""
    with warnings.catch_warnings():  # that keeping all tensors needs memory
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
        interpreter = Interpreter(
            model_content=float_model, num_threads=available_cores(), experimental_preserve_all_tensors=True
        )
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    for one in inputs:
        interpreter.set_tensor(place, one[None])
        interpreter.invoke()
        yield interpreter.get_tensor


class _Patches:
    """Cuts out of an op's input what its weights see at some of the output's pixels."""

    def __init__(self, graph: Graph, op: Op, raw: Any) -> None:
        self.input = op.inputs[0]
        self.depthwise = op.name == "DEPTHWISE_CONV_2D"
        self.dense = op.name == "FULLY_CONNECTED"
        if self.dense:
            return
        options, kernel = raw.builtinOptions, graph.shape(op.inputs[1])[1:3]
        size, made = graph.shape(op.inputs[0])[1:3], graph.shape(op.outputs[0])[1:3]
        self.repeats = graph.shape(op.inputs[1])[-1] // graph.shape(op.inputs[0])[-1] if self.depthwise else 1
        self.pixels = made
        self.steps = (options.strideH, options.strideW)
        self.offsets = [
            (dy * options.dilationHFactor, dx * options.dilationWFactor)
            for dy in range(kernel[0])
            for dx in range(kernel[1])
        ]
        last = self.offsets[-1]
        need = [(made[i] - 1) * self.steps[i] + last[i] + 1 - size[i] for i in (0, 1)]
        same = options.padding == schema.Padding.SAME
        self.pad = [(max(n, 0) // 2, max(n, 0) - max(n, 0) // 2) if same else (0, 0) for n in need]

    def of(self, value: NDArray[np.float32], number: int) -> NDArray[np.float32]:
        """Return (G, P, K) numbers at P pixels of the image with that `number`."""
        if self.dense:
            return value.reshape(1, -1, value.shape[-1])
        padded = np.pad(value[0], [*self.pad, (0, 0)])
        count, most = self.pixels[0] * self.pixels[1], DEPTHWISE_POSITIONS if self.depthwise else POSITIONS
        stride = max(1, count // most)
        places = np.arange(number % stride, count, stride)[:most]
        top, left = places // self.pixels[1] * self.steps[0], places % self.pixels[1] * self.steps[1]
        seen = np.stack([padded[top + dy, left + dx] for dy, dx in self.offsets], axis=1)  # (P, kernel, C)
        if self.depthwise:
            return np.repeat(seen.transpose(2, 0, 1), self.repeats, axis=0)
        return seen.reshape(1, len(places), -1)


class _Sum:
    """Adds up moments, some images at a time."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Any = np.float32(0)
        self.second: list[Any] = []
        self.waiting: list[NDArray[np.float32]] = []

    def add(self, seen: NDArray[np.float32]) -> None:
        self.waiting.append(seen)
        if len(self.waiting) == _TOGETHER:
            self._take()

    def moments(self) -> Moments:
        self._take()
        return Moments(self.first / self.count, tuple(_told(block / self.count) for block in self.second))

    def _take(self) -> None:
        if not self.waiting:
            return
        seen = np.concatenate(self.waiting, axis=1)
        self.waiting.clear()
        self.count += seen.shape[1]
        self.first = self.first + seen.sum(axis=1)
        blocks = [seen[:, :, begin : begin + BLOCK] for begin in range(0, seen.shape[2], BLOCK)]
        products = [np.swapaxes(block, 1, 2) @ block for block in blocks]
        self.second = [a + b for a, b in zip(self.second, products, strict=True)] if self.second else products


def _told(second: NDArray[np.float32]) -> NDArray[np.float32]:
    size = second.shape[-1]
    spread = np.maximum(np.trace(second, axis1=1, axis2=2) / size, 1e-12).astype(np.float32)
    damped = second + _DAMPING * spread[:, None, None] * np.eye(size, dtype=np.float32)
    # The upper factor of the inverse, without the inverse: that of the matrix turned about, inverted, turned back.
    turned = np.linalg.cholesky(damped[:, ::-1, ::-1])
    return np.linalg.inv(turned)[:, ::-1, ::-1].astype(np.float32)
