"""Tells what ONNX Runtime makes of a graph: which ops it fuses, and what they compute in."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto

from edgetransfer.errors import ExportError
from edgetransfer.export import OpFact
from edgetransfer.quantize.onnx_calibrate import session_options
from edgetransfer.quantize.onnx_graph import OnnxGraph, value_shapes

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "Cast")
_MOVES = (
    *_CONVERSIONS,
    *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Pad", "Concat", "Identity", "Slice", "Split"),
    *("ReorderInput", "ReorderOutput", "QLinearConcat"),
)
_POOLS = ("GlobalAveragePool", "AveragePool", "MaxPool", "GlobalMaxPool", "ReduceMean", "QLinearGlobalAveragePool")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_STANDARD = ("", "ai.onnx")
_DTYPES = {TensorProto.UINT8: "uint8", TensorProto.INT8: "int8", TensorProto.INT16: "int16"}


def survey(model: bytes) -> tuple[OpFact, ...]:
    """Return the ops of `model` as its engine runs them, in order.

    That is what ONNX Runtime's own optimizer leaves for this machine's processor. A graph whose activations are int8
    around 0 is made for TensorRT, whose rule is taken instead: an op computes in integers if what it takes comes from
    a DequantizeLinear and what it gives, perhaps through an activation, goes to a QuantizeLinear.
    """
    graph = OnnxGraph.read(model)
    macs = _macs(graph, value_shapes(model))
    foreign = {node.op_type for node in graph.nodes if node.domain not in _STANDARD}
    fused = _written(graph) if _for_tensorrt(graph) else _fused(model)
    edges = _edges(fused[0], graph.input, graph.output)
    names = _origins(graph, fused[0])
    return tuple(
        OpFact(
            kind=node.op_type,
            name=name,
            macs=0 if node.op_type in _MOVES else macs.get(name, 0),
            computes=computes,
            builtin=node.op_type not in foreign,
            edge=node.output[0] in edges,
        )
        for node, computes, name in zip(*fused, names, strict=True)
    )


def _macs(graph: OnnxGraph, shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """Return the multiply-adds of every node as written, by its name; those without weights count their elements."""
    found = {}
    weights = {node.output[0]: node.input[0] for node in graph.nodes if node.op_type in _CONVERSIONS}
    for node in graph.nodes:
        made = int(np.prod(shapes.get(node.output[0], (0,))))
        if node.op_type in _MOVES:
            made = 0
        elif node.op_type in _WEIGHTED:
            weight = graph.constants.get(weights.get(node.input[1], node.input[1]))
            made = 0 if weight is None else made * _taps(node, weight.shape)
        elif node.op_type in _POOLS:
            made = int(np.prod(shapes.get(node.input[0], (0,))))
        found[str(node.name)] = made
    return found


def _taps(node: NodeProto, shape: tuple[int, ...]) -> int:
    if node.op_type == "Conv":
        return int(np.prod(shape[1:]))
    if node.op_type == "ConvTranspose":
        return int(shape[0])
    transposed = any(one.name == "transB" and one.i for one in node.attribute)
    return int(shape[-1] if transposed else shape[-2])


def _fused(model: bytes) -> tuple[list[NodeProto], list[str]]:
    """Return the nodes that ONNX Runtime runs, and what each computes in."""
    options = session_options()
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no other class in common
            raise ExportError(f"ONNX Runtime refuses the model: {' '.join(str(error).split())}") from error
        optimized = onnx.load(path)
    kinds = {
        one.name: one.type.tensor_type.elem_type
        for one in (*optimized.graph.value_info, *optimized.graph.input, *optimized.graph.output)
    }
    constants = {one.name: one.data_type for one in optimized.graph.initializer}
    nodes = list(optimized.graph.node)
    return nodes, [_computes(node, kinds, constants) for node in nodes]


def _computes(node: NodeProto, kinds: dict[str, int], constants: dict[str, int]) -> str:
    """Return "float32" where anything that is computed at run time is floats, else the dtype of the output.

    What the optimizer made has no dtype in its file; it is added to `kinds`.
    """
    if node.output[0] not in kinds:
        given = (
            node.input[2] if node.op_type.startswith("QLinear") or node.op_type == "QuantizeLinear" else node.input[0]
        )
        kinds[node.output[0]] = constants.get(given, kinds.get(given, TensorProto.FLOAT))
        if node.op_type == "DequantizeLinear":
            kinds[node.output[0]] = TensorProto.FLOAT
    ends = [
        kinds.get(name, TensorProto.FLOAT) for name in (*node.input, *node.output) if name and name not in constants
    ]
    return "float32" if any(kind not in _DTYPES for kind in ends) else _DTYPES[kinds[node.output[0]]]


def _for_tensorrt(graph: OnnxGraph) -> bool:
    taken = [node.input[2] for node in graph.nodes if node.op_type == "QuantizeLinear" and len(node.input) > 2]
    return bool(taken) and all(graph.constants[name].dtype == np.int8 for name in taken if name in graph.constants)


def _written(graph: OnnxGraph) -> tuple[list[NodeProto], list[str]]:
    """Return the nodes as written but for conversions, and what TensorRT computes each in."""
    producers, consumers = graph.producers(), graph.consumers()

    def real(name: str) -> bool:
        made = producers.get(name)
        return made is not None and made.op_type == "DequantizeLinear"

    def stored(name: str) -> bool:
        after = consumers.get(name, [])
        activations = [node for node in after if node.op_type in ("Clip", "Relu")]
        return bool(after) and all(
            node.op_type == "QuantizeLinear" or (node in activations and stored(node.output[0])) for node in after
        )

    def integers(node: NodeProto) -> bool:
        if node.op_type in ("Clip", "Relu") and node.input[0] in producers and not real(node.input[0]):
            return integers(producers[node.input[0]])
        taken = [name for name in node.input[:2] if name and name not in graph.constants]
        return all(real(name) for name in taken) and stored(node.output[0])

    nodes = [node for node in graph.nodes if node.op_type not in ("QuantizeLinear", "Cast")]
    nodes = [node for node in nodes if node.op_type != "DequantizeLinear" or node.input[0] == graph.input]
    return nodes, ["int8" if integers(node) else "float32" for node in nodes]


def _origins(graph: OnnxGraph, nodes: list[NodeProto]) -> list[str]:
    """Return the name of the written node that each of `nodes` was made of: ONNX Runtime adds to names.

    What was fused with the activation behind it carries the activation's name.
    """
    written = {str(node.name): node for node in graph.nodes}
    producers = graph.producers()
    found = []
    for node in nodes:
        name = max((one for one in written if one and one in node.name), key=len, default=str(node.name))
        origin = written.get(name)
        while origin is not None and origin.op_type in ("Clip", "Relu") and origin.op_type != node.op_type:
            origin = producers.get(origin.input[0])
        found.append(name if origin is None else str(origin.name))
    return found


def _edges(nodes: list[NodeProto], first: str, last: str) -> set[str]:
    """Return the outputs of the nodes that only turn raw pixels into the first input, or logits into scores."""
    found: set[str] = set()
    tensor: str | None = first
    while tensor is not None:
        node = next((one for one in nodes if tensor in one.input), None)
        tensor = None
        if node is not None and node.op_type in (*_CONVERSIONS, "Transpose"):
            found.add(node.output[0])
            tensor = str(node.output[0])
    producers = {name: node for node in nodes for name in node.output}
    tensor = last
    while tensor in producers and producers[tensor].op_type in (*_CONVERSIONS, "Softmax"):
        found.add(tensor)
        tensor = str(producers[tensor].input[0])
    return found
