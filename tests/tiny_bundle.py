"""Builds a real bundle of a few kilobytes in some milliseconds: raw pixels, average pooling, one int8 layer.

Test files load this by path (see any of them), for tests are no package.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.bundle import (
    BackboneInfo,
    Bundle,
    DataInfo,
    Golden,
    GoldenInfo,
    LicenceInfo,
    Manifest,
    ModelInfo,
    SplitMetric,
    write_bundle,
)
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.head import Head, fingerprint
from edgetransfer.spec.manifest import HeadInfo
from edgetransfer.spec.memory import Memory
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import get_recipe
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import Quantization, TensorSpec

LABELS = ("red", "green", "blue")
SIDE_PX = 16
PIXEL = Quantization(1 / 128, 127)
LOGIT = Quantization(0.0625, -3)
WEIGHT_SCALE = 0.02
POOLED = 4 * 3  # 2 x 2 cells, RGB


def weights(classes: int = len(LABELS)) -> np.ndarray:
    """Class i likes channel i: int8 (classes, 12), with some noise."""
    noise = np.random.default_rng(7).integers(-9, 10, (classes, POOLED))
    liked = np.array([[90 if j % 3 == i % 3 else -40 for j in range(POOLED)] for i in range(classes)])
    return (liked + noise + np.arange(classes)[:, None]).astype(np.int8)


def float_logits(x: np.ndarray) -> np.ndarray:
    """What the float model gives for (16, 16, 3) uint8: (3,) float32."""
    real = (x.astype(np.float64) - PIXEL.zero_point) * PIXEL.scale
    pooled = real.reshape(2, 8, 2, 8, 3).mean(axis=(1, 3)).reshape(POOLED)
    return (weights() * WEIGHT_SCALE @ pooled).astype(np.float32)


class _Graph:
    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self.buffers = [schema.BufferT()]

    def tensor(self, name, shape, kind, scale=None, zero_point=0, data=None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        if data is not None:
            tensor.buffer = len(self.buffers)
            self.buffers.append(schema.BufferT())
            self.buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def op(self, builtin, inputs, output, options_type=0, options=None) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes) - 1, list(inputs), [output]
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.operators.append(operator)

    def content(self, inputs, outputs) -> bytes:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, inputs, outputs
        model = schema.ModelT()
        model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], self.codes, self.buffers
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def model_content(
    *,
    features: bool = False,
    scores_in_graph: bool = False,
    classes: int = len(LABELS),
    op: int | None = None,
    custom_op: str | None = None,
) -> bytes:
    """Return a .tflite; with `features` it ends in pooled colours.

    `op` or `custom_op` replaces the fully connected layer's operator code."""
    types, ops, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    graph = _Graph()
    pixels = graph.tensor("pixels", (1, SIDE_PX, SIDE_PX, 3), types.UINT8, PIXEL.scale, PIXEL.zero_point)
    moved = graph.tensor("moved", (1, SIDE_PX, SIDE_PX, 3), types.INT8, PIXEL.scale, PIXEL.zero_point - 128)
    graph.op(ops.QUANTIZE, [pixels], moved, options.QuantizeOptions, schema.QuantizeOptionsT())
    pooled = graph.tensor("pooled", (1, 2, 2, 3), types.INT8, PIXEL.scale, PIXEL.zero_point - 128)
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.filterHeight, pool.filterWidth, pool.strideH, pool.strideW = 1, 8, 8, 8, 8
    graph.op(ops.AVERAGE_POOL_2D, [moved], pooled, options.Pool2DOptions, pool)
    flat = graph.tensor("flat", (1, POOLED), types.INT8, PIXEL.scale, PIXEL.zero_point - 128)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, POOLED]
    shape = graph.tensor("shape", (2,), types.INT32, data=np.array([1, POOLED], np.int32))
    graph.op(ops.RESHAPE, [pooled, shape], flat, options.ReshapeOptions, reshape)
    if features:
        return graph.content([pixels], [flat])
    kernel = graph.tensor("kernel", (classes, POOLED), types.INT8, WEIGHT_SCALE, 0, data=weights(classes))
    logits = graph.tensor("logits", (1, classes), types.INT8, LOGIT.scale, LOGIT.zero_point)
    dense = schema.FullyConnectedOptionsT()
    if custom_op is not None:
        graph.op(ops.CUSTOM, [flat, kernel], logits)
        graph.codes[-1].customCode = custom_op
    else:
        code = ops.FULLY_CONNECTED if op is None else op
        graph.op(code, [flat, kernel, -1], logits, options.FullyConnectedOptions, dense)
    if not scores_in_graph:
        return graph.content([pixels], [logits])
    real = graph.tensor("real", (1, classes), types.FLOAT32)
    graph.op(ops.DEQUANTIZE, [logits], real)
    scores = graph.tensor("scores", (1, classes), types.FLOAT32)
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    graph.op(ops.SOFTMAX, [real], scores, options.SoftmaxOptions, softmax)
    return graph.content([pixels], [scores])


def frames() -> tuple[np.ndarray, ...]:
    """Four frames of several sizes, one of them ambiguous."""
    rng = np.random.default_rng(3)
    found = []
    for i, (height, width) in enumerate(((16, 16), (48, 64), (30, 17), (100, 100))):
        frame = rng.integers(0, 120, (height, width, 3))
        if i < 3:
            frame[:, :, i] += 120
        found.append(frame.astype(np.uint8))
    return tuple(found)


