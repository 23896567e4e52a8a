"""MobileNets and MnasNet: what phones' latency is measured with most."""

from __future__ import annotations

from dataclasses import dataclass

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net, divisible

V1_BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
"""Channels and stride of MobileNetV1's separable convolutions."""

V2_STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
"""Expansion, channels, blocks and first stride of MobileNetV2's stages."""


def v1_features(net: Net, x: Maps, width: float = 1.0, act: str = "relu6", *, blocks: int = 13) -> Maps:
    """MobileNetV1 up to and with so many of its blocks."""
    x = net.conv(x, int(32 * width), 3, 2, act=act)
    for channels, stride in V1_BLOCKS[:blocks]:
        x = net.separable(x, int(channels * width), stride, act)
    return x


def mobilenet_v1(px: int = 224, width: float = 1.0, classes: int = 1000) -> list[Op]:
    """MobileNetV1 (https://arxiv.org/abs/1704.04861); its classifier is a pointwise convolution."""
    net = Net()
    x = net.mean(v1_features(net, Maps(px, px, 3), width))
    net.softmax(net.conv(x, classes))
    return net.ops


def inverted(net: Net, x: Maps, channels: int, expanded: int, kernel: int, stride: int, *, act: str = "relu6") -> Maps:
    """An inverted residual of MobileNetV2: expand, depthwise, project, and add where the sizes agree."""
    inner = net.conv(x, expanded, act=act) if expanded else x
    out = net.conv(net.depthwise(inner, kernel, stride, act=act), channels)
    return net.add(x, out) if out == x else out


def v2_features(net: Net, x: Maps, width: float = 1.0, *, expand_first: bool = False) -> dict[str, Maps]:
    """MobileNetV2 up to its last block: what each stage gives, and what its blocks of stride 2 expand to."""
    found: dict[str, Maps] = {}
    x = net.conv(x, divisible(32 * width), 3, 2, act="relu6")
    for stage, (expansion, channels, blocks, first) in enumerate(V2_STAGES):
        for block in range(blocks):
            expanded = x.channels * expansion if expansion > 1 or expand_first else 0
            if block == 0:
                found[f"expanded{stage}"] = Maps(x.height, x.width, expanded)
            x = inverted(net, x, divisible(channels * width), expanded, 3, first if block == 0 else 1)
        found[f"stage{stage}"] = x
    return found


def mobilenet_v2(px: int = 224, width: float = 1.0, classes: int = 1000, *, expand_first: bool = False) -> list[Op]:
    """MobileNetV2 (https://arxiv.org/abs/1801.04381).

    Args:
        px: Height and width of the image.
        width: Factor of all channels.
        classes: How many it tells apart.
        expand_first: Whether the first block has a convolution from 32 to 32 channels too: the Caffe model
            https://github.com/shicai/MobileNet-Caffe has, and so ncnn's benchmark (benchmark/mobilenet_v2.param).
    """
    net = Net()
    x = v2_features(net, Maps(px, px, 3), width, expand_first=expand_first)["stage6"]
    return net.classify(net.conv(x, divisible(1280 * max(width, 1.0)), act="relu6"), classes)


# === MobileNetV3 ===

V3_LARGE = [
    (3, 16, 16, 1, False, "relu"), (3, 64, 24, 2, False, "relu"), (3, 72, 24, 1, False, "relu"),
    (5, 72, 40, 2, True, "relu"), (5, 120, 40, 1, True, "relu"), (5, 120, 40, 1, True, "relu"),
    (3, 240, 80, 2, False, "hard_swish"), (3, 200, 80, 1, False, "hard_swish"), (3, 184, 80, 1, False, "hard_swish"),
    (3, 184, 80, 1, False, "hard_swish"), (3, 480, 112, 1, True, "hard_swish"), (3, 672, 112, 1, True, "hard_swish"),
    (5, 672, 160, 2, True, "hard_swish"), (5, 960, 160, 1, True, "hard_swish"), (5, 960, 160, 1, True, "hard_swish"),
]  # fmt: skip
"""Kernel, expanded channels, channels, stride, squeeze-excite and activation: table 1 of the paper."""

V3_SMALL = [
    (3, 16, 16, 2, True, "relu"), (3, 72, 24, 2, False, "relu"), (3, 88, 24, 1, False, "relu"),
    (5, 96, 40, 2, True, "hard_swish"), (5, 240, 40, 1, True, "hard_swish"), (5, 240, 40, 1, True, "hard_swish"),
    (5, 120, 48, 1, True, "hard_swish"), (5, 144, 48, 1, True, "hard_swish"), (5, 288, 96, 2, True, "hard_swish"),
    (5, 576, 96, 1, True, "hard_swish"), (5, 576, 96, 1, True, "hard_swish"),
]  # fmt: skip
"""Table 2 of the paper."""


