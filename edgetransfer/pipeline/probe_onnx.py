"""Writes small ONNX graphs op by op, in float32 or int8, as this project's exporter writes networks.

Weights are zeros and the largest number in turn: where their products could overflow, ONNX Runtime is asked for exact
sums, and takes other kernels for it than for small weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgetransfer.quantize.onnx_graph import OPSET, OnnxGraph
from edgetransfer.spec.tensor import Quantization

_STEP = Quantization(0.05, 128)
_FRACTION = Quantization(1 / 256, 0)  # what the quantizer gives to numbers from 0 to 1
_JOINED = Quantization(0.06, 128)  # another one than what is joined has: in networks hardly any two are alike
_WEIGHT_STEP = 0.01
_LARGEST = 127  # int8 weight: every channel of a network has it
_PLANES, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # channels before height and width, and after them
_POOLS = {"MAX_POOL_2D": "MaxPool", "AVERAGE_POOL_2D": "AveragePool"}
_MOVES = ("Transpose", "Slice", "Flatten", "MaxPool", "Pad", "Resize")  # what comes out has the steps of what went in
_TAIL_FILTERS = 8


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor: its name, its shape with the channels last, whether the graph has them last too, and its steps."""

    name: str
    shape: tuple[int, ...]
    last: bool
    step: Quantization = _STEP


