"""Kernels in Keras' layout compute in Keras what the source's own runtime computes with its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetransfer.transfer.sources import open_source

keras = pytest.importorskip("keras", reason="source models are read with the extra 'train'")
onnx = pytest.importorskip("onnx", reason="source models are read with the extra 'train'")
ort = pytest.importorskip("onnxruntime", reason="source models are read with the extra 'train'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  (after the check that it is there)

RNG = np.random.default_rng(4)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers():
    """Every test draws the same numbers, whichever ran before it in this process."""
    RNG.bit_generator.state = START


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def write_onnx(path: Path, nodes: list[Any], shape: tuple[int, ...], **stored: np.ndarray) -> Path:
    """Write a graph from "x" of `shape` to "y" with these initializers."""
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def run_onnx(path: Path, x: np.ndarray) -> np.ndarray:
    (y,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return y


def run_keras(layer: Any, x: np.ndarray, *weights: np.ndarray) -> np.ndarray:
    layer.build(x.shape)
    layer.set_weights(list(weights))
    return np.asarray(layer(x))


CONVOLUTIONS = {
    "plain": ({}, (4, 3, 3, 2), "kernel", keras.layers.Conv2D(4, (3, 2), padding="valid")),
    "groups": ({"group": 3}, (6, 2, 3, 3), "kernel", keras.layers.Conv2D(6, 3, groups=3)),
    "depthwise": ({"group": 6}, (12, 1, 3, 3), "depthwise_kernel", keras.layers.DepthwiseConv2D(3, depth_multiplier=2)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_of_onnx_computes_the_same_in_keras(kind, tmp_path):
    said, shape, role, layer = CONVOLUTIONS[kind]
    channels = shape[1] * said.get("group", 1)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", **said)
    x = numbers(1, channels, 7, 8)
    path = write_onnx(tmp_path / "one.onnx", [node], x.shape, w=numbers(*shape), b=numbers(shape[0]))
    (found,) = open_source(path).parts
    kernel, bias = found.tensors
    assert (found.name, found.kind, kernel.role, bias.role) == ("conv", "Conv", role, "bias")
    layout = "HWCM" if role == "depthwise_kernel" else "HWIO"
    got = run_keras(layer, np.moveaxis(x, 1, -1), kernel.values(layout), bias.values())
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), run_onnx(path, x), rtol=1e-4, atol=1e-5)


def test_a_transposed_convolution_of_onnx_computes_the_same_in_keras(tmp_path):
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2])
    x = numbers(1, 3, 5, 6)
    path = write_onnx(tmp_path / "one.onnx", [node], x.shape, w=numbers(3, 4, 3, 3))
    ((kernel,),) = (layer.tensors for layer in open_source(path).parts)
    assert (kernel.role, kernel.layout) == ("transposed_kernel", "IOHW")
    layer = keras.layers.Conv2DTranspose(4, 3, 2, use_bias=False)
    got = run_keras(layer, np.moveaxis(x, 1, -1), kernel.values("HWOI"))
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), run_onnx(path, x), rtol=1e-4, atol=1e-5)


def dense_nodes(kind: str) -> tuple[list[Any], tuple[int, int]]:
    node = helper.make_node
    if kind == "gemm":
        return [node("Gemm", ["x", "w", "b"], ["y"], name="top")], (5, 3)
    if kind == "gemm, second matrix transposed":
        return [node("Gemm", ["x", "w", "b"], ["y"], name="top", transB=1)], (3, 5)
    if kind == "product and sum":
        return [node("MatMul", ["x", "w"], ["p"], name="top"), node("Add", ["b", "p"], ["y"])], (5, 3)
    turned = node("Transpose", ["w"], ["t"], perm=[1, 0])
    return [turned, node("MatMul", ["x", "t"], ["p"], name="top"), node("Add", ["p", "b"], ["y"])], (3, 5)


@pytest.mark.parametrize(
    "kind", ["gemm", "gemm, second matrix transposed", "product and sum", "product with the transposed matrix"]
)
def test_a_dense_layer_of_onnx_computes_the_same_in_keras(kind, tmp_path):
    nodes, shape = dense_nodes(kind)
    x = numbers(2, 5)
    path = write_onnx(tmp_path / "one.onnx", nodes, x.shape, w=numbers(*shape), b=numbers(3))
    (layer,) = open_source(path).parts
    kernel, bias = layer.tensor("dense_kernel"), layer.tensor("bias")
    assert layer.name == "top"
    got = run_keras(keras.layers.Dense(3), x, kernel.values("IO"), bias.values())
    np.testing.assert_allclose(got, run_onnx(path, x), rtol=1e-4, atol=1e-5)


def test_a_batch_norm_of_onnx_computes_the_same_in_keras_with_its_epsilon(tmp_path):
    node = helper.make_node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], name="norm", epsilon=0.02)
    x = numbers(2, 4, 3, 3)
    stored = {"g": numbers(4), "b": numbers(4), "m": numbers(4), "v": numbers(4) ** 2}
    path = write_onnx(tmp_path / "one.onnx", [node], x.shape, **stored)
    (layer,) = open_source(path).parts
    assert layer.epsilon == pytest.approx(0.02)
    roles = ("gamma", "beta", "moving_mean", "moving_variance")
    values = [layer.tensor(role).values() for role in roles]
    got = run_keras(keras.layers.BatchNormalization(epsilon=layer.epsilon), np.moveaxis(x, 1, -1), *values)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), run_onnx(path, x), rtol=1e-4, atol=1e-5)


def test_integers_of_onnx_become_the_numbers_that_its_runtime_computes_with(tmp_path):
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=0),
        node("DequantizeLinear", ["b", "b_scale"], ["b_real"]),
        node("Conv", ["x", "w_real", "b_real"], ["y"], name="conv"),
    ]
    stored = {
        "w": RNG.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "w_scale": np.array([0.1, 0.02, 0.003, 1.5], np.float32),
        "w_zero": np.array([0, 3, -7, 0], np.int8),
        "b": np.array([70000, -3, 0, 12], np.int32),
        "b_scale": np.array(0.001, np.float32),
    }
    x = numbers(1, 3, 6, 6)
    path = write_onnx(tmp_path / "one.onnx", nodes, x.shape, **stored)
    model = open_source(path)
    assert [(t.name, t.dtype, t.role) for t in model.tensors] == [("w", "int8", "kernel"), ("b", "int32", "bias")]
    kernel, bias = model.tensors
    got = run_keras(keras.layers.Conv2D(4, 3), np.moveaxis(x, 1, -1), kernel.values("HWIO"), bias.values())
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), run_onnx(path, x), rtol=1e-4, atol=1e-3)


def test_an_integer_convolution_of_onnx_states_its_scales_by_its_inputs(tmp_path):
    node = helper.make_node
    scales = {"x_s": 0.05, "w_s": 0.02, "y_s": 0.01}
    nodes = [
        node("QuantizeLinear", ["x", "x_s", "zero"], ["x_q"]),
        node("QLinearConv", ["x_q", "x_s", "zero", "w", "w_s", "zero", "y_s", "zero", "b"], ["y_q"], name="conv"),
        node("DequantizeLinear", ["y_q", "y_s", "zero"], ["y"]),
    ]
    stored = {name: np.array(scale, np.float32) for name, scale in scales.items()} | {
        "zero": np.array(0, np.int8),
        "w": RNG.integers(-20, 20, (2, 3, 2, 2)).astype(np.int8),
        "b": np.array([500, -300], np.int32),
    }
    x = np.clip(numbers(1, 3, 4, 4), -1, 1)
    path = write_onnx(tmp_path / "one.onnx", nodes, x.shape, **stored)
    kernel, bias = open_source(path).tensors
    assert (kernel.role, bias.role) == ("kernel", "bias")
    np.testing.assert_allclose(bias.values(), [0.5, -0.3], rtol=1e-6)  # steps of 0.05 * 0.02
    got = run_keras(keras.layers.Conv2D(2, 2), np.moveaxis(x, 1, -1), kernel.values("HWIO"), bias.values())
    within = np.abs(np.moveaxis(got, -1, 1)) < 1.2  # what int8 does not clip
    assert within.sum() > 5
    # 12 inputs, each rounded by half a step of 0.05, times weights of 0.4 at most; and half a step of the output.
    np.testing.assert_allclose(np.moveaxis(got, -1, 1)[within], run_onnx(path, x)[within], atol=12 * 0.025 * 0.4 / 4)


LITERT = {
    "convolution": keras.layers.Conv2D(4, 3, name="layer"),
    "depthwise": keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="layer"),
    "transposed": keras.layers.Conv2DTranspose(4, 3, 2, name="layer"),
}


@pytest.mark.parametrize("kind", LITERT)
def test_a_layer_of_tensorflow_lite_computes_the_same_in_keras(kind, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    layer, x = LITERT[kind], numbers(1, 6, 7, 3)
    model = keras.Sequential([keras.Input(x.shape[1:], batch_size=1), layer])
    layer.set_weights([numbers(*weight.shape) for weight in layer.weights])
    model.export(tmp_path / "one.tflite", format="litert", verbose=False)
    interpreter = Interpreter(model_path=str(tmp_path / "one.tflite"))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    kernel, bias = open_source(tmp_path / "one.tflite").tensors
    layouts = {"kernel": "HWIO", "depthwise_kernel": "HWCM", "transposed_kernel": "HWOI"}
    layer.set_weights([np.zeros(weight.shape) for weight in layer.weights])
    layer.set_weights([kernel.values(layouts[kernel.role]), bias.values()])
    np.testing.assert_allclose(np.asarray(model(x)), wanted, rtol=1e-4, atol=1e-5)


def test_integers_of_tensorflow_lite_are_made_real_by_a_scale_for_each_channel(source_paths, networks, tmp_path):
    from edgetransfer.quantize.flatbuffer import Graph, schema

    graph = Graph.read(source_paths["tflite"].read_bytes())
    index = next(op.inputs[1] for op in graph.ops() if op.name == "DEPTHWISE_CONV_2D")
    stored = RNG.integers(-128, 128, graph.shape(index)).astype(np.int8)
    tensor = graph.tensor(index)
    tensor.type, tensor.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
    scales = [0.5, 0.25, 2.0, 1.0, 4.0, 0.125, 8.0, 0.0625]
    tensor.quantization.scale, tensor.quantization.zeroPoint = scales, [0, 1, 2, 3, 4, 5, 6, -7]
    tensor.quantization.quantizedDimension = 3
    graph.model.buffers[tensor.buffer].data = np.frombuffer(stored.tobytes(), np.uint8)
    (tmp_path / "int8.tflite").write_bytes(graph.to_bytes())
    kernel = next(t for t in open_source(tmp_path / "int8.tflite").tensors if t.role == "depthwise_kernel")
    assert (kernel.dtype, kernel.stored_bytes) == ("int8", stored.size)
    real = (stored.astype(np.float32) - np.array([0, 1, 2, 3, 4, 5, 6, -7])) * np.array(scales)
    for channel in range(8):
        np.testing.assert_array_equal(
            kernel.values("HWCM")[:, :, channel // 2, channel % 2], real[0, :, :, channel].astype(np.float32)
        )
