"""What an op costs, whatever the format of its file: the terms that estimates of latency and memory are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "conv", "depthwise", "dense", "matmul", "pool", "reduce", "add", "mul", "activation", "softmax", "resize", "move",
    "convert", "other",
]  # fmt: skip
"""`conv` has one group or several, `dense` weights and `matmul` none; `add` and `mul` take two tensors; `activation`
is one that no op before it was fused with; `move` copies (concat, pad, transpose, slice; not reshape, which costs
nothing); `convert` changes the dtype."""

Precision = Literal["float32", "float16", "int8", "int16", "dynamic_int8", "weight_int4"]
"""What an op computes in: `int8` whether signed or not, `int16` with int8 weights, `dynamic_int8` with float32
activations that it quantizes itself, `weight_int4` likewise."""

_ACTIVATION_BYTES = {"float32": 4, "float16": 2, "int8": 1, "int16": 2, "dynamic_int8": 4, "weight_int4": 4}
_WEIGHT_BYTES = {"float32": 4.0, "float16": 2.0, "int8": 1.0, "int16": 1.0, "dynamic_int8": 1.0, "weight_int4": 0.5}


@dataclass(frozen=True, slots=True)
class Op:
    """One op as an engine runs it: batch norm folded, activations fused with what is before them.

    Attributes:
        kind: What it is.
        macs: Multiply-adds for one image. Without weights: elements computed, times the window's where it has one.
        read: Elements of activations that it takes, all inputs together.
        weights: Elements of its weights.
        written: Elements that it gives.
        precision: What it computes in.
        taps: Height times width of its window: 1 for pointwise convolutions and whatever has none.
        stride: Of its window, along the width.
        channels_in: Channels it takes; 0 where that means nothing.
        channels_out: Channels it gives.
        groups: Groups of a convolution; 1 but for grouped ones, and depthwise ones that are computed group by group.
        function: Which one, of kinds that have several with kernels of unlike speed: "hard_swish", "sigmoid", "max",
            "average", "pad", "concat", "scale" (a product with one number a channel); empty where it is not known.
        name: What it computes, in the file's words.
    """

    kind: Kind
    macs: int
    read: int
    weights: int
    written: int
    precision: Precision = "float32"
    taps: int = 1
    stride: int = 1
    channels_in: int = 0
    channels_out: int = 0
    groups: int = 1
    function: str = ""
    name: str = ""

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations that it reads and writes."""
        return (self.read + self.written) * _ACTIVATION_BYTES[self.precision]

    @property
    def weight_bytes(self) -> float:
        """Bytes of weights that it reads."""
        return self.weights * _WEIGHT_BYTES[self.precision]
