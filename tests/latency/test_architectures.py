from __future__ import annotations

import pytest
from latency.arch_net import Maps, Net, divisible, slid
from latency.architectures import ARCHITECTURES, NCNN, SIZES, SOURCES, UnknownArchitectureError, input_px, ops_of

V1 = "https://arxiv.org/abs/1704.04861, tables 6, 7 and 13"
V2 = "https://github.com/tensorflow/models/tree/master/research/slim/nets/mobilenet, MobileNetV2"
V3 = "https://arxiv.org/abs/1905.02244, table 3, and the minimalistic ones of the same folder as MobileNetV2"
LITE = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
EDGETPU = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/edgetpu"
RESNET = "https://arxiv.org/abs/1512.03385, table 1, and torchvision's counts of parameters"
OMZ = "https://github.com/openvinotoolkit/open_model_zoo, googlenet-v1-tf and -v4-tf, half of their operations"
SHUFFLE = "https://arxiv.org/abs/1807.11164, table 8"
SQUEEZE = "torchvision's squeezenet1_0 and squeezenet1_1"

PUBLISHED = [
    # Model, px, million multiply-adds, million parameters, where that is published, how far off we may be.
    ("MobileNetV1 1.0", 224, 569, 4.2, V1, 0.01),
    ("MobileNetV1 1.0", 192, 418, 4.2, V1, 0.01),
    ("MobileNetV1 1.0", 160, 290, 4.2, V1, 0.01),
    ("MobileNetV1 1.0", 128, 186, 4.2, V1, 0.01),
    ("MobileNetV1 0.75", 224, 325, 2.6, V1, 0.02),
    ("MobileNetV1 0.50", 224, 149, 1.3, V1, 0.02),
    ("MobileNetV1 0.25", 224, 41, 0.47, V1, 0.02),
    ("MobileNetV2 1.4", 224, 582, 6.06, V2, 0.01),
    ("MobileNetV2 1.0", 224, 300, 3.47, V2, 0.01),
    ("MobileNetV2 1.0", 192, 221, 3.47, V2, 0.01),
    ("MobileNetV2 1.0", 128, 99, 3.47, V2, 0.01),
    ("MobileNetV2 0.75", 224, 209, 2.61, V2, 0.01),
    ("MobileNetV2 0.5", 224, 97, 1.95, V2, 0.01),
    ("MobileNetV2 0.35", 224, 59, 1.66, V2, 0.01),
    ("MobileNetV3-Large 1.0", 224, 219, 5.4, V3, 0.02),
    ("MobileNetV3-Large 0.75", 224, 155, 4.0, V3, 0.02),
    ("MobileNetV3-Large minimalistic", 224, 209, 3.9, V3, 0.01),
    ("MobileNetV3-Small 1.0", 224, 56, 2.5, V3, 0.02),
    ("MobileNetV3-Small minimalistic", 224, None, 2.0, V3, 0.02),
    ("MnasNet", 224, 315, 4.4, "https://arxiv.org/abs/1807.11626 and torchvision's mnasnet1_0", 0.02),
    ("MNASNet0.5", 224, 104, 2.2, "torchvision's mnasnet0_5", 0.02),
    ("NASNet-Mobile", 224, 564, 5.3, "https://arxiv.org/abs/1707.07012, table 2", 0.02),
    ("EfficientNet-B0", 224, 390, 5.3, "https://arxiv.org/abs/1905.11946, table 2", 0.02),
    ("EfficientNet-B4", 380, 4200, 19.3, "https://arxiv.org/abs/1905.11946, table 2", 0.05),
    ("EfficientNet-Lite0", 224, 407, 4.7, LITE, 0.06),  # their multiply-adds are of more than convolutions
    ("EfficientNet-Lite1", 240, 631, 5.4, LITE, 0.06),
    ("EfficientNet-Lite2", 260, 899, 6.1, LITE, 0.06),
    ("EfficientNet-Lite3", 280, 1440, 8.2, LITE, 0.06),
    ("EfficientNet-Lite4", 300, 2640, 13.0, LITE, 0.06),
    ("EfficientNet-EdgeTPU-S", 224, None, 5.4, EDGETPU, 0.01),
    ("EfficientNet-EdgeTPU-M", 240, None, 6.9, EDGETPU, 0.01),
    ("EfficientNetV2-B0", 224, 720, 7.1, "https://github.com/google/automl/tree/master/efficientnetv2", 0.01),
    ("EfficientNetV2-S", 384, 8800, 22, "https://arxiv.org/abs/2104.00298, table 7", 0.06),
    ("Inception-V1", 224, 1508, 6.62, OMZ, 0.01),
    ("Inception-V4", 299, 12292, 42.65, OMZ, 0.01),
    ("ResNet18", 224, 1800, 11.7, RESNET, 0.01),
    ("ResNet50", 224, 3800, 25.6, RESNET, 0.02),
    ("PP-ResNet50", 224, 4335, 25.6, "https://github.com/PaddlePaddle/PaddleClas, ResNet50_vd", 0.01),
    ("ResNet-152 V2", 224, None, 60.2, RESNET, 0.01),
    ("DenseNet", 224, 2834, 8.0, "torchvision's densenet121", 0.02),
    ("SqueezeNet", 224, 820, 1.25, SQUEEZE, 0.01),
    ("SqueezeNet1.1", 224, 350, 1.24, SQUEEZE, 0.01),
    ("ShuffleNetV2", 224, 146, 2.3, SHUFFLE, 0.02),
    ("VGG16", 224, 15470, 138.4, "torchvision's vgg16", 0.01),
    ("VGG19", 224, 19632, 143.7, "torchvision's vgg19", 0.01),
    ("MobileNetV1-SSD", 300, 1200, 6.8, V1, 0.04),
    ("NanoDet-m", 320, 360, 0.95, "https://github.com/RangiLyu/nanodet, half of its operations", 0.06),
    ("Yolo-FastestV2", 352, 106, 0.25, "https://github.com/dog-qiuqiu/Yolo-FastestV2, half of its operations", 0.04),
    ("YAMNet", 96, 69.2, 3.7, "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet", 0.01),
]


