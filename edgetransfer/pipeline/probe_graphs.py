"""What is run on a device to learn its speed: graphs of one kind of op each, and small networks to test the result.

A graph of one kind repeats its op, each time with weights of its own, as a network would: one op alone would find its
weights in the cache every time. The networks are made of the same ops in the order of published ones, and smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgetransfer.pipeline.probe_onnx import OnnxGraphMaker
from edgetransfer.pipeline.probe_ops import GraphMaker

Maker = GraphMaker | OnnxGraphMaker
MAKERS: dict[str, type[GraphMaker] | type[OnnxGraphMaker]] = {"litert": GraphMaker, "onnx": OnnxGraphMaker}
"""What writes graphs for each engine."""
PRECISIONS = ("float32", "int8")
_MOST_MACS = 40_000_000  # of a chain of convolutions: some milliseconds on a slow core
_MOST_REPEATS = 8


@dataclass(frozen=True, slots=True)
class Probe:
    """A graph to be measured: `repeats` ops of a kind, one behind the other.

    Attributes:
        kind: The op, a name in `KINDS`.
        precision: "float32" or "int8".
        px: Height and width of what goes in.
        channels: Of what goes in.
        filters: Of what comes out of `conv` and `dense`; a chain goes back and forth between the two.
        kernel: Height and width of the window.
        stride: Of the window; above 1 nothing is repeated.
        repeats: How many ops.
    """

    kind: str
    precision: str
    px: int
    channels: int
    filters: int = 0
    kernel: int = 1
    stride: int = 1
    repeats: int = 1

    @property
    def name(self) -> str:
        """A short name, one for each probe."""
        window = f" {self.kernel}x{self.kernel}/{self.stride}" if self.kernel > 1 or self.stride > 1 else ""
        filters = f" to {self.filters}" if self.filters else ""
        return f"{self.kind}{window} {self.precision} {self.px}px {self.channels}{filters}, {self.repeats} in a row"


def probe_graph(probe: Probe, engine: str = "litert") -> bytes:
    """Return the file's content of `probe` for `engine`: (1, px, px, channels) in; a dense layer takes (1, channels).

    Floats of ONNX are (1, channels, px, px).
    """
    shape = (1, probe.channels) if probe.kind == "dense" else (1, probe.px, probe.px, probe.channels)
    maker = MAKERS[engine](probe.precision, shape)
    tensor = maker.input
    for number in range(probe.repeats):
        filters = probe.filters if number % 2 == 0 else probe.channels
        if isinstance(maker, OnnxGraphMaker) and probe.kind in ONNX_KINDS:
            tensor = ONNX_KINDS[probe.kind](maker, tensor)
        else:
            tensor = KINDS[probe.kind](maker, tensor, probe, filters)
    return maker.to_bytes(tensor)


KINDS: dict[str, Callable[[Maker, int, Probe, int], int]] = {
    "conv": lambda maker, given, probe, filters: maker.conv(given, filters, probe.kernel, probe.stride),
    "depthwise": lambda maker, given, probe, _: maker.depthwise(given, probe.kernel, probe.stride),
    "dense": lambda maker, given, _, filters: maker.dense(given, filters),
    "add": lambda maker, given, *_: maker.add(given, given),
    "mul": lambda maker, given, *_: maker.mul(given, given),
    "scale": lambda maker, given, probe, _: maker.mul(given, maker.channel_scales(probe.channels)),
    "hard_swish": lambda maker, given, *_: maker.hard_swish(given),
    "sigmoid": lambda maker, given, *_: maker.sigmoid(given),
    "softmax": lambda maker, given, *_: maker.softmax(given),
    "mean": lambda maker, given, *_: maker.mean(given),
    "max_pool": lambda maker, given, probe, _: maker.pool(given, "MAX_POOL_2D", probe.kernel, probe.stride),
    "average_pool": lambda maker, given, probe, _: maker.pool(given, "AVERAGE_POOL_2D", probe.kernel, probe.stride),
    "concat": lambda maker, given, *_: maker.concat(given, given),
    "pad": lambda maker, given, *_: maker.pad(given),
    "resize": lambda maker, given, *_: maker.resize(given),
    "convert": lambda maker, given, *_: maker.convert(given),
}
"""How each kind of op is added to a graph."""

ONNX_KINDS: dict[str, Callable[[OnnxGraphMaker, int], int]] = {
    "relu": lambda maker, given: maker.relu(given),
    "slice": lambda maker, given: maker.cut(given),
    "swish": lambda maker, given: maker.mul(maker.sigmoid(given), given),
    "residual": lambda maker, given: _residual_pair(maker, given),
}
"""What ONNX Runtime has kernels of its own for besides: ops that it computes along with others, or cannot."""


def _residual_pair(maker: OnnxGraphMaker, given: int) -> int:
    first = maker.conv(given, maker.shape(given)[3])
    return maker.add(maker.conv(first, maker.shape(given)[3], relu6=False), first)


# (px, channels, filters[, kernel, stride]) of convolutions as MobileNets, EfficientNets and ResNets have them.
_POINTWISE = (
    (112, 16, 64), (112, 32, 16), (56, 24, 144), (56, 144, 24), (28, 40, 240), (28, 240, 40), (14, 96, 576),
    (14, 80, 200), (14, 480, 112), (7, 160, 960), (7, 320, 1280), (7, 192, 1152), (28, 128, 512), (14, 256, 1024),
    (56, 64, 256), (7, 512, 2048), (1, 96, 24), (1, 960, 240), (147, 32, 64), (74, 128, 128), (37, 728, 728),
)  # fmt: skip
_SPATIAL = (
    (56, 64, 64, 3, 1), (28, 128, 128, 3, 1), (14, 256, 256, 3, 1), (7, 512, 512, 3, 1), (17, 192, 192, 3, 1),
    (56, 24, 48, 3, 1), (112, 16, 16, 3, 1), (28, 32, 64, 5, 1), (14, 96, 128, 5, 1), (56, 64, 128, 3, 2),
    (28, 128, 256, 3, 2), (14, 256, 512, 3, 2), (147, 32, 64, 3, 1), (35, 96, 96, 3, 1),
)  # fmt: skip
_STEMS = ((224, 32, 3), (224, 16, 3), (224, 64, 7), (96, 16, 3), (299, 32, 3))
_DEPTHWISE = (
    (112, 32, 3, 1), (112, 96, 3, 2), (56, 144, 3, 1), (28, 192, 3, 1), (14, 384, 3, 1), (14, 576, 3, 1),
    (7, 960, 3, 1), (56, 144, 3, 2), (14, 576, 3, 2), (56, 144, 5, 2), (28, 240, 5, 1), (14, 480, 5, 1),
    (7, 1152, 5, 1), (28, 88, 7, 1), (14, 200, 7, 1), (147, 64, 3, 1), (74, 128, 3, 1),
)  # fmt: skip
_DENSE = ((1280, 1000), (1024, 1000), (576, 1024), (2048, 256), (128, 64))
_SURFACES = ((147, 64), (56, 24), (28, 96), (14, 160), (7, 320), (56, 256), (112, 32))
_ODD = ((111, 11, 5), (56, 22, 7), (56, 22, 3), (28, 44, 3))  # channels that ONNX Runtime has no blocks for
_TINY = ((7, 32), (6, 64))  # of which an op's own overhead is the most
_MANY = 32
_REPEATS = {"residual": 2, "slice": 1}
_POOLS = ((112, 64, 3, 2), (56, 64, 2, 2), (28, 192, 3, 1), (35, 256, 3, 1))


def probes(precision: str, engine: str = "litert") -> tuple[Probe, ...]:
    """Return the graphs that are measured in `precision` with `engine`."""
    more = _onnx_probes(precision) if engine == "onnx" else ()
    return (*_matrix_probes(precision), *_other_probes(precision), *more)


def _matrix_probes(precision: str) -> Iterator[Probe]:
    for px, channels, filters in _POINTWISE:
        repeats = max(2, min(_MOST_REPEATS, _MOST_MACS // (px * px * channels * filters) // 2 * 2))
        yield Probe("conv", precision, px, channels, filters, repeats=repeats)
    for px, channels, filters, kernel, stride in _SPATIAL:
        yield Probe("conv", precision, px, channels, filters, kernel, stride, 1 if stride > 1 else 2)
    for px, filters, kernel in _STEMS:
        yield Probe("conv", precision, px, 3, filters, kernel, 2)
    for px, channels, kernel, stride in _DEPTHWISE:
        yield Probe("depthwise", precision, px, channels, 0, kernel, stride, 1 if stride > 1 else 4)
    for channels, units in _DENSE:
        yield Probe("dense", precision, 1, channels, units, repeats=2)


def _other_probes(precision: str) -> Iterator[Probe]:
    for px, channels in _SURFACES:
        for kind in ("add", "mul", "scale", "hard_swish", "sigmoid"):
            yield Probe(kind, precision, px, channels, repeats=4)
        for kind in ("mean", "concat", "pad"):
            yield Probe(kind, precision, px, channels)
    for px, channels, kernel, stride in _POOLS:
        for kind in ("max_pool", "average_pool"):
            yield Probe(kind, precision, px, channels, 0, kernel, stride)
    for px, channels in ((28, 96), (14, 160), (7, 64)):
        yield Probe("resize", precision, px, channels)
    for px in (96, 224, 299):
        yield Probe("convert", precision, px, 3)
    for classes in (10, 1000):
        yield Probe("softmax", precision, 1, classes)


def _onnx_probes(precision: str) -> Iterator[Probe]:
    for px, channels, kernel in _ODD:
        yield Probe("depthwise", precision, px, channels, 0, kernel, repeats=2)
        for kind in ("max_pool", "average_pool"):
            yield Probe(kind, precision, px, channels, 0, 3)
    for px, channels in _TINY:
        yield Probe("conv", precision, px, channels, channels, repeats=_MANY)
        yield Probe("depthwise", precision, px, channels, 0, 3, repeats=_MANY)
        yield Probe("add", precision, px, channels, repeats=_MANY)
    for px, channels in _SURFACES:
        for kind in ONNX_KINDS:
            yield Probe(kind, precision, px, channels, repeats=_REPEATS.get(kind, 4))


# === Networks that the coefficients are tested on ===


def network_graph(name: str, precision: str, engine: str = "litert") -> bytes:
    """Return the file's content of the small network called `name`, one of `NETWORKS`, for `engine`."""
    px, network = NETWORKS[name]
    maker = MAKERS[engine](precision, (1, px, px, 3))
    tensor = network(maker, maker.convert(maker.input))
    return maker.to_bytes(maker.dense(maker.mean(tensor), 100))


