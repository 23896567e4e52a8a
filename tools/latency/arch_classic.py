"""VGG, SqueezeNet and ShuffleNetV2."""

from __future__ import annotations

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net


def vgg(px: int = 224, convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)) -> list[Op]:
    """VGG16, or VGG19 with 2, 2, 4, 4, 4 (https://arxiv.org/abs/1409.1556)."""
    net = Net()
    x = Maps(px, px, 3)
    for channels, count in zip((64, 128, 256, 512, 512), convolutions, strict=True):
        for _ in range(count):
            x = net.conv(x, channels, 3, act="relu")
        x = net.pool(x, 2, 2, "valid")
    net.softmax(net.dense(net.dense(net.dense(x, 4096, "relu"), 4096, "relu"), 1000))
    return net.ops


FIRES = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
"""What SqueezeNet's modules squeeze to and expand to, twice."""


def squeezenet(px: int = 224, version: str = "1.1", *, ncnn: bool = False) -> list[Op]:
    """SqueezeNet 1.0 (https://arxiv.org/abs/1602.07360) or 1.1 (https://github.com/forresti/SqueezeNet).

    ncnn's (benchmark/squeezenet.param, 227 px) pads the last convolution, though it is 1x1.
    """
    net = Net()
    kernel, channels, pools = (7, 96, (2, 6)) if version == "1.0" else (3, 64, (1, 3))
    x = net.conv(Maps(px, px, 3), channels, kernel, 2, "valid", "relu")
    x = net.pool(x, 3, 2, "valid", up=True)
    for index, (squeezed, expanded) in enumerate(FIRES):
        small = net.conv(x, squeezed, act="relu")
        x = net.concat(net.conv(small, expanded, act="relu"), net.conv(small, expanded, 3, act="relu"))
        if index in pools:
            x = net.pool(x, 3, 2, "valid", up=True)
    x = net.conv(x, 1000, 1, 1, 1 if ncnn else "valid", "relu")
    net.softmax(net.mean(x))
    return net.ops


# === ShuffleNetV2 ===


def shuffle_unit(net: Net, x: Maps, channels: int, stride: int, act: str = "relu", *, copies: int = 1) -> Maps:
    """A unit of ShuffleNetV2 without its shuffle.

    Args:
        net: What it is appended to.
        x: What flows in.
        channels: What it gives.
        stride: 2 where both halves are computed, 1 where one passes.
        act: Activation of the pointwise convolutions.
        copies: How many ops cut the channels in two.
    """
    half = channels // 2
    if stride == 2:
        passed = net.conv(net.depthwise(x, 3, 2, 1), half, act=act)
        moved = x
    elif copies == 1:
        passed, moved = net.split(x, half, half)
    else:
        passed, moved = net.crop(x, half), net.crop(x, half)
    moved = net.conv(moved, half, act=act)
    return net.concat(passed, net.conv(net.depthwise(moved, 3, stride, 1), half, act=act))


def shufflenet_v2_features(
    net: Net, px: int, channels: tuple[int, int, int] = (116, 232, 464), act: str = "relu", *, copies: int = 1
) -> list[Maps]:
    """What the three stages of ShuffleNetV2 give."""
    x = net.pool(net.conv(Maps(px, px, 3), 24, 3, 2, 1, act), 3, 2, 1)
    found = []
    for given, units in zip(channels, (4, 8, 4), strict=True):
        for unit in range(units):
            x = net.move(shuffle_unit(net, x, given, 1 if unit else 2, act, copies=copies), "channel shuffle")
        found.append(x)
    return found


def shufflenet_v2(px: int = 224, channels: tuple[int, int, int] = (116, 232, 464)) -> list[Op]:
    """ShuffleNetV2 1.0, or 0.5 with 48, 96, 192 (https://arxiv.org/abs/1807.11164; benchmark/shufflenet_v2.param)."""
    net = Net()
    x = shufflenet_v2_features(net, px, channels)[-1]
    return net.classify(net.conv(x, 1024, act="relu"))