@pytest.mark.parametrize(
    ("model", "px", "macs", "parameters", "source", "tolerance"),
    [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in PUBLISHED],
)
def test_multiply_adds_and_parameters_are_those_published(model, px, macs, parameters, source, tolerance):
    weighted = [op for op in ops_of(model, px) if op.weights]
    if macs is not None:
        assert sum(op.macs for op in weighted) / 1e6 == pytest.approx(macs, rel=tolerance), source
    # Published counts are rounded, and have biases and batch norms that ours have not.
    assert sum(op.weights for op in weighted) / 1e6 == pytest.approx(parameters, rel=max(tolerance, 0.035)), source


@pytest.mark.parametrize(
    ("model", "layers", "joined"),
    [
        # Layers of benchmark/*.param less Input, Split, Reshape, Flatten and priors; and how many more ops ours are,
        # for a sigmoid or relu is one more and ncnn's first h-swish two layers.
        ("MobileNetV1", 30, 0),
        ("MobileNetV2", 66, 0),
        ("MobileNetV3", 125, -1),
        ("MnasNet", 65, 0),
        ("EfficientNet-B0", 174, 16),
        ("EfficientNetV2-B0", 210, 17),
        ("ResNet18", 41, 0),
        ("ResNet50", 89, 0),
        ("SqueezeNet1.1", 39, 0),
        ("ShuffleNetV2", 105, 0),
        ("MobileNet-SSD", 62, 0),
        ("NanoDet-m", 152, 0),
        ("Yolo-FastestV2", 134, 4),
        ("BlazeFace", 84, 0),
    ],
)
def test_graphs_of_ncnn_have_as_many_ops_as_its_files_have_layers(model, layers, joined):
    assert len(ops_of(model, input_px(model, "224x224x3", NCNN), NCNN)) == layers + joined


def test_ncnn_pads_the_last_convolution_of_its_squeezenet():
    last = [op for op in ops_of("SqueezeNet1.1", 227, NCNN) if op.kind == "conv"][-1]
    assert last.written == 16 * 16 * 1000


