"""EfficientNets: the first family, Lite, EdgeTPU and V2."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net, divisible


@dataclass(frozen=True, slots=True)
class Stage:
    """Equal blocks, the first with the stride."""

    expansion: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3
    squeeze: float = 0.25
    fused: bool = False
    skips: bool = True


@dataclass(frozen=True, slots=True)
class Variant:
    """How a family's members differ.

    Attributes:
        stages: Of the member that all are scaled from.
        width: Factor of the channels.
        depth: Factor of the blocks.
        act: Activation everywhere.
        stem: Channels of the first convolution before scaling.
        head: Channels of the last convolution before scaling.
        fixed: Whether Lite's rules hold: stem, head, first and last stage are not scaled.
        alone: Whether a fused block that does not expand has one convolution, not two.
        biased: Whether the constant after each addition is an op of its own, as in ncnn's benchmark.
    """

    stages: list[Stage]
    width: float = 1.0
    depth: float = 1.0
    act: str = "swish"
    stem: int = 32
    head: int = 1280
    fixed: bool = False
    alone: bool = True
    biased: bool = False


B0 = [
    Stage(1, 16, 1, 1), Stage(6, 24, 2, 2), Stage(6, 40, 2, 2, 5), Stage(6, 80, 3, 2), Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5), Stage(6, 320, 1, 1),
]  # fmt: skip
LITE = [Stage(s.expansion, s.channels, s.blocks, s.stride, s.kernel, 0) for s in B0]
EDGETPU = [
    Stage(4, 24, 1, 1, 3, 0, True, False), Stage(8, 32, 2, 2, 3, 0, True), Stage(8, 48, 4, 2, 3, 0, True),
    Stage(8, 96, 5, 2, 5, 0), Stage(8, 144, 4, 1, 5, 0), Stage(8, 192, 2, 2, 5, 0),
]  # fmt: skip
V2_B0 = [
    Stage(1, 16, 1, 1, 3, 0, True), Stage(4, 32, 2, 2, 3, 0, True), Stage(4, 48, 2, 2, 3, 0, True),
    Stage(4, 96, 3, 2), Stage(6, 112, 5, 1), Stage(6, 192, 8, 2),
]  # fmt: skip
V2_S = [
    Stage(1, 24, 2, 1, 3, 0, True), Stage(4, 48, 4, 2, 3, 0, True), Stage(4, 64, 4, 2, 3, 0, True),
    Stage(4, 128, 6, 2), Stage(6, 160, 9, 1), Stage(6, 256, 15, 2),
]  # fmt: skip


def _block(net: Net, x: Maps, stage: Stage, channels: int, stride: int, variant: Variant) -> Maps:
    """One inverted residual: mobile, or fused (its expansion and depthwise are one convolution)."""
    act, inner, expanded = variant.act, x, x.channels * stage.expansion
    if stage.fused and stage.expansion == 1 and variant.alone:
        out = net.conv(x, channels, stage.kernel, stride, act=act)
    else:
        if stage.fused:
            inner = net.conv(x, expanded, stage.kernel, stride, act=act)
        else:
            inner = net.conv(x, expanded, act=act) if stage.expansion > 1 else x
            inner = net.depthwise(inner, stage.kernel, stride, act=act)
        if stage.squeeze:
            inner = net.squeeze_excite(inner, max(1, int(x.channels * stage.squeeze)), act)
        out = net.conv(inner, channels)
    if out != x or not stage.skips:
        return out
    out = net.add(x, out)
    return net.bias(out) if variant.biased else out


def _build(px: int, variant: Variant, classes: int = 1000) -> list[Op]:
    """Any EfficientNet."""
    net = Net()
    unscaled = 1.0 if variant.fixed else variant.width
    x = net.conv(Maps(px, px, 3), divisible(variant.stem * unscaled), 3, 2, act=variant.act)
    last = len(variant.stages) - 1
    for index, stage in enumerate(variant.stages):
        ends = variant.fixed and index in (0, last)
        blocks = stage.blocks if ends else ceil(stage.blocks * variant.depth)
        for block in range(blocks):
            channels = divisible(stage.channels * variant.width)
            x = _block(net, x, stage, channels, stage.stride if block == 0 else 1, variant)
    x = net.conv(x, divisible(variant.head * unscaled), act=variant.act)
    return net.classify(x, classes)


def efficientnet(px: int = 224, width: float = 1.0, depth: float = 1.0) -> list[Op]:
    """EfficientNet (https://arxiv.org/abs/1905.11946): B0, or B4 at 380 px with width 1.4 and depth 1.8."""
    return _build(px, Variant(B0, width, depth))


LITE_SCALES = [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8)]
"""Width and depth of Lite0 to Lite4."""


def efficientnet_lite(number: int, px: int) -> list[Op]:
    """EfficientNet-Lite: neither squeeze-excite nor swish, stem and head not scaled.

    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """
    width, depth = LITE_SCALES[number]
    return _build(px, Variant(LITE, width, depth, act="relu6", fixed=True))


def efficientnet_edgetpu(px: int, width: float = 1.0, depth: float = 1.0) -> list[Op]:
    """EfficientNet-EdgeTPU: S at 224 px, M at 240 px with depth 1.1.

    https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/edgetpu.
    """
    return _build(px, Variant(EDGETPU, width, depth, act="relu", alone=False))


def efficientnet_v2(px: int, size: str = "b0", *, biased: bool = False) -> list[Op]:
    """EfficientNetV2 (https://arxiv.org/abs/2104.00298): `b0`, `b1` or `s`.

    Args:
        px: Height and width of the image.
        size: Which.
        biased: Whether the batch norm of a block's last convolution is left half unfolded, as in ncnn's benchmark
            (benchmark/efficientnetv2_b0.param): one more addition after each residual one.
    """
    if size == "s":
        return _build(px, Variant(V2_S, stem=24, biased=biased))
    return _build(px, Variant(V2_B0, depth=1.1 if size == "b1" else 1.0, biased=biased))
