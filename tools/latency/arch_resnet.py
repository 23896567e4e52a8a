"""ResNets and DenseNet."""

from __future__ import annotations

from dataclasses import dataclass

from edgetransfer.estimate.op import Op
from latency.arch_net import Maps, Net


@dataclass(frozen=True, slots=True)
class Residual:
    """How the published ResNets of the first version differ.

    Attributes:
        blocks: Of the four stages.
        bottleneck: Whether a block is 1x1, 3x3, 1x1, not two of 3x3.
        late: Whether a bottleneck's stride is at its 3x3, as torchvision's and PaddlePaddle's is.
        deep: Whether three convolutions of 3x3 replace the first of 7x7, and a mean of 2x2 comes before the
            convolution of a shortcut with a stride (ResNet-D, https://arxiv.org/abs/1812.01187).
        projects: Whether the first shortcut has a convolution even where the channels agree, as in ncnn's benchmark.
        relu_apart: As in `Net`.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool = True
    late: bool = False
    deep: bool = False
    projects: bool = False
    relu_apart: bool = False


def _stem(net: Net, px: int, act: str = "relu", *, deep: bool = False) -> Maps:
    """Down to a quarter of the image's size."""
    x = Maps(px, px, 3)
    if deep:
        x = net.conv(net.conv(net.conv(x, 32, 3, 2, 1, act), 32, 3, act=act), 64, 3, act=act)
    else:
        x = net.conv(x, 64, 7, 2, 3, act)
    return net.pool(x, 3, 2, 1)


def _shortcut(net: Net, x: Maps, channels: int, stride: int, form: Residual) -> Maps:
    """What is added to a block's output."""
    if stride == 1 and x.channels == channels and not form.projects:
        return x
    if form.deep and stride > 1:
        return net.conv(net.pool(x, 2, 2, function="average"), channels)
    return net.conv(x, channels, 1, stride)


def resnet(px: int, form: Residual, classes: int = 1000) -> list[Op]:
    """ResNet, first version (https://arxiv.org/abs/1512.03385)."""
    net = Net(relu_apart=form.relu_apart)
    x = _stem(net, px, deep=form.deep)
    for stage, blocks in enumerate(form.blocks):
        inner = 64 << stage
        channels = inner * 4 if form.bottleneck else inner
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            aside = _shortcut(net, x, channels, stride, form) if block == 0 else x
            if form.bottleneck:
                first, second = (1, stride) if form.late else (stride, 1)
                out = net.conv(net.conv(x, inner, 1, first, act="relu"), inner, 3, second, 1, "relu")
                out = net.conv(out, channels)
            else:
                out = net.conv(net.conv(x, inner, 3, stride, 1, "relu"), inner, 3)
            x = net.add(aside, out, "relu")
    return net.classify(x, classes)


def resnet18(px: int = 224, *, ncnn: bool = False) -> list[Op]:
    """ResNet18; ncnn's (benchmark/resnet18.param) has a convolution in the first shortcut too."""
    return resnet(px, Residual((2, 2, 2, 2), bottleneck=False, projects=ncnn, relu_apart=ncnn))


def resnet50(px: int = 224, *, late: bool = False, deep: bool = False, ncnn: bool = False) -> list[Op]:
    """ResNet50: by default as the paper and Keras have it, and ncnn (benchmark/resnet50.param)."""
    return resnet(px, Residual((3, 4, 6, 3), late=late, deep=deep, relu_apart=ncnn))


def resnet_v2(px: int = 224, blocks: tuple[int, int, int, int] = (3, 4, 6, 3), classes: int = 1000) -> list[Op]:
    """ResNet50, 101 and 152 V2 (https://arxiv.org/abs/1603.05027), as Keras and TF-Slim have them.

    The stride is in a stage's last block, and its shortcut takes one element of four. Batch norms that stand before
    a block cannot be folded.
    """
    net = Net()
    x = _stem(net, px, "")
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride = 2 if block == count - 1 and stage < 3 else 1
            inner = 64 << stage
            ready = net.norm(x, "relu")
            aside = x
            if block == 0:
                aside = net.conv(ready, inner * 4, 1, stride)
            elif stride > 1:
                aside = net.pool(x, 1, stride, "valid")
            out = net.conv(net.conv(ready, inner, act="relu"), inner, 3, stride, 1, "relu")
            x = net.add(aside, net.conv(out, inner * 4))
    return net.classify(net.norm(x, "relu"), classes)


def densenet(px: int = 224, blocks: tuple[int, int, int, int] = (6, 12, 24, 16), growth: int = 32) -> list[Op]:
    """DenseNet121 (https://arxiv.org/abs/1608.06993)."""
    net = Net()
    x = _stem(net, px)
    for stage, count in enumerate(blocks):
        for _ in range(count):
            new = net.conv(net.norm(x, "relu"), 4 * growth, act="relu")
            x = net.concat(x, net.conv(new, growth, 3))
        x = net.norm(x, "relu")
        if stage < 3:
            x = net.pool(net.conv(x, x.channels // 2), 2, 2, "valid", function="average")
    return net.classify(x)