class OnnxGraphMaker:
    """A graph under construction, as `probe_ops.GraphMaker` is one; tensors are numbers here as well.

    With int8 everything stands between a QuantizeLinear and a DequantizeLinear, activations are uint8, and weights int8
    with a step for each channel. What comes in has its channels last, as pictures have: ONNX Runtime computes so, and
    drops the transposes before and behind its convolutions.
    """

    def __init__(self, precision: str, shape: tuple[int, ...]) -> None:
        """Begin a graph of `precision`, "float32" or "int8", that takes one tensor of `shape`, channels last."""
        self._floats = precision == "float32"
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}
        self._tensors: list[_Tensor] = []
        self._stored = False  # whether what comes in is uint8
        self.input = self._new(shape, last=not self._floats)
        if not self._floats:
            self._begin()

    def to_bytes(self, output: int) -> bytes:
        """Return the graph as a file's content; `output` is what it gives, of int8 graphs one pixel of it.

        Floats made of all of an int8 op's output, as the file must give, would take longer than many an op.
        """
        if not self._floats:
            made = self._tensors[output]
            if not made.last and len(made.shape) == 4 and not any(node.op_type == "Conv" for node in self._nodes):
                output = self.conv(output, _TAIL_FILTERS)  # only with one does ONNX Runtime keep channels last
            output = self._one_pixel(output)
        taken, made = self._tensors[self.input], self._tensors[output]
        dtype = TensorProto.UINT8 if self._stored else TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "probe",
            [helper.make_tensor_value_info("x", dtype, _sizes(taken))],
            [helper.make_tensor_value_info(made.name, TensorProto.FLOAT, _sizes(made))],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        return OnnxGraph(model).to_bytes()

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of `tensor`, channels last."""
        return self._tensors[tensor].shape

    def conv(self, given: int, filters: int, kernel: int = 1, stride: int = 1, *, relu6: bool = True) -> int:
        """Add a convolution with "same" padding."""
        weights = self._weights(given, (filters, self.shape(given)[3], kernel, kernel))
        return self._convolution(given, weights, filters, kernel, stride, 1, relu6=relu6)

    def depthwise(self, given: int, kernel: int = 3, stride: int = 1, *, relu6: bool = True) -> int:
        """Add a depthwise convolution with "same" padding."""
        channels = self.shape(given)[3]
        weights = self._weights(given, (channels, 1, kernel, kernel))
        return self._convolution(given, weights, channels, kernel, stride, channels, relu6=relu6)

    def dense(self, given: int, units: int) -> int:
        """Add a dense layer."""
        channels = self.shape(given)[-1]
        if len(self.shape(given)) == 4:
            given = self._op("Flatten", [given], (1, channels))
        return self._op("Gemm", [given], (1, units), more=self._weights(given, (channels, units), axis=1))

    def add(self, given: int, other: int) -> int:
        """Add the sum of two tensors of one shape."""
        return self._op("Add", [given, other], self.shape(given))

    def mul(self, given: int, other: int) -> int:
        """Add the product of two tensors; `other` may be one number a channel."""
        return self._op("Mul", [given, other], self.shape(given))

    def channel_scales(self, channels: int) -> int:
        """Add a constant of one number a channel."""
        made = self._new((1, 1, 1, channels), last=not self._floats)
        one = self._tensors[made]
        self._constants[one.name] = np.full(_sizes(one), *((1, np.float32) if self._floats else (148, np.uint8)))
        if not self._floats:
            self._constants[f"{one.name} stored"] = self._constants.pop(one.name)
            self._node("DequantizeLinear", [f"{one.name} stored", *self._steps(_STEP)], one.name)
        return made

    def hard_swish(self, given: int) -> int:
        """Add a hard-swish as Keras has it: x + 3, cut to 0 to 6, over 6, times x."""
        shifted = self._op("Add", [given], self.shape(given), more=[self._scalar(3.0)])
        cut = self._clip(shifted) if self._floats else shifted
        gate = self._op("Mul", [cut], self.shape(given), _FRACTION, more=[self._scalar(1 / 6)])
        return self.mul(gate, given)

    def cut(self, given: int) -> int:
        """Cut off the first row and column."""
        _, height, width, channels = self.shape(given)
        return self._sliced(given, [1, 1], (1, height - 1, width - 1, channels))

    def relu(self, given: int) -> int:
        """Add a ReLU that nothing before it computes along."""
        return self._op("Relu", [given], self.shape(given))

    def sigmoid(self, given: int) -> int:
        """Add a sigmoid."""
        return self._op("Sigmoid", [given], self.shape(given), _FRACTION)

    def softmax(self, given: int) -> int:
        """Add a softmax over the channels."""
        axis = 3 if self._tensors[given].last else 1
        return self._op("Softmax", [given], self.shape(given), _FRACTION, axis=axis)

    def mean(self, given: int) -> int:
        """Add the mean over height and width."""
        return self._op("GlobalAveragePool", [self._in_planes(given)], (1, 1, 1, self.shape(given)[3]))

    def pool(self, given: int, op: str, kernel: int, stride: int) -> int:
        """Add `op`, MAX_POOL_2D or AVERAGE_POOL_2D, with "same" padding."""
        _, height, width, channels = self.shape(given)
        made = (1, -(-height // stride), -(-width // stride), channels)
        return self._op(
            _POOLS[op],
            [self._in_planes(given)],
            made,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=_same(self.shape(given), kernel, stride),
        )

    def concat(self, given: int, other: int) -> int:
        """Add the two tensors' channels, one behind the other."""
        _, height, width, channels = self.shape(given)
        made = (1, height, width, channels + self.shape(other)[3])
        axis = 3 if self._tensors[given].last else 1
        return self._op("Concat", [given, other], made, _JOINED, axis=axis)

    def pad(self, given: int) -> int:
        """Add a row and a column of zeros."""
        _, height, width, channels = self.shape(given)
        behind = [0, 1, 1, 0] if self._tensors[given].last else [0, 0, 1, 1]
        margins = self._constant(np.array([0, 0, 0, 0, *behind], np.int64))
        return self._op("Pad", [given], (1, height + 1, width + 1, channels), more=[margins])

    def resize(self, given: int) -> int:
        """Add a bilinear resize to twice the height and width."""
        _, height, width, channels = self.shape(given)
        times = [1, 2, 2, 1] if self._tensors[given].last else [1, 1, 2, 2]
        scales = self._constant(np.array(times, np.float32))
        return self._op("Resize", [given], (1, 2 * height, 2 * width, channels), more=["", scales], mode="linear")

    def convert(self, given: int) -> int:
        """Turn the graph's input into raw pixels, and them into what the graph computes in."""
        if self._floats:  # with integers they are that already
            self._begin()
        return self._in_planes(given)

    # === What all ops are made of ===

    def _begin(self) -> None:
        """Make reals of a stored input; it is known by the reals' name from here on."""
        self._node("DequantizeLinear", ["x", *self._steps(_STEP)], "x real")
        self._tensors[self.input] = _Tensor("x real", self.shape(self.input), last=True)
        self._stored = True

    def _convolution(
        self,
        given: int,
        weights: Sequence[str],
        filters: int,
        kernel: int,
        stride: int,
        groups: int,
        *,
        relu6: bool,
    ) -> int:
        _, height, width, _ = self.shape(given)
        made = self._op(
            "Conv",
            [self._in_planes(given)],
            (1, -(-height // stride), -(-width // stride), filters),
            more=weights,
            group=groups,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=_same(self.shape(given), kernel, stride),
        )
        return self._clip(made) if relu6 and self._floats else made  # integers are cut by their range

    def _op(
        self,
        op: str,
        given: Sequence[int],
        shape: tuple[int, ...],
        step: Quantization | None = None,
        *,
        more: Sequence[str] = (),
        **attributes: Any,
    ) -> int:
        """Add `op`, quantized where the graph is, with `more` inputs that are known beforehand.

        What comes out has `step`, without one that of an op that computes, or of what is only moved.
        """
        first = self._tensors[given[0]]
        step = step or (first.step if op in _MOVES else _STEP)
        made = self._new(shape, last=first.last and op != "Transpose", step=step)
        name = self._tensors[made].name
        inputs = [*(self._tensors[one].name for one in given), *more]
        if self._floats:
            self._node(op, inputs, name, **attributes)
            return made
        self._node(op, inputs, f"{name} whole", **attributes)
        self._node("QuantizeLinear", [f"{name} whole", *self._steps(step)], f"{name} stored")
        self._node("DequantizeLinear", [f"{name} stored", *self._steps(step)], name)
        return made

    def _in_planes(self, given: int) -> int:
        """Return `given` with its channels before height and width."""
        tensor = self._tensors[given]
        return self._op("Transpose", [given], tensor.shape, perm=_PLANES) if tensor.last else given

    def _one_pixel(self, given: int) -> int:
        tensor = self._tensors[given]
        if len(tensor.shape) < 4 or tensor.shape[1:3] == (1, 1):
            return given
        return self._sliced(given, [0, 0], (1, 1, 1, tensor.shape[3]))

    def _sliced(self, given: int, starts: list[int], shape: tuple[int, ...]) -> int:
        ends = [start + side for start, side in zip(starts, shape[1:3], strict=True)]
        axes = [1, 2] if self._tensors[given].last else [2, 3]
        more = [self._constant(np.array(value, np.int64)) for value in (starts, ends, axes)]
        return self._op("Slice", [given], shape, more=more)

    def _clip(self, given: int) -> int:
        bounds = [self._constant(np.array(value, np.float32)) for value in (0, 6)]
        return self._op("Clip", [given], self.shape(given), more=bounds)

    def _weights(self, given: int, shape: tuple[int, ...], *, axis: int = 0) -> list[str]:
        """Add weights of `shape` for `given` and a bias, and return their names; `axis` is that of the filters."""
        values = (np.arange(np.prod(shape)) % 2 * (1 if self._floats else _LARGEST)).reshape(shape)
        filters = shape[axis]
        if self._floats:
            return [self._constant(values.astype(np.float32)), self._constant(np.zeros(filters, np.float32))]
        bias = np.zeros(filters, np.int32)
        steps = np.full(filters, _WEIGHT_STEP, np.float32)
        return [
            self._stored_weights(values.astype(np.int8), steps, axis),
            self._stored_weights(bias, steps * np.float32(self._tensors[given].step.scale), 0),
        ]

    def _stored_weights(self, values: NDArray[Any], steps: NDArray[np.float32], axis: int) -> str:
        name = self._constant(values)
        inputs = [name, self._constant(steps), self._constant(np.zeros(len(steps), values.dtype))]
        self._node("DequantizeLinear", inputs, f"{name} real", axis=axis)
        return f"{name} real"

    def _scalar(self, value: float) -> str:
        """Add one number, quantized where the graph is, and return the name of its real value."""
        if self._floats:
            return self._constant(np.array(value, np.float32))
        name = self._constant(np.array(255, np.uint8))
        steps = self._steps(Quantization(value / 255, 0))
        self._node("DequantizeLinear", [name, *steps], f"{name} real")
        return f"{name} real"

    def _steps(self, given: Quantization) -> list[str]:
        return [
            self._constant(np.array(given.scale, np.float32)),
            self._constant(np.array(given.zero_point, np.uint8)),
        ]

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = values
        return name

    def _node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))

    def _new(self, shape: tuple[int, ...], *, last: bool, step: Quantization = _STEP) -> int:
        self._tensors.append(_Tensor(f"t{len(self._tensors)}" if self._tensors else "x", shape, last, step))
        return len(self._tensors) - 1


def _sizes(tensor: _Tensor) -> list[int]:
    """Return the shape as the graph has it."""
    if tensor.last or len(tensor.shape) < 4:
        return list(tensor.shape)
    return [tensor.shape[axis] for axis in _PLANES]


def _same(shape: tuple[int, ...], kernel: int, stride: int) -> list[int]:
    """Return what "same" padding adds: above, left, below, right."""
    sums = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in shape[1:3]]
    return [*(one // 2 for one in sums), *(one - one // 2 for one in sums)]
