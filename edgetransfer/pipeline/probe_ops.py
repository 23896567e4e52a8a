"""Writes small `.tflite` graphs op by op, in float32 or int8, without TensorFlow.

Weights are ones and zeros in turn: how long an op takes does not depend on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.spec.tensor import Quantization

_STEP = Quantization(0.05, 0)
_FRACTION = Quantization(1 / 256, -128)  # the range that LiteRT demands of LOGISTIC and SOFTMAX
_WEIGHT_STEP = 0.01


class GraphMaker:
    """A graph under construction; every method adds an op to the tensor `given` and returns what it makes."""

    def __init__(self, precision: str, shape: tuple[int, ...]) -> None:
        """Begin a graph of `precision`, "float32" or "int8", that takes one tensor of `shape`."""
        self._precision = precision
        self._floats = precision == "float32"
        self._graph = Graph(_empty())
        self.input = self._activation(shape)

    def to_bytes(self, output: int) -> bytes:
        """Return the graph as a file's content; `output` is what it gives."""
        self._graph.set_ends(input_index=self.input, input_name="x", output_index=output, output_name="y")
        return self._graph.to_bytes()

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of `tensor`."""
        return self._graph.shape(tensor)

    def conv(self, given: int, filters: int, kernel: int = 1, stride: int = 1, *, relu6: bool = True) -> int:
        """Add a convolution with "same" padding."""
        _, height, width, channels = self.shape(given)
        weights = self._weights((filters, kernel, kernel, channels))
        options = _windowed(schema.Conv2DOptionsT(), stride)
        options.fusedActivationFunction = _fused(relu6)
        made = (1, -(-height // stride), -(-width // stride), filters)
        return self._op("CONV_2D", [given, *weights], made, options, 3)

    def depthwise(self, given: int, kernel: int = 3, stride: int = 1, *, relu6: bool = True) -> int:
        """Add a depthwise convolution with "same" padding."""
        _, height, width, channels = self.shape(given)
        weights = self._weights((1, kernel, kernel, channels), axis=3)
        options = _windowed(schema.DepthwiseConv2DOptionsT(), stride)
        options.depthMultiplier, options.fusedActivationFunction = 1, _fused(relu6)
        made = (1, -(-height // stride), -(-width // stride), channels)
        return self._op("DEPTHWISE_CONV_2D", [given, *weights], made, options, 3)

    def dense(self, given: int, units: int) -> int:
        """Add a dense layer."""
        weights = self._weights((units, self.shape(given)[-1]))
        return self._op("FULLY_CONNECTED", [given, *weights], (1, units), schema.FullyConnectedOptionsT(), 5)

    def add(self, given: int, other: int) -> int:
        """Add the sum of two tensors of one shape."""
        return self._op("ADD", [given, other], self.shape(given), schema.AddOptionsT())

    def mul(self, given: int, other: int) -> int:
        """Add the product of two tensors; `other` may be one number a channel."""
        return self._op("MUL", [given, other], self.shape(given), schema.MulOptionsT())

    def channel_scales(self, channels: int) -> int:
        """Add a constant of one number a channel."""
        values = np.ones((1, 1, 1, channels), np.float32 if self._floats else np.int8)
        return self._constant(values, None if self._floats else _STEP)

    def hard_swish(self, given: int) -> int:
        """Add a hard-swish."""
        return self._op("HARD_SWISH", [given], self.shape(given), schema.HardSwishOptionsT(), 1)

    def sigmoid(self, given: int) -> int:
        """Add a sigmoid."""
        return self._op("LOGISTIC", [given], self.shape(given), None, 2, _FRACTION)

    def softmax(self, given: int) -> int:
        """Add a softmax over the channels."""
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self._op("SOFTMAX", [given], self.shape(given), options, 2, _FRACTION)

    def mean(self, given: int) -> int:
        """Add the mean over height and width."""
        axes = self._constant(np.array([1, 2], np.int32))
        options = schema.ReducerOptionsT()
        options.keepDims = True
        return self._op("MEAN", [given, axes], (1, 1, 1, self.shape(given)[3]), options)

    def pool(self, given: int, op: str, kernel: int, stride: int) -> int:
        """Add `op`, MAX_POOL_2D or AVERAGE_POOL_2D, with "same" padding."""
        _, height, width, channels = self.shape(given)
        options = _windowed(schema.Pool2DOptionsT(), stride)
        options.filterHeight = options.filterWidth = kernel
        return self._op(op, [given], (1, -(-height // stride), -(-width // stride), channels), options)

    def concat(self, given: int, other: int) -> int:
        """Add the two tensors' channels, one behind the other."""
        _, height, width, channels = self.shape(given)
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        made = (1, height, width, channels + self.shape(other)[3])
        return self._op("CONCATENATION", [given, other], made, options)

    def pad(self, given: int) -> int:
        """Add a row and a column of zeros."""
        _, height, width, channels = self.shape(given)
        margins = self._constant(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32))
        return self._op("PAD", [given, margins], (1, height + 1, width + 1, channels), schema.PadOptionsT())

    def resize(self, given: int) -> int:
        """Add a bilinear resize to twice the height and width."""
        _, height, width, channels = self.shape(given)
        size = self._constant(np.array([2 * height, 2 * width], np.int32))
        options = schema.ResizeBilinearOptionsT()
        options.halfPixelCenters = True
        return self._op("RESIZE_BILINEAR", [given, size], (1, 2 * height, 2 * width, channels), options, 3)

    def convert(self, given: int) -> int:
        """Turn the graph's input into raw pixels, and them into what the graph computes in."""
        pixels = self._graph.tensor(given)
        pixels.type, pixels.quantization = schema.TensorType.UINT8, schema.QuantizationParametersT()
        pixels.quantization.scale, pixels.quantization.zeroPoint = [_STEP.scale], [128]
        return self._op("DEQUANTIZE" if self._floats else "QUANTIZE", [given], self.shape(given))

    def _op(
        self,
        name: str,
        inputs: list[int],
        shape: tuple[int, ...],
        options: Any = None,
        version: int = 2,
        quantization: Quantization = _STEP,
    ) -> int:
        made = self._activation(shape, quantization)
        self._graph.add_op(name, inputs, [made], version=1 if self._floats else version, options=options)
        return made

    def _activation(self, shape: tuple[int, ...], quantization: Quantization = _STEP) -> int:
        stored = None if self._floats else quantization
        return self._graph.add_tensor(self._new_name(), shape, self._precision, stored)

    def _constant(self, values: NDArray[Any], quantization: Quantization | None = None) -> int:
        return self._graph.add_tensor(self._new_name(), values.shape, str(values.dtype), quantization, values)

    def _weights(self, shape: tuple[int, ...], *, axis: int = 0) -> tuple[int, int]:
        """Add weights of `shape` and a bias, and return their indices; `axis` is that of the filters."""
        values = (np.arange(np.prod(shape)) % 2).astype(np.float32 if self._floats else np.int8).reshape(shape)
        scales = None if self._floats else np.full(shape[axis], _WEIGHT_STEP, np.float32)
        name = self._new_name()
        kernel = self._graph.add_tensor(name, shape, self._precision, None, values, channel_scales=scales)
        if scales is not None:
            self._graph.tensor(kernel).quantization.quantizedDimension = axis
        zeros = np.zeros(shape[axis], np.float32 if self._floats else np.int32)
        steps = None if scales is None else scales * np.float32(_STEP.scale)
        bias = self._graph.add_tensor(f"{name} bias", zeros.shape, str(zeros.dtype), None, zeros, channel_scales=steps)
        return kernel, bias

    def _new_name(self) -> str:
        return f"t{len(self._graph.subgraph.tensors)}"


def _empty() -> Any:
    model = schema.ModelT()
    model.version, model.description = 3, b"edgetransfer probe"
    model.buffers, model.operatorCodes = [schema.BufferT()], []
    subgraph = schema.SubGraphT()
    subgraph.name, subgraph.tensors, subgraph.operators = b"main", [], []
    model.subgraphs = [subgraph]
    return model


def _windowed(options: Any, stride: int) -> Any:
    options.padding = schema.Padding.SAME
    options.strideH = options.strideW = stride
    return options


def _fused(relu6: bool) -> int:
    kinds = schema.ActivationFunctionType
    return int(kinds.RELU6 if relu6 else kinds.NONE)
