"""Published architectures by the names that tables of latency give them, as lists of ops in float32."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from edgetransfer.estimate.op import Op
from latency import arch_classic, arch_detection, arch_inception, arch_nasnet, arch_resnet, arch_tiny
from latency.arch_efficientnet import efficientnet, efficientnet_edgetpu, efficientnet_lite, efficientnet_v2
from latency.arch_mobilenet import mnasnet, mobilenet_v1, mobilenet_v2, mobilenet_v3, mobilenet_v3_ncnn

Builder = Callable[[int], list[Op]]
"""Takes the height and width of the image."""


class UnknownArchitectureError(LookupError):
    """No builder has that name."""


def _fixed(build: Callable[[], list[Op]]) -> Builder:
    """A builder for an architecture whose input has one size, whatever is asked for."""
    return lambda px: build()


_MOBILENETS: dict[str, Builder] = {
    "MobileNetV1": mobilenet_v1,
    "MobileNetV1 0.25": partial(mobilenet_v1, width=0.25),
    "MobileNetV1 0.50": partial(mobilenet_v1, width=0.5),
    "MobileNetV1 0.75": partial(mobilenet_v1, width=0.75),
    "MobileNetV1 1.0": mobilenet_v1,
    "MobileNetV2": mobilenet_v2,
    "MobileNetV2 (Keras)": mobilenet_v2,
    "MobileNetV2 0.35": partial(mobilenet_v2, width=0.35),
    "MobileNetV2 0.35 Flowers": partial(mobilenet_v2, width=0.35, classes=5),
    "MobileNetV2 0.35 ImageNet": partial(mobilenet_v2, width=0.35),
    "MobileNetV2 0.5": partial(mobilenet_v2, width=0.5),
    "MobileNetV2 0.75": partial(mobilenet_v2, width=0.75),
    "MobileNetV2 1.0": mobilenet_v2,
    "MobileNetV2 1.0 ImageNet": mobilenet_v2,
    "MobileNetV2 1.4": partial(mobilenet_v2, width=1.4),
    "MobileNetV2 1.4 ImageNet": partial(mobilenet_v2, width=1.4),
    "MobileNetV3": mobilenet_v3_ncnn,
    "MobileNetV3-Large": mobilenet_v3,
    "MobileNetV3-Large 0.75": partial(mobilenet_v3, width=0.75),
    "MobileNetV3-Large 1.0": mobilenet_v3,
    "MobileNetV3-Large minimalistic": partial(mobilenet_v3, minimalistic=True),
    "MobileNetV3-Small": partial(mobilenet_v3, small=True),
    "MobileNetV3-Small 0.75": partial(mobilenet_v3, width=0.75, small=True),
    "MobileNetV3-Small 1.0": partial(mobilenet_v3, small=True),
    "MobileNetV3-Small minimalistic": partial(mobilenet_v3, small=True, minimalistic=True),
    "MnasNet": mnasnet,
    "MNASNet0.5": partial(mnasnet, width=0.5),
    "NASNet-Mobile": arch_nasnet.nasnet_mobile,
}

_EFFICIENTNETS: dict[str, Builder] = {
    "EfficientNet-B0": efficientnet,
    "Efficientnet_B2": partial(efficientnet, width=1.1, depth=1.2),
    "Efficientnet_B3": partial(efficientnet, width=1.2, depth=1.4),
    "EfficientNet-B4": partial(efficientnet, width=1.4, depth=1.8),
    "Efficientnet_B4": partial(efficientnet, width=1.4, depth=1.8),
    **{f"EfficientNet-Lite{number}": partial(efficientnet_lite, number) for number in range(5)},
    "EfficientNet-EdgeTPU-S": efficientnet_edgetpu,
    "EfficientNet-EdgeTPU-M": partial(efficientnet_edgetpu, depth=1.1),
    "EfficientNetV2-B0": efficientnet_v2,
    "EfficientNetV2-B1": partial(efficientnet_v2, size="b1"),
    "EfficientNetV2-S": partial(efficientnet_v2, size="s"),
}

_OTHERS: dict[str, Builder] = {
    "Inception-V1": arch_inception.inception_v1,
    "GoogLeNet": arch_inception.inception_v1,
    "Inception-V3": arch_inception.inception_v3,
    "Inception-V4": arch_inception.inception_v4,
    "Inception-ResNet-V2": arch_inception.inception_resnet_v2,
    "ResNet18": arch_resnet.resnet18,
    "ResNet50": arch_resnet.resnet50,
    "ResNet-50 V1": arch_resnet.resnet50,
    "PP-ResNet50": partial(arch_resnet.resnet50, late=True, deep=True),
    "ResNet-50 V2": arch_resnet.resnet_v2,
    "ResNet_V2_101": partial(arch_resnet.resnet_v2, blocks=(3, 4, 23, 3)),
    "ResNet-152 V2": partial(arch_resnet.resnet_v2, blocks=(3, 8, 36, 3)),
    "DenseNet": arch_resnet.densenet,
    "SqueezeNet": partial(arch_classic.squeezenet, version="1.0"),
    "SqueezeNet1.0": partial(arch_classic.squeezenet, version="1.0"),
    "SqueezeNet1.1": arch_classic.squeezenet,
    "ShuffleNetV2": arch_classic.shufflenet_v2,
    "VGG16": arch_classic.vgg,
    "VGG19": partial(arch_classic.vgg, convolutions=(2, 2, 4, 4, 4)),
    "MobileNet-SSD": partial(arch_detection.mobilenet_v1_ssd, classes=21, caffe=True),
    "MobileNetV1-SSD": arch_detection.mobilenet_v1_ssd,
    "MobileNetV2-SSD": arch_detection.mobilenet_v2_ssd,
    "ssd-mobilenet-v1": arch_detection.mobilenet_v1_ssd,
    "NanoDet-m": arch_detection.nanodet_m,
    "Yolo-FastestV2": arch_detection.yolo_fastest_v2,
    "BlazeFace": arch_detection.blazeface,
    "Unet MobileNetV2": arch_detection.unet_mobilenet_v2,
    "MLPerfTiny IC ResNet8 (CIFAR10)": _fixed(arch_tiny.resnet8),
    "MLPerfTiny KWS DS-CNN": _fixed(arch_tiny.ds_cnn),
    "MLPerfTiny VWW MobileNetV1-0.25": _fixed(arch_tiny.visual_wake_words),
    "MLPerfTiny AD autoencoder (ToyADMOS)": _fixed(arch_tiny.autoencoder),
    "YAMNet": _fixed(arch_tiny.yamnet),
}

ARCHITECTURES: dict[str, Builder] = {**_MOBILENETS, **_EFFICIENTNETS, **_OTHERS}
"""Builders by the names of models. `SqueezeNet` alone is version 1.0: only with it do TensorFlow's and Coral's tables
give it as many multiply-adds in a millisecond as they give the Inceptions."""

NCNN, QUALCOMM, JETSON = "Tencent/ncnn", "qualcomm/ai-hub-models", "NVIDIA-AI-IOT/jetson_benchmarks"
CORAL, TENSORFLOW = "coral.ai/docs/edgetpu/benchmarks", "tensorflow/tensorflow"

SOURCES: dict[tuple[str, str], Builder] = {
    (NCNN, "MobileNetV2"): partial(mobilenet_v2, expand_first=True),
    (NCNN, "EfficientNetV2-B0"): partial(efficientnet_v2, biased=True),
    (NCNN, "ResNet18"): partial(arch_resnet.resnet18, ncnn=True),
    (NCNN, "ResNet50"): partial(arch_resnet.resnet50, ncnn=True),
    (NCNN, "SqueezeNet1.1"): partial(arch_classic.squeezenet, ncnn=True),
    (QUALCOMM, "ResNet50"): partial(arch_resnet.resnet50, late=True),
    (QUALCOMM, "ShuffleNetV2"): partial(arch_classic.shufflenet_v2, channels=(48, 96, 192)),
}
"""Builders of graphs that one source has under a name that others give another graph."""

SIZES: dict[tuple[str, str], int] = {
    (NCNN, "SqueezeNet1.1"): 227,
    (NCNN, "BlazeFace"): 128,
    (NCNN, "NanoDet-m"): 320,
    (NCNN, "Yolo-FastestV2"): 352,
    (CORAL, "MobileNetV1-SSD"): 300,
    (CORAL, "MobileNetV2-SSD"): 300,
    (TENSORFLOW, "Inception-V4"): 299,
    (JETSON, "Inception-V4"): 299,
    (JETSON, "VGG19"): 224,
    (JETSON, "ssd-mobilenet-v1"): 300,
}
"""Heights and widths that a source ran a model at where tables say another or none: ncnn's are in
benchmark/benchncnn.cpp; Coral publishes its SSDs, and TensorFlow its Inception-V4, for one size only."""


def ops_of(model: str, input_px: int, source: str = "") -> list[Op]:
    """Return the ops of a published architecture.

    Args:
        model: Its name.
        input_px: Height and width of the image; means nothing to those of MLPerf Tiny and YAMNet.
        source: Who measured it, where graphs of one name differ: ncnn's benchmark, Coral or Qualcomm AI Hub.

    Raises:
        UnknownArchitectureError: No builder has that name.
    """
    build = SOURCES.get((source, model)) or ARCHITECTURES.get(model)
    if build is None:
        near = difflib.get_close_matches(model, ARCHITECTURES, 3)
        raise UnknownArchitectureError(f"no architecture is named {model!r}" + (f"; near: {near}" if near else ""))
    return build(input_px)


def input_px(model: str, stated: str, source: str = "") -> int:
    """Return the height of the images that a row of a table is about.

    Args:
        model: Its name.
        stated: What the row says, such as `224x224x3`.
        source: Who measured it; what is known of it comes before what the row says.

    Raises:
        ValueError: The row says nothing that can be read, and nothing is known of the source.
    """
    known = SIZES.get((source, model))
    if known is not None:
        return known
    sizes = [int(part) for part in stated.split("x") if part.strip().isdigit()]
    sides = [size for size in sizes if size > 4]
    if not sides:
        raise ValueError(f"{model}: {stated!r} says no size of an image")
    return sides[0]