@pytest.mark.parametrize("model", sorted(ARCHITECTURES))
def test_every_architecture_is_whole(model):
    ops = ops_of(model, 224)
    assert all(op.read > 0 and op.written > 0 and op.name for op in ops)
    assert all((op.macs == 0) == (op.kind == "move") for op in ops)
    for op in ops:
        if op.kind in ("conv", "depthwise", "dense"):
            assert op.weights >= op.channels_out * op.taps
            assert op.macs % op.weights == 0 or op.kind == "depthwise"
        else:
            assert op.weights == 0
    assert {op.precision for op in ops} == {"float32"}


def test_one_block_op_by_op():
    net = Net()
    x = net.conv(Maps(10, 10, 4), 8, 3, 2, act="relu")
    x = net.squeeze_excite(x, 2, "swish")
    assert [(op.kind, op.macs, op.read, op.weights, op.written) for op in net.ops] == [
        ("conv", 25 * 288, 400, 288, 200),
        ("reduce", 200, 200, 0, 8),
        ("conv", 16, 8, 16, 2),
        ("activation", 2, 2, 0, 2),
        ("conv", 16, 2, 16, 8),
        ("activation", 8, 8, 0, 8),
        ("mul", 200, 208, 0, 200),
    ]
    first = net.ops[0]
    assert (first.taps, first.stride, first.channels_in, first.channels_out, first.groups) == (9, 2, 4, 8, 1)
    assert [op.function for op in net.ops] == ["", "", "", "swish", "", "sigmoid", ""]
    assert x == Maps(5, 5, 8)


def test_a_relu_after_an_addition_is_an_op_only_where_the_engine_has_it_apart():
    x = Maps(2, 2, 3)
    for apart, kinds in [(False, ["add"]), (True, ["add", "activation"])]:
        net = Net(relu_apart=apart)
        net.add(x, x, "relu")
        assert [op.kind for op in net.ops] == kinds


@pytest.mark.parametrize(
    ("length", "window", "stride", "padding", "up", "positions"),
    [
        (224, 3, 2, "same", False, 112),
        (225, 3, 2, "same", False, 113),
        (224, 3, 2, "valid", False, 111),
        (224, 7, 2, 3, False, 112),
        (112, 3, 2, "valid", False, 55),
        (112, 3, 2, "valid", True, 56),
        (14, 1, 2, "valid", False, 7),
    ],
)
def test_positions_of_a_window(length, window, stride, padding, up, positions):
    assert slid(length, window, stride, padding, up=up) == positions


def test_scaled_channels_never_lose_more_than_a_tenth():
    assert [divisible(channels) for channels in (3, 12, 11.2, 24, 33.6, 67.2)] == [8, 16, 16, 24, 32, 64]


def test_sizes_that_do_not_fit_are_refused():
    net = Net()
    with pytest.raises(ValueError, match="cannot be added"):
        net.add(Maps(2, 2, 3), Maps(2, 2, 4))
    with pytest.raises(ValueError, match="cannot be joined"):
        net.concat(Maps(2, 2, 3), Maps(3, 2, 3))


# === Names ===


def test_an_unknown_name_is_refused_with_those_near():
    with pytest.raises(UnknownArchitectureError, match=r"MobileNetV1 0\.75"):
        ops_of("MobileNetV1 0.7", 224)


def test_one_name_is_another_graph_for_another_source():
    plain, theirs = ops_of("MobileNetV2", 224), ops_of("MobileNetV2", 224, NCNN)
    assert sum(op.weights for op in theirs) - sum(op.weights for op in plain) == 32 * 32
    assert all(model in ARCHITECTURES for _, model in [*SOURCES, *SIZES])


@pytest.mark.parametrize(
    ("stated", "source", "px"),
    [("224x224x3", "", 224), ("224x224", "", 224), ("224x224x3", NCNN, 128), ("[1, 3, 320, 320]", "", None)],
)
def test_the_size_that_a_row_is_about(stated, source, px):
    if px is None:
        with pytest.raises(ValueError, match="says no size"):
            input_px("BlazeFace", stated, source)
    else:
        assert input_px("BlazeFace", stated, source) == px
