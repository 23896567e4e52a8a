"""Inception networks."""

from __future__ import annotations

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net

Step = tuple[int, int | tuple[int, int]]
"""Channels and kernel of a convolution."""


def _chain(net: Net, x: Maps, *steps: Step, reduces: bool = False) -> Maps:
    """Convolutions one after the other; where the chain `reduces`, the last has stride 2 and no padding."""
    for index, (channels, kernel) in enumerate(steps):
        last = reduces and index == len(steps) - 1
        x = net.conv(x, channels, kernel, 2 if last else 1, "valid" if last else "same", "relu")
    return x


def _pooled(net: Net, x: Maps, channels: int) -> Maps:
    """Mean of 3x3, then a pointwise convolution."""
    return net.conv(net.pool(x, 3, 1, function="average"), channels, act="relu")


def _shrunk(net: Net, x: Maps) -> Maps:
    """Largest of 3x3 with stride 2."""
    return net.pool(x, 3, 2, "valid")


def _forked(net: Net, x: Maps, channels: int) -> list[Maps]:
    """1x3 and 3x1 side by side."""
    return [net.conv(x, channels, (1, 3), act="relu"), net.conv(x, channels, (3, 1), act="relu")]


# === Version 1 ===

V1_MODULES = [
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
]  # fmt: skip
"""Table 1 of the paper: 1x1; 3x3 reduce and 3x3; 5x5 reduce and 5x5; after the pool."""


def inception_v1(px: int = 224, wide: int = 3) -> list[Op]:
    """GoogLeNet (https://arxiv.org/abs/1409.4842) without its local response norms.

    TF-Slim's and torchvision's have 3x3 where the paper and Caffe have 5x5: `wide` says which.
    """
    net = Net()
    x = net.pool(net.conv(Maps(px, px, 3), 64, 7, 2, act="relu"), 3, 2)
    x = net.pool(_chain(net, x, (64, 1), (192, 3)), 3, 2)
    for index, (single, reduce3, three, reduce5, five, pooled) in enumerate(V1_MODULES):
        x = net.concat(
            _chain(net, x, (single, 1)),
            _chain(net, x, (reduce3, 1), (three, 3)),
            _chain(net, x, (reduce5, 1), (five, wide)),
            _chain(net, net.pool(x, 3, 1), (pooled, 1)),
        )
        if index in (1, 6):
            x = net.pool(x, 3, 2)
    return net.classify(x)


# === Version 3 ===


def _stem(net: Net, px: int) -> Maps:
    """How version 3 and Inception-ResNet-V2 begin."""
    x = net.conv(Maps(px, px, 3), 32, 3, 2, "valid", "relu")
    x = net.conv(net.conv(x, 32, 3, 1, "valid", "relu"), 64, 3, act="relu")
    x = net.conv(net.conv(_shrunk(net, x), 80, act="relu"), 192, 3, 1, "valid", "relu")
    return _shrunk(net, x)


def inception_v3(px: int = 299) -> list[Op]:
    """Inception-V3 (https://arxiv.org/abs/1512.00567), as Keras and TF-Slim have it."""
    net = Net()
    x = _stem(net, px)
    for pooled in (32, 64, 64):
        x = net.concat(
            _chain(net, x, (64, 1)), _chain(net, x, (48, 1), (64, 5)),
            _chain(net, x, (64, 1), (96, 3), (96, 3)), _pooled(net, x, pooled),
        )  # fmt: skip
    x = net.concat(
        _chain(net, x, (384, 3), reduces=True), _chain(net, x, (64, 1), (96, 3), (96, 3), reduces=True), _shrunk(net, x)
    )
    for inner in (128, 160, 160, 192):
        x = net.concat(
            _chain(net, x, (192, 1)), _chain(net, x, (inner, 1), (inner, (1, 7)), (192, (7, 1))),
            _chain(net, x, (inner, 1), (inner, (7, 1)), (inner, (1, 7)), (inner, (7, 1)), (192, (1, 7))),
            _pooled(net, x, 192),
        )  # fmt: skip
    x = net.concat(
        _chain(net, x, (192, 1), (320, 3), reduces=True),
        _chain(net, x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), reduces=True),
        _shrunk(net, x),
    )
    for _ in range(2):
        single, three = _chain(net, x, (320, 1)), _chain(net, x, (384, 1))
        double = _chain(net, x, (448, 1), (384, 3))
        forks = net.concat(*_forked(net, three, 384)), net.concat(*_forked(net, double, 384))
        x = net.concat(single, *forks, _pooled(net, x, 192))
    return net.classify(x)