def _separable(maker: Maker, given: int) -> int:
    tensor = maker.conv(given, 16, 3, 2)
    for filters, stride in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (256, 1), (512, 2)):
        tensor = maker.conv(maker.depthwise(tensor, 3, stride), filters)
    return tensor


def _inverted(maker: Maker, given: int) -> int:
    tensor = maker.conv(given, 32, 3, 2)
    for filters, stride, blocks in ((16, 1, 1), (24, 2, 2), (40, 2, 2), (80, 2, 3), (160, 2, 2)):
        for number in range(blocks):
            wide = maker.conv(tensor, 6 * maker.shape(tensor)[3])
            kernel = 5 if filters in (40, 160) else 3
            wide = maker.depthwise(wide, kernel, stride if number == 0 else 1)
            narrow = maker.conv(wide, filters, relu6=False)
            tensor = narrow if number == 0 else maker.add(narrow, tensor)
    return maker.conv(tensor, 960)


def _squeezed(maker: Maker, given: int) -> int:
    tensor = maker.hard_swish(maker.conv(given, 16, 3, 2, relu6=False))
    for filters, stride in ((16, 2), (24, 2), (24, 1), (40, 2), (40, 1), (96, 2), (96, 1)):
        before = tensor
        wide = maker.hard_swish(maker.conv(tensor, 4 * filters, relu6=False))
        wide = maker.hard_swish(maker.depthwise(wide, 5, stride, relu6=False))
        gate = maker.conv(maker.conv(maker.mean(wide), filters), 4 * filters, relu6=False)
        tensor = maker.conv(maker.mul(wide, maker.sigmoid(gate)), filters, relu6=False)
        if maker.shape(tensor) == maker.shape(before):
            tensor = maker.add(tensor, before)
    return tensor


