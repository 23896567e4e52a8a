"""Detectors, and what segments."""

from __future__ import annotations

from edgetransfer.estimate.op import Op
from latency.arch_classic import shuffle_unit, shufflenet_v2_features
from latency.arch_mobilenet import V1_BLOCKS, v1_features, v2_features
from latency.arch_net import Maps, Net

# === SSD ===


def _ssd_heads(net: Net, found: list[Maps], classes: int, *, caffe: bool) -> list[Op]:
    """Four more scales, and boxes and scores of all six by pointwise convolutions (https://arxiv.org/abs/1512.02325).

    Args:
        net: What it is appended to.
        found: The first two scales.
        classes: With the background.
        caffe: Whether each output is transposed and the scores end in a softmax; TensorFlow's in a sigmoid.
    """
    for inner, channels in [(256, 512), (128, 256), (128, 256), (64, 128)]:
        found.append(net.conv(net.conv(found[-1], inner, act="relu"), channels, 3, 2, act="relu"))
    boxes: list[int] = []
    scores: list[int] = []
    for index, x in enumerate(found):
        anchors = 6 if index else 3
        for sizes, values in [(boxes, 4), (scores, classes)]:
            out = net.conv(x, anchors * values)
            sizes.append((net.move(out, "transpose") if caffe else out).size)
    net.gather(*boxes)
    joined = net.gather(*scores)
    net.softmax(joined) if caffe else net.activation(joined, "sigmoid")
    return net.ops


def mobilenet_v1_ssd(px: int = 300, classes: int = 91, *, caffe: bool = False) -> list[Op]:
    """SSD on MobileNetV1: TensorFlow's `ssd_mobilenet_v1_coco`, or Caffe's with 21 classes.

    https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf1_detection_zoo.md,
    https://github.com/chuanqi305/MobileNet-SSD (ncnn's benchmark/mobilenet_ssd.param). What comes after the scores
    (decoding, suppression) is not here.
    """
    net = Net()
    act = "relu" if caffe else "relu6"
    middle = v1_features(net, Maps(px, px, 3), 1.0, act, blocks=11)
    last = middle
    for channels, stride in V1_BLOCKS[11:]:
        last = net.separable(last, channels, stride, act)
    return _ssd_heads(net, [middle, last], classes, caffe=caffe)


def mobilenet_v2_ssd(px: int = 300, classes: int = 91) -> list[Op]:
    """SSD on MobileNetV2: TensorFlow's `ssd_mobilenet_v2_coco`, from the same list of models."""
    net = Net()
    found = v2_features(net, Maps(px, px, 3))
    last = net.conv(found["stage6"], 1280, act="relu6")
    return _ssd_heads(net, [found["expanded5"], last], classes, caffe=False)


# === ncnn's ===


def nanodet_m(px: int = 320) -> list[Op]:
    """NanoDet-m: ShuffleNetV2, path aggregation without convolutions, one head for each scale.

    https://github.com/RangiLyu/nanodet; ncnn's benchmark/nanodet_m.param.
    """
    net = Net()
    act = "leaky_relu"
    fine, middle, coarse = (net.conv(x, 96) for x in shufflenet_v2_features(net, px, act=act, copies=2))
    middle = net.add(middle, net.resize(coarse, middle.height, middle.width))
    fine = net.add(fine, net.resize(middle, fine.height, fine.width))
    middle = net.add(middle, net.resize(fine, middle.height, middle.width))
    coarse = net.add(coarse, net.resize(middle, coarse.height, coarse.width))
    for x in (fine, middle, coarse):
        for _ in range(2):
            x = net.separable(x, 96, 1, act)
        scores, boxes = net.split(net.conv(x, 112), 80, 32)
        net.move(net.activation(scores, "sigmoid"), "transpose")
        net.move(boxes, "transpose")
    return net.ops


def _twice(net: Net, x: Maps) -> Maps:
    """Two pairs of 5x5 depthwise and pointwise convolutions."""
    for _ in range(2):
        x = net.conv(net.depthwise(x, 5, act="relu"), x.channels)
    return x


def yolo_fastest_v2(px: int = 352, classes: int = 80) -> list[Op]:
    """Yolo-FastestV2: a narrow ShuffleNetV2 and two scales (https://github.com/dog-qiuqiu/Yolo-FastestV2).

    ncnn's benchmark/yolo-fastestv2.param; a stage's last unit is not shuffled.
    """
    net = Net()
    x = net.pool(net.conv(Maps(px, px, 3), 24, 3, 2, 1, "relu"), 3, 2, 1)
    found = []
    for channels, units in [(48, 4), (96, 8), (192, 4)]:
        for unit in range(units):
            x = net.move(x, "channel shuffle") if unit else x
            x = shuffle_unit(net, x, channels, 1 if unit else 2)
        found.append(x)
    fine, coarse = found[1:]
    above = net.concat(net.resize(coarse, fine.height, fine.width), fine)
    for scale in (coarse, above):
        shared = net.conv(scale, 72, act="relu")
        scores, boxes = _twice(net, shared), _twice(net, shared)
        box = net.conv(boxes, 12, act="sigmoid")
        certain = net.conv(scores, 3, act="sigmoid")
        named = net.move(net.softmax(net.move(net.conv(scores, classes), "transpose")), "transpose")
        net.move(net.concat(box, certain, named), "transpose")
    return net.ops


BLAZE_BLOCKS = [24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, 96, 96, 96, 96, 96]
BLAZE_STRIDES = (2, 5, 11)
"""Channels of BlazeFace's blocks, and which of them halve the size."""


def blazeface(px: int = 128) -> list[Op]:
    """BlazeFace's features without its heads, as ncnn's benchmark has them (benchmark/blazeface.param).

    https://arxiv.org/abs/1907.05047; zeros are padded by ops of their own, in channels and on two sides.
    """
    net = Net(relu_apart=True)
    x = net.activation(net.conv(net.pad(Maps(px, px, 3), above=1, below=2), 24, 5, 2, "valid"), "relu")
    for index, channels in enumerate(BLAZE_BLOCKS):
        more, halves = channels - x.channels, index in BLAZE_STRIDES
        inner = net.pad(x, below=2) if halves else x
        aside = net.pool(x, 2, 2, "valid") if halves else x
        aside = net.pad(aside, channels=more) if more else aside
        inner = net.depthwise(inner, 3, 2, "valid") if halves else net.depthwise(inner)
        x = net.add(net.conv(inner, channels), aside, "relu")
    return net.ops


# === What segments ===


def unet_mobilenet_v2(px: int = 128, classes: int = 3) -> list[Op]:
    """MobileNetV2 with an upsampling half (https://www.tensorflow.org/tutorials/images/segmentation)."""
    net = Net()
    found = v2_features(net, Maps(px, px, 3))
    x = found["stage6"]
    for channels, skip in [(512, "expanded5"), (256, "expanded3"), (128, "expanded2"), (64, "expanded1")]:
        x = net.concat(net.deconv(x, channels, 3, "relu"), found[skip])
    net.deconv(x, classes, 3)
    return net.ops