# === Version 4 ===


def _stem_v4(net: Net, px: int) -> Maps:
    """Figure 3 of the paper."""
    x = net.conv(Maps(px, px, 3), 32, 3, 2, "valid", "relu")
    x = net.conv(net.conv(x, 32, 3, 1, "valid", "relu"), 64, 3, act="relu")
    x = net.concat(_shrunk(net, x), _chain(net, x, (96, 3), reduces=True))
    left = net.conv(_chain(net, x, (64, 1)), 96, 3, 1, "valid", "relu")
    right = net.conv(_chain(net, x, (64, 1), (64, (1, 7)), (64, (7, 1))), 96, 3, 1, "valid", "relu")
    x = net.concat(left, right)
    return net.concat(_chain(net, x, (192, 3), reduces=True), _shrunk(net, x))


def _module_b(net: Net, x: Maps) -> Maps:
    """Figure 5 of the paper."""
    return net.concat(
        _chain(net, x, (384, 1)),
        _chain(net, x, (192, 1), (224, (1, 7)), (256, (7, 1))),
        _chain(net, x, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        _pooled(net, x, 128),
    )


def inception_v4(px: int = 299) -> list[Op]:
    """Inception-V4 (https://arxiv.org/abs/1602.07261), as TF-Slim has it."""
    net = Net()
    x = _stem_v4(net, px)
    for _ in range(4):
        x = net.concat(
            _chain(net, x, (96, 1)), _chain(net, x, (64, 1), (96, 3)), _chain(net, x, (64, 1), (96, 3), (96, 3)),
            _pooled(net, x, 96),
        )  # fmt: skip
    x = net.concat(
        _chain(net, x, (384, 3), reduces=True), _chain(net, x, (192, 1), (224, 3), (256, 3), reduces=True),
        _shrunk(net, x),
    )  # fmt: skip
    for _ in range(7):
        x = _module_b(net, x)
    x = net.concat(
        _chain(net, x, (192, 1), (192, 3), reduces=True),
        _chain(net, x, (256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3), reduces=True),
        _shrunk(net, x),
    )
    for _ in range(3):
        forks = _forked(net, _chain(net, x, (384, 1)), 256)
        forks += _forked(net, _chain(net, x, (384, 1), (448, (3, 1)), (512, (1, 3))), 256)
        x = net.concat(_chain(net, x, (256, 1)), *forks, _pooled(net, x, 256))
    return net.classify(x)


# === Inception-ResNet ===


def _residual(net: Net, x: Maps, *branches: Maps) -> Maps:
    """Join the branches, bring them to the channels of `x` and add; the factor is folded into the convolution."""
    return net.add(x, net.conv(net.concat(*branches), x.channels), "relu")


def inception_resnet_v2(px: int = 299) -> list[Op]:
    """Inception-ResNet-V2 (https://arxiv.org/abs/1602.07261), as Keras and TF-Slim have it."""
    net = Net()
    x = _stem(net, px)
    x = net.concat(
        _chain(net, x, (96, 1)), _chain(net, x, (48, 1), (64, 5)), _chain(net, x, (64, 1), (96, 3), (96, 3)),
        _pooled(net, x, 64),
    )  # fmt: skip
    for _ in range(10):
        branches = _chain(net, x, (32, 1)), _chain(net, x, (32, 1), (32, 3)), _chain(net, x, (32, 1), (48, 3), (64, 3))
        x = _residual(net, x, *branches)
    x = net.concat(
        _chain(net, x, (384, 3), reduces=True), _chain(net, x, (256, 1), (256, 3), (384, 3), reduces=True),
        _shrunk(net, x),
    )  # fmt: skip
    for _ in range(20):
        x = _residual(net, x, _chain(net, x, (192, 1)), _chain(net, x, (128, 1), (160, (1, 7)), (192, (7, 1))))
    x = net.concat(
        _chain(net, x, (256, 1), (384, 3), reduces=True), _chain(net, x, (256, 1), (288, 3), reduces=True),
        _chain(net, x, (256, 1), (288, 3), (320, 3), reduces=True), _shrunk(net, x),
    )  # fmt: skip
    for _ in range(10):
        x = _residual(net, x, _chain(net, x, (192, 1)), _chain(net, x, (192, 1), (224, (1, 3)), (256, (3, 1))))
    return net.classify(net.conv(x, 1536, act="relu"))
