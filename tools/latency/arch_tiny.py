"""Networks of microcontrollers, and of sounds."""

from __future__ import annotations

from edgetransfer.estimate.op import Op
from latency.arch_mobilenet import v1_features
from latency.arch_net import Maps, Net


def resnet8() -> list[Op]:
    """ResNet8 of MLPerf Tiny's image classification, for CIFAR-10.

    https://github.com/mlcommons/tiny/tree/master/benchmark/training/image_classification.
    """
    net = Net()
    x = net.conv(Maps(32, 32, 3), 16, 3, act="relu")
    for channels, stride in [(16, 1), (32, 2), (64, 2)]:
        out = net.conv(net.conv(x, channels, 3, stride, act="relu"), channels, 3)
        aside = net.conv(x, channels, 1, stride) if stride > 1 else x
        x = net.add(aside, out, "relu")
    net.softmax(net.dense(net.pool(x, 8, 8, function="average"), 10))
    return net.ops


def ds_cnn() -> list[Op]:
    """DS-CNN of MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients, 12 words.

    https://github.com/mlcommons/tiny/tree/master/benchmark/training/keyword_spotting.
    """
    net = Net()
    x = net.conv(Maps(49, 10, 1), 64, (10, 4), 2, act="relu")
    for _ in range(4):
        x = net.separable(x, 64, 1, "relu")
    return net.classify(x, 12)


def visual_wake_words() -> list[Op]:
    """MobileNetV1 0.25 of MLPerf Tiny's visual wake words: 96 px, person or none.

    https://github.com/mlcommons/tiny/tree/master/benchmark/training/visual_wake_words.
    """
    net = Net()
    return net.classify(v1_features(net, Maps(96, 96, 3), 0.25, "relu"), 2)


def autoencoder() -> list[Op]:
    """Autoencoder of MLPerf Tiny's anomaly detection: 5 frames of 128 mel bands.

    https://github.com/mlcommons/tiny/tree/master/benchmark/training/anomaly_detection.
    """
    net = Net()
    x = Maps(1, 1, 640)
    for units in [128, 128, 128, 128, 8, 128, 128, 128, 128]:
        x = net.dense(x, units, "relu")
    net.dense(x, 640)
    return net.ops


def yamnet() -> list[Op]:
    """YAMNet for one patch of 96 frames of 64 mel bands: MobileNetV1 and 521 sounds.

    https://github.com/tensorflow/models/tree/master/research/audioset/yamnet.
    """
    net = Net()
    x = net.mean(v1_features(net, Maps(96, 64, 1), act="relu"))
    net.dense(x, 521, "sigmoid")
    return net.ops