def v3_block(
    net: Net, x: Maps, channels: int, expanded: int, kernel: int, stride: int, squeezed: int, act: str
) -> Maps:
    """An inverted residual of MobileNetV3; `squeezed` is 0 where nothing is squeezed."""
    inner = x if expanded == x.channels else net.conv(x, expanded, act=act)
    inner = net.depthwise(inner, kernel, stride, act=act)
    if squeezed:
        inner = net.squeeze_excite(inner, squeezed, gate="hard_sigmoid")
    out = net.conv(inner, channels)
    return net.add(x, out) if out == x else out


def mobilenet_v3(
    px: int = 224, width: float = 1.0, classes: int = 1000, *, small: bool = False, minimalistic: bool = False
) -> list[Op]:
    """MobileNetV3 (https://arxiv.org/abs/1905.02244), Large or `small`.

    Minimalistic ones have neither squeeze-excite nor h-swish nor kernels of 5
    (https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet).
    """
    net = Net()
    hard = "relu" if minimalistic else "hard_swish"
    x = net.conv(Maps(px, px, 3), 16, 3, 2, act=hard)
    before = 16
    for kernel, expanded, channels, stride, squeeze, act in V3_SMALL if small else V3_LARGE:
        inner = divisible(x.channels * expanded / before)
        squeezed = divisible(inner / 4) if squeeze and not minimalistic else 0
        kernel, act = (3, "relu") if minimalistic else (kernel, act)
        x = v3_block(net, x, divisible(channels * width), inner, kernel, stride, squeezed, act)
        before = channels
    x = net.mean(net.conv(x, divisible(x.channels * 6), act=hard))
    last = 1024 if small else 1280
    x = net.conv(x, divisible(last * width) if width > 1 else last, act=hard)
    net.softmax(net.conv(x, classes))
    return net.ops


def mobilenet_v3_ncnn(px: int = 224) -> list[Op]:
    """MobileNetV3-Large as ncnn's benchmark has it (benchmark/mobilenet_v3.param).

    It follows the paper's first version: the last stage's stride comes a block later, a quarter of the channels is
    squeezed to without rounding, the activation comes after squeeze-excite, and the last layers are dense.
    """
    net = Net()
    blocks = [*V3_LARGE[:12], (5, 672, 160, 1, True, "hard_swish"), (5, 672, 160, 2, True, "hard_swish"), V3_LARGE[-1]]
    x = net.conv(Maps(px, px, 3), 16, 3, 2, act="hard_swish")
    for kernel, expanded, channels, stride, squeeze, act in blocks:
        inner = x if expanded == x.channels else net.conv(x, expanded, act=act)
        inner = net.depthwise(inner, kernel, stride, act="" if squeeze else act)
        if squeeze:
            factors = net.dense(net.dense(net.mean(inner), expanded // 4, "relu"), expanded, "hard_sigmoid")
            inner = net.activation(net.scale(inner, factors.size), act)
        out = net.conv(inner, channels)
        x = net.add(x, out) if out == x else out
    x = net.activation(net.mean(net.conv(x, 960, act="hard_swish")), "hard_swish")
    net.softmax(net.dense(net.dense(x, 1280, "hard_swish"), 1000))
    return net.ops


# === MnasNet ===


@dataclass(frozen=True, slots=True)
class MnasStage:
    """Equal blocks of MnasNet, the first with the stride."""

    kernel: int
    expansion: int
    channels: int
    blocks: int
    stride: int


MNAS_B1 = [
    MnasStage(3, 3, 24, 3, 2), MnasStage(5, 3, 40, 3, 2), MnasStage(5, 6, 80, 3, 2), MnasStage(3, 6, 96, 2, 1),
    MnasStage(5, 6, 192, 4, 2), MnasStage(3, 6, 320, 1, 1),
]  # fmt: skip


def mnasnet(px: int = 224, width: float = 1.0, classes: int = 1000) -> list[Op]:
    """MnasNet-B1, the one without squeeze-excite (https://arxiv.org/abs/1807.11626).

    So have it https://github.com/tensorflow/tpu/tree/master/models/official/mnasnet, torchvision (`mnasnet1_0`,
    `mnasnet0_5`) and ncnn (benchmark/mnasnet.param).
    """
    net = Net()
    x = net.conv(Maps(px, px, 3), divisible(32 * width), 3, 2, act="relu")
    x = net.conv(net.depthwise(x, act="relu"), divisible(16 * width))
    for stage in MNAS_B1:
        for block in range(stage.blocks):
            stride = stage.stride if block == 0 else 1
            expanded = x.channels * stage.expansion
            x = inverted(net, x, divisible(stage.channels * width), expanded, stage.kernel, stride, act="relu")
    return net.classify(net.conv(x, 1280, act="relu"), classes)
