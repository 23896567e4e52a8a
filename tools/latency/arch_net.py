"""Builds networks without weights: every layer appends the ops that an engine runs for it and gives what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from edgetransfer.estimate.op import Kind, Op

Padding = int | Literal["same", "valid"]
"""Zeros on every side, or TensorFlow's words."""

FUSED = ("", "relu", "relu6", "leaky_relu")
"""Activations that engines compute at the end of the op before; any other is an op of its own."""


@dataclass(frozen=True, slots=True)
class Maps:
    """What flows between two ops: `channels` maps of `height` by `width`."""

    height: int
    width: int
    channels: int

    @property
    def size(self) -> int:
        """How many elements it has."""
        return self.height * self.width * self.channels


def divisible(channels: float, divisor: int = 8) -> int:
    """Round scaled channels as all MobileNets do: to a multiple of `divisor`, never down by more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def slid(length: int, window: int, stride: int, padding: Padding, *, up: bool = False) -> int:
    """Positions that a window takes along `length`; `up`: the last may stick out, as Caffe's pooling does."""
    if padding == "same":
        return ceil(length / stride)
    room = length + 2 * (0 if padding == "valid" else padding) - window
    return (ceil(room / stride) if up else room // stride) + 1


@dataclass(slots=True)
class Net:
    """The ops so far. Methods take what flows in, append their ops and return what flows out.

    Attributes:
        ops: In the order they run.
        relu_apart: Whether a relu after an addition is an op of its own, as in ncnn: TFLite's ADD computes it.
    """

    ops: list[Op] = field(default_factory=list)
    relu_apart: bool = False

    def _append(
        self,
        kind: Kind,
        name: str,
        x: Maps,
        out: Maps,
        *,
        macs: int | None = None,
        read: int | None = None,
        weights: int = 0,
        taps: int = 1,
        stride: int = 1,
        function: str = "",
    ) -> Maps:
        """Append an op; unless said, it computes each element that it gives once and reads what flows in."""
        macs, read = out.size if macs is None else macs, x.size if read is None else read
        channels = x.channels, out.channels
        op = Op(kind, macs, read, weights, out.size, "float32", taps, stride, *channels, function=function, name=name)
        self.ops.append(op)
        return out

    def conv(
        self,
        x: Maps,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: Padding = "same",
        act: str = "",
    ) -> Maps:
        """Convolution with batch norm folded in, and its activation."""
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        out = Maps(slid(x.height, high, stride, padding), slid(x.width, wide, stride, padding), channels)
        taps, name = high * wide, f"conv {high}x{wide}"
        weights = taps * x.channels * channels
        macs = out.height * out.width * weights
        self._append("conv", name, x, out, macs=macs, weights=weights, taps=taps, stride=stride)
        return self._finish(out, act)

    def depthwise(self, x: Maps, kernel: int = 3, stride: int = 1, padding: Padding = "same", act: str = "") -> Maps:
        """Convolution of each map by itself, and its activation."""
        out = Maps(slid(x.height, kernel, stride, padding), slid(x.width, kernel, stride, padding), x.channels)
        taps, name = kernel**2, f"depthwise {kernel}x{kernel}"
        macs, weights = out.size * taps, x.channels * taps
        self._append("depthwise", name, x, out, macs=macs, weights=weights, taps=taps, stride=stride)
        return self._finish(out, act)

    def separable(self, x: Maps, channels: int, stride: int = 1, act: str = "") -> Maps:
        """MobileNetV1's block: depthwise, then pointwise, both with the activation."""
        return self.conv(self.depthwise(x, 3, stride, act=act), channels, act=act)

    def deconv(self, x: Maps, channels: int, kernel: int, act: str = "") -> Maps:
        """Transposed convolution of stride 2: every element is spread over a window."""
        out = Maps(x.height * 2, x.width * 2, channels)
        weights = kernel**2 * x.channels * channels
        macs, name = x.height * x.width * weights, f"transposed conv {kernel}x{kernel}"
        self._append("conv", name, x, out, macs=macs, weights=weights, taps=kernel**2, stride=2)
        return self._finish(out, act)

    def dense(self, x: Maps, units: int, act: str = "") -> Maps:
        """Fully connected layer; what comes in is flattened, which costs nothing."""
        flat, out = Maps(1, 1, x.size), Maps(1, 1, units)
        return self._finish(self._append("dense", "dense", flat, out, macs=x.size * units, weights=x.size * units), act)

    def pool(
        self, x: Maps, kernel: int, stride: int, padding: Padding = "same", *, up: bool = False, function: str = "max"
    ) -> Maps:
        """Largest of every window, or its mean: the function is `max` or `average`."""
        high, wide = (slid(length, kernel, stride, padding, up=up) for length in (x.height, x.width))
        out = Maps(high, wide, x.channels)
        taps, name = kernel**2, f"{function} pool {kernel}x{kernel}"
        return self._append("pool", name, x, out, macs=out.size * taps, taps=taps, stride=stride, function=function)

    def mean(self, x: Maps) -> Maps:
        """Mean of each map: global average pooling."""
        return self._append("reduce", "mean", x, Maps(1, 1, x.channels), macs=x.size)

    def add(self, x: Maps, y: Maps, act: str = "") -> Maps:
        """Sum of two of one size, and its activation."""
        if x != y:
            raise ValueError(f"{x} and {y} cannot be added")
        return self._finish(self._append("add", "add", x, x, read=x.size + y.size), act, apart=self.relu_apart)

    def scale(self, x: Maps, factors: int = 0) -> Maps:
        """Product with so many factors that were computed, or with constants."""
        return self._append("mul", "mul", x, x, read=x.size + factors)

    def bias(self, x: Maps, act: str = "") -> Maps:
        """Sum with one constant for each channel that nothing could fold, and its activation."""
        return self._finish(self._append("add", "add constants", x, x), act)

    def norm(self, x: Maps, act: str = "") -> Maps:
        """Batch norm that stands after no convolution: a product and a sum, the activation fused with that."""
        return self.bias(self.scale(x), act)

    def squeeze_excite(self, x: Maps, squeezed: int, act: str = "relu", gate: str = "sigmoid") -> Maps:
        """Factors for the channels, from their means (https://arxiv.org/abs/1709.01507)."""
        factors = self.conv(self.conv(self.mean(x), squeezed, act=act), x.channels, act=gate)
        return self.scale(x, factors.size)

    def activation(self, x: Maps, name: str) -> Maps:
        """An activation that no op before it computes."""
        return self._append("activation", name, x, x, function=name)

    def softmax(self, x: Maps) -> Maps:
        """Softmax over the channels."""
        return self._append("softmax", "softmax", x, x)

    def concat(self, *parts: Maps) -> Maps:
        """One after the other, along the channels."""
        first = parts[0]
        if any((part.height, part.width) != (first.height, first.width) for part in parts):
            raise ValueError(f"{parts} cannot be joined")
        out = Maps(first.height, first.width, sum(part.channels for part in parts))
        return self._move("concat", out, out, "concat")

    def gather(self, *parts: int) -> Maps:
        """All elements of tensors of these sizes one after the other, as heads of detectors join theirs."""
        out = Maps(1, 1, sum(parts))
        return self._move("concat", out, out, "concat")

    def move(self, x: Maps, name: str) -> Maps:
        """Every element to another place: a transpose, or the one that a channel shuffle is."""
        return self._move(name, x, x, "transpose")

    def pad(self, x: Maps, *, channels: int = 0, below: int = 0, above: int = 0) -> Maps:
        """Zeros after the channels, or on two sides of every map."""
        out = Maps(x.height + above + below, x.width + above + below, x.channels + channels)
        return self._move("pad", x, out, "pad")

    def split(self, x: Maps, *channels: int) -> list[Maps]:
        """Cut along the channels, all parts by one op."""
        self._move("split", x, Maps(x.height, x.width, sum(channels)))
        return [Maps(x.height, x.width, part) for part in channels]

    def crop(self, x: Maps, channels: int) -> Maps:
        """Copy some of the channels."""
        out = Maps(x.height, x.width, channels)
        return self._move("slice", out, out)

    def resize(self, x: Maps, height: int, width: int) -> Maps:
        """Scale every map to another height and width."""
        return self._append("resize", "resize", x, Maps(height, width, x.channels))

    def classify(self, x: Maps, classes: int = 1000) -> list[Op]:
        """Mean of each map, dense layer, softmax: how most classifiers end."""
        self.softmax(self.dense(self.mean(x), classes))
        return self.ops

    def _move(self, name: str, x: Maps, out: Maps, function: str = "") -> Maps:
        """Append an op that copies and computes nothing."""
        return self._append("move", name, x, out, macs=0, function=function)

    def _finish(self, out: Maps, act: str, *, apart: bool = False) -> Maps:
        """Append the activation where it is an op of its own."""
        return self.activation(out, act) if act not in FUSED or (act and apart) else out
