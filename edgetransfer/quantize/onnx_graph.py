"""An ONNX graph to read and change: nodes, constants as arrays, and one canonical way of writing it down.

Equal graphs give equal bytes: nodes stand in the order that the output needs them, initializers and shapes are sorted
by name, what tells of tools, clocks and source lines is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, shape_inference

from edgetransfer.errors import ExportError

OPSET = 17
"""The operator set that is written. QuantizeLinear has scales a channel from 13 on. TensorRT 8.5 and 8.6, JetPack 5's
and 6.0's, read up to 17; ONNX Runtime 1.20, the oldest that we claim, up to 21. What 18 to 21 add, 16-bit and 4-bit
integers, no kernel of ONNX Runtime computes with on a processor."""
IR_VERSION = 8  # of the file's layout: the one that came with opset 17
PRODUCER = "edgetransfer"


class OnnxGraph:
    """A graph with one input and one output, taken apart.

    Attributes:
        nodes: In an order in which they can run.
        constants: The initializers, by name.
        input: The name of the only input; `output` that of the only output.
        metadata: What the file says of itself, as strings by key.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        inputs = [one for one in graph.input if one.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ExportError(
                f"ONNX graph: expected one input and one output, got {len(inputs)} and {len(graph.output)}"
            )
        self.nodes: list[NodeProto] = [node for node in graph.node if node.op_type != "Constant"]
        self.constants: dict[str, NDArray[Any]] = constants
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = _constant(node)
        self.metadata = {one.key: one.value for one in model.metadata_props}
        self._ends = {"input": inputs[0], "output": graph.output[0]}

    @classmethod
    def read(cls, content: bytes) -> OnnxGraph:
        """Return the graph in the content of an ONNX file.

        Raises:
            ExportError: it is none, or has several inputs or outputs.
        """
        return cls(read_model(content))

    @property
    def input(self) -> str:
        """The name of the only input."""
        return str(self._ends["input"].name)

    @property
    def output(self) -> str:
        """The name of the only output."""
        return str(self._ends["output"].name)

    def shape(self, end: str) -> tuple[int, ...]:
        """Return the shape of the `end` "input" or "output"; 0 for a size that is not fixed."""
        return tuple(int(one.dim_value) for one in self._ends[end].type.tensor_type.shape.dim)

    def set_end(self, end: str, name: str, dtype: type[np.generic], shape: Iterable[int | str]) -> None:
        """Make the tensor `name` the graph's "input" or "output"."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._ends[end] = helper.make_tensor_value_info(name, kind, list(shape))

    def producer(self, tensor: str) -> NodeProto | None:
        """Return the node that makes `tensor`; None for constants and the graph's input."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def producers(self) -> dict[str, NodeProto]:
        """Return the node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.output}

    def consumers(self) -> dict[str, list[NodeProto]]:
        """Return the nodes that take each tensor, in order; a node that takes it twice stands there twice."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename tensors, wherever they stand."""
        for node in self.nodes:
            for names_of in (node.input, node.output):
                for place, name in enumerate(names_of):
                    names_of[place] = names.get(name, name)
        self.constants = {names.get(name, name): value for name, value in self.constants.items()}
        for end in self._ends.values():
            end.name = names.get(end.name, end.name)

    def to_model(self) -> onnx.ModelProto:
        """Return the graph as a model with nothing in it that the output does not need."""
        nodes = self._needed()
        used = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "model",
            [self._ends["input"]],
            [self._ends["output"]],
            [numpy_helper.from_array(self.constants[name], name) for name in sorted(used & self.constants.keys())],
        )
        domains = sorted({node.domain for node in nodes} - {""})
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=PRODUCER)
        helper.set_model_props(model, dict(sorted(self.metadata.items())))
        return model

    def to_bytes(self) -> bytes:
        """Return the canonical content of the file, with the shape of every tensor (TensorRT asks for them).

        Raises:
            ExportError: the graph is none: shapes that do not meet, unknown ops.
        """
        model = self.to_model()
        try:
            model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
            raise ExportError(f"ONNX graph: {' '.join(str(error).split())}") from error
        shapes: dict[str, ValueInfoProto] = {one.name: one for one in model.graph.value_info}
        del model.graph.value_info[:]
        model.graph.value_info.extend(shapes[name] for name in sorted(shapes))
        return bytes(model.SerializeToString(deterministic=True))

    def _needed(self) -> list[NodeProto]:
        """Return the nodes that the output needs, each after what it takes; inputs are followed in their order."""
        producers = self.producers()
        done: dict[str, NodeProto] = {}
        waiting = [self.output]
        while waiting:
            node = producers.get(waiting[-1])
            taken = node.input if node is not None else ()
            missing = next(
                (name for name in taken if name in producers and producers[name].output[0] not in done), None
            )
            if missing is not None:
                waiting.append(missing)
                continue
            waiting.pop()
            if node is not None:
                done.setdefault(node.output[0], _plain(node))
        return list(done.values())


def read_model(content: bytes) -> onnx.ModelProto:
    """Return the model in the content of an ONNX file.

    Raises:
        ExportError: it is none.
    """
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise ExportError(f"not an ONNX file: {' '.join(str(error).split())}") from error
    if not model.graph.node:
        raise ExportError("not an ONNX file: it has no ops")
    return model


def value_shapes(content: bytes) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that the file states, by name; 0 for a size that is not fixed."""
    graph = read_model(content).graph
    return {
        one.name: tuple(int(size.dim_value) for size in one.type.tensor_type.shape.dim)
        for one in (*graph.value_info, *graph.input, *graph.output)
    }


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the attribute `name` of `node`."""
    found = next((one for one in node.attribute if one.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def unique_names(wanted: Iterable[str]) -> list[str]:
    """Return `wanted` with a number behind those that came before: "a", "b", "a_2"."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    taken = set(wanted := list(wanted))
    for name in wanted:
        seen[name] += 1
        candidate = name
        while seen[name] > 1 and (candidate == name or candidate in taken):
            candidate = f"{name}_{seen[name]}"
            seen[name] += candidate in taken
        taken.add(candidate)
        names.append(candidate)
    return names


def _plain(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("doc_string")
    copy.ClearField("metadata_props")
    ordered = sorted(copy.attribute, key=lambda one: one.name)
    del copy.attribute[:]
    copy.attribute.extend(ordered)
    return copy


def _constant(node: NodeProto) -> NDArray[Any]:
    value = helper.get_attribute_value(node.attribute[0])
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