def manifest(*, scores_in_graph: bool = False, labels: tuple[str, ...] = LABELS, **changes: Any) -> Manifest:
    """Return a manifest for the tiny model, without golden samples."""
    output = TensorSpec("scores", (1, len(labels)), "float32")
    if not scores_in_graph:
        output = TensorSpec("logits", (1, len(labels)), "int8", LOGIT)
    fields: dict[str, Any] = {
        "edgetransfer": "0.1.0",
        "name": "tiny",
        "model": ModelInfo(
            "model.tflite", TensorSpec("pixels", (1, SIDE_PX, SIDE_PX, 3), "uint8"), output, scores_in_graph
        ),
        "task": Task("single_label", labels),
        "preprocess": ImageInput(SIDE_PX, SIDE_PX, "squash"),
        "backbone": BackboneInfo(
            "tiny", 1.0, "0" * 64, Normalisation(1 / 128, 127), POOLED, "Apache-2.0", "https://example.org", "nothing"
        ),
        "recipe": get_recipe("static_int8"),
        "data": DataInfo("f" * 64, {"train": 9, "test": 3}),
        "metrics": {"test": SplitMetric(0.5, 2)},
        "licences": (LicenceInfo("tiny", "Apache-2.0", "https://example.org", "LICENSES/tiny.txt"),),
        "versions": {"numpy": "2.0.0"},
    }
    return Manifest(**fields | changes)


def shades(channel: int, count: int, seed: int = 0) -> list[np.ndarray]:
    """Return frames in which one channel is the brightest; 3 is grey."""
    rng = np.random.default_rng(seed + 10 * channel)
    found = []
    for _ in range(count):
        frame = rng.integers(0, 110, (SIDE_PX, SIDE_PX, 3))
        frame[:, :, channel if channel < 3 else slice(None)] += int(rng.integers(60, 140))
        found.append(frame.astype(np.uint8))
    return found


def pooled(frame: np.ndarray) -> np.ndarray:
    """Return what the tiny graph gives for a frame of its own size before its last layer, (12,) float32."""
    real = (frame.astype(np.float64) - PIXEL.zero_point) * PIXEL.scale
    return real.reshape(2, 8, 2, 8, 3).mean(axis=(1, 3)).reshape(POOLED).astype(np.float32)


def make_split_bundle(path: Path, **changes: Any) -> Bundle:
    """Write a bundle that ends in features, with one head, `colour`, that has a memory; `changes` go into the head."""
    content = model_content(features=True)
    spec = ImageInput(SIDE_PX, SIDE_PX, "squash")
    remembered = [frame for channel in range(3) for frame in shades(channel, 12, seed=1)]
    values = np.stack([pooled(frame) for frame in remembered])
    known: dict[str, Any] = {
        "name": "colour",
        "task": Task("single_label", LABELS),
        "layers": (Dense((weights() * WEIGHT_SCALE).T.astype(np.float32), np.zeros(3, np.float32)),),
        "features_sha256": fingerprint(hashlib.sha256(content).hexdigest(), spec),
        "memory": Memory.of(values, np.repeat(np.arange(3), 12)),
    }
    head = Head(**{**known, **changes}).rounded()
    output = TensorSpec("flat", (1, POOLED), "int8", Quantization(PIXEL.scale, PIXEL.zero_point - 128))
    written = manifest(
        model=ModelInfo("model.tflite", TensorSpec("pixels", (1, SIDE_PX, SIDE_PX, 3), "uint8"), output),
        task=Task("embedding", ()),
        heads=(HeadInfo(head.name, f"heads/{head.name}.head", {}),),
        metrics={},
    )
    files = {"model.tflite": content, "LICENSES/tiny.txt": b"A licence.\n", f"heads/{head.name}.head": head.to_bytes()}
    return write_bundle(path, written, files)


def make_bundle(
    path: Path, *, scores_in_graph: bool = False, golden: bool = True, model: bytes | None = None, **changes: Any
) -> Bundle:
    """Write the tiny bundle, with golden samples computed by LiteRT here; `changes` go into the manifest."""
    content = model or model_content(scores_in_graph=scores_in_graph)
    written = manifest(scores_in_graph=scores_in_graph, **changes)
    files = {"model.tflite": content, "LICENSES/tiny.txt": b"A licence.\n"}
    if golden:
        engine = open_engine("litert", content)
        inputs = [prepare(frame, written.preprocess) for frame in frames()]
        samples = Golden(
            raw=frames(),
            input_sha256=tuple(hashlib.sha256(x.tobytes()).hexdigest() for x in inputs),
            float_logits=np.stack([float_logits(x) for x in inputs]),
            own_outputs=np.concatenate([engine.run(x[None]) for x in inputs]),
        )
        info = GoldenInfo("own", "golden.npz", len(inputs), engine.name, engine.version, engine.kernels, 2, 0)
        written = manifest(scores_in_graph=scores_in_graph, **{"golden": info} | changes)
        files["golden.npz"] = samples.to_bytes()
    return write_bundle(path, written, files)