def _residual(maker: Maker, given: int) -> int:
    tensor = maker.pool(maker.conv(given, 32, 7, 2), "MAX_POOL_2D", 3, 2)
    for filters, stride in ((32, 1), (64, 2), (128, 2), (256, 2)):
        short = maker.conv(tensor, filters, 1, stride, relu6=False)
        tensor = maker.add(maker.conv(maker.conv(tensor, filters, 3, stride), filters, 3, relu6=False), short)
        tensor = maker.add(maker.conv(maker.conv(tensor, filters, 3), filters, 3, relu6=False), tensor)
    return tensor


def _branched(maker: Maker, given: int) -> int:
    tensor = maker.pool(maker.conv(given, 32, 3, 2), "MAX_POOL_2D", 3, 2)
    for filters, stride in ((64, 2), (96, 1), (128, 2), (160, 1)):
        narrow = maker.conv(tensor, filters // 2)
        one, other = maker.conv(narrow, filters), maker.conv(narrow, filters, 3)
        pooled = maker.conv(maker.pool(tensor, "AVERAGE_POOL_2D", 3, 1), filters)
        tensor = maker.concat(maker.concat(one, other), pooled)
        if stride > 1:
            tensor = maker.pool(tensor, "MAX_POOL_2D", 3, 2)
    return tensor


NETWORKS: dict[str, tuple[int, Callable[[Maker, int], int]]] = {
    "separable": (160, _separable),
    "inverted": (192, _inverted),
    "squeezed": (160, _squeezed),
    "residual": (128, _residual),
    "branched": (128, _branched),
}
"""Input size and body of each test network: like MobileNetV1, MobileNetV2 and EfficientNet-Lite, MobileNetV3, ResNet,
and Inception with SqueezeNet."""
