"""NASNet-A, mobile (https://arxiv.org/abs/1707.07012), as Keras and TF-Slim have it."""

from __future__ import annotations

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net


def _separable(net: Net, x: Maps, channels: int, kernel: int, stride: int = 1) -> Maps:
    """Two separable convolutions, the stride in the first; the relu before them is not computed here."""
    x = net.conv(net.depthwise(x, kernel, stride), channels, act="relu")
    return net.conv(net.depthwise(x, kernel), channels)


def _mean(net: Net, x: Maps, stride: int = 1) -> Maps:
    """Mean of 3x3."""
    return net.pool(x, 3, stride, function="average")


def _adjusted(net: Net, before: Maps | None, x: Maps, channels: int) -> Maps:
    """What the cell before the last gave, in the size and channels of this one."""
    if before is None:
        return x
    if before.height != x.height:
        before = net.activation(before, "relu")
        left = net.conv(net.pool(before, 1, 2, "valid", function="average"), channels // 2)
        shifted = net.crop(before, before.channels)  # by one element: a copy
        return net.norm(net.concat(left, net.conv(net.pool(shifted, 1, 2, "valid", function="average"), channels // 2)))
    if before.channels != channels:
        return net.conv(net.activation(before, "relu"), channels)
    return before


def _normal(net: Net, x: Maps, before: Maps | None, channels: int) -> Maps:
    """A cell that keeps the size."""
    old = _adjusted(net, before, x, channels)
    new = net.conv(net.activation(x, "relu"), channels)
    old_ready, new_ready = net.activation(old, "relu"), net.activation(new, "relu")
    parts = [
        net.add(_separable(net, new_ready, channels, 5), _separable(net, old_ready, channels, 3)),
        net.add(_separable(net, old_ready, channels, 5), _separable(net, old_ready, channels, 3)),
        net.add(_mean(net, new), old),
        net.add(_mean(net, old), _mean(net, old)),
        net.add(_separable(net, new_ready, channels, 3), new),
    ]
    return net.concat(old, *parts)


def _reduction(net: Net, x: Maps, before: Maps | None, channels: int) -> Maps:
    """A cell that halves the size."""
    old = _adjusted(net, before, x, channels)
    new = net.conv(net.activation(x, "relu"), channels)
    old_ready, new_ready = net.activation(old, "relu"), net.activation(new, "relu")
    first = net.add(_separable(net, new_ready, channels, 5, 2), _separable(net, old_ready, channels, 7, 2))
    second = net.add(net.pool(new, 3, 2), _separable(net, old_ready, channels, 7, 2))
    third = net.add(_mean(net, new, 2), _separable(net, old_ready, channels, 5, 2))
    fourth = net.add(_mean(net, first), second)
    fifth = net.add(_separable(net, net.activation(first, "relu"), channels, 3), net.pool(new, 3, 2))
    return net.concat(second, third, fourth, fifth)


def nasnet_mobile(px: int = 224) -> list[Op]:
    """Four cells of each size, 1056 channels at the end."""
    net = Net()
    before: Maps | None = None
    x = net.conv(Maps(px, px, 3), 32, 3, 2, "valid")
    for channels in (11, 22):
        x, before = _reduction(net, x, before, channels), x
    for scale in (1, 2, 4):
        if scale > 1:
            x, before = _reduction(net, x, before, 44 * scale), x
        for _ in range(4):
            x, before = _normal(net, x, before, 44 * scale), x
    return net.classify(net.activation(x, "relu"))
