"""Our builders against the same architectures as Keras builds them, layer by layer."""

from __future__ import annotations

from math import prod

import pytest
from latency.arch_mobilenet import mobilenet_v1, mobilenet_v2
from latency.architectures import ops_of

MODELS = [
    ("MobileNetV1 1.0", 224, "MobileNet", {}),
    ("MobileNetV1 0.50", 128, "MobileNet", {"alpha": 0.5}),
    ("MobileNetV2 1.0", 224, "MobileNetV2", {}),
    ("MobileNetV2 0.35", 96, "MobileNetV2", {"alpha": 0.35}),
    ("MobileNetV2 1.4", 224, "MobileNetV2", {"alpha": 1.4}),
    ("MobileNetV3-Large 1.0", 224, "MobileNetV3Large", {}),
    ("MobileNetV3-Large 0.75", 224, "MobileNetV3Large", {"alpha": 0.75}),
    ("MobileNetV3-Large minimalistic", 224, "MobileNetV3Large", {"minimalistic": True}),
    ("MobileNetV3-Small 1.0", 224, "MobileNetV3Small", {}),
    ("MobileNetV3-Small 0.75", 224, "MobileNetV3Small", {"alpha": 0.75}),
    ("MobileNetV3-Small minimalistic", 224, "MobileNetV3Small", {"minimalistic": True}),
    ("NASNet-Mobile", 224, "NASNetMobile", {}),
    ("EfficientNet-B0", 224, "EfficientNetB0", {}),
    ("Efficientnet_B2", 260, "EfficientNetB2", {}),
    ("Efficientnet_B3", 300, "EfficientNetB3", {}),
    ("EfficientNet-B4", 380, "EfficientNetB4", {}),
    ("EfficientNetV2-B0", 224, "EfficientNetV2B0", {}),
    ("EfficientNetV2-B1", 240, "EfficientNetV2B1", {}),
    ("EfficientNetV2-S", 384, "EfficientNetV2S", {}),
    ("Inception-V3", 299, "InceptionV3", {}),
    ("Inception-ResNet-V2", 299, "InceptionResNetV2", {}),
    ("ResNet50", 224, "ResNet50", {}),
    ("ResNet-50 V2", 299, "ResNet50V2", {}),
    ("ResNet_V2_101", 299, "ResNet101V2", {}),
    ("ResNet-152 V2", 224, "ResNet152V2", {}),
    ("DenseNet", 224, "DenseNet121", {}),
    ("VGG16", 224, "VGG16", {}),
    ("VGG19", 224, "VGG19", {}),
]


def counted(model):
    """Multiply-adds and kernel elements of all layers that have kernels, from their shapes alone."""
    macs = weights = 0
    for layer in model.layers:
        kernels = [v for v in layer.weights if "kernel" in v.name.rpartition("/")[2]]
        if not kernels:
            continue
        kind = type(layer).__name__
        assert kind in {"Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"}, kind
        positions = prod(layer.output.shape[1:-1])
        elements = sum(prod(v.shape) for v in kernels)
        macs += positions * elements
        weights += elements
    return macs, weights


@pytest.mark.slow
@pytest.mark.parametrize(("model", "px", "name", "options"), MODELS, ids=[f"{row[0]} {row[1]}" for row in MODELS])
def test_multiply_adds_and_weights_are_exactly_those_of_keras(model, px, name, options):
    keras = pytest.importorskip("keras", reason="building needs the extra 'train'")
    built = getattr(keras.applications, name)(weights=None, input_shape=(px, px, 3), **options)
    ops = ops_of(model, px)
    assert (sum(op.macs for op in ops if op.weights), sum(op.weights for op in ops)) == counted(built)
    adds = [layer for layer in built.layers if type(layer).__name__ in ("Add", "CustomScaleLayer")]
    assert len([op for op in ops if op.name == "add"]) == len(adds)
    joins = [layer for layer in built.layers if type(layer).__name__ == "Concatenate"]
    assert len([op for op in ops if op.name == "concat"]) == len(joins)
    keras.backend.clear_session()


def test_another_number_of_classes_changes_the_last_layer_alone():
    assert sum(op.weights for op in mobilenet_v1()) - sum(op.weights for op in mobilenet_v1(classes=5)) == 995 * 1024
    assert sum(op.weights for op in mobilenet_v2()) - sum(op.weights for op in mobilenet_v2(classes=5)) == 995 * 1280
