"""ONNX graphs: what is stored in them, with the op that uses it. Other files that hold numbers stay in the folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import WeightsError
from edgetransfer.models.torch_file import widened
from edgetransfer.transfer.source import SourceLayer, SourceModel, SourceTensor
from edgetransfer.transfer.sources import Looks
from edgetransfer.transfer.sources._files import (
    broken,
    dequantized,
    group,
    read_bytes,
    sha256_of,
    sha256_of_files,
    unreadable,
)

SUMMARY = "ONNX graphs (.onnx)"
_IR_VERSION = b"\x08"  # field 1 as a varint: what a serialized ModelProto begins with
_NEXT_FIELDS = bytes([0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42])  # producer, version, domain, doc, graph, opset
_SUFFIXES = (".weight", ".bias", ".running_mean", ".running_var")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_NO_PARAMETERS = "integers, scales and single numbers that are no parameters"
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


def recognises(looks: Looks) -> bool:
    """Whether it begins as an ONNX model does: its version, then its producer, operator sets or graph."""
    start = looks.start
    return start[:1] == _IR_VERSION and 0 < start[1] < 0x80 and start[2:3] in [bytes([n]) for n in _NEXT_FIELDS]


def read(path: Path) -> SourceModel:
    """Return what is stored in the graph at `path`; the ops that use it state roles and layouts.

    Integers are made real by the scales that the graph has for them. Integers that are no parameters, such as shapes,
    are left out.

    Raises:
        WeightsError: it is damaged, or its numbers lie outside of its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    with broken(path, "ONNX file", (DecodeError, ValueError, RecursionError)):
        model = onnx.load_model_from_string(read_bytes(path))
    stored = _stored(path, model)
    if not stored:
        raise WeightsError(f"source {path}: expected an ONNX graph with stored arrays, got one without any")
    with broken(path, "ONNX file", (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError)):
        parts, left = _parts(model.graph, stored)
    others = sorted({array.location for array in stored.values() if array.location})
    return SourceModel(
        model.graph.name or path.stem,
        " ".join(["ONNX of", model.producer_name, *model.producer_version.split()[:1]])
        if model.producer_name
        else "ONNX",
        "onnx",
        path,
        sha256_of_files(path.parent, [path.name, *others]) if others else sha256_of(path),
        parts,
        tuple(f"{count} {what} were left out" for what, count in left.items() if count),
    )


# === Arrays ===


class _Array:
    """A stored array: what the graph says of it, checked against what there is."""

    def __init__(self, path: Path, tensor: Any) -> None:
        import onnx

        self.name = str(tensor.name)
        self.shape = tuple(int(size) for size in tensor.dims)
        self.dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower() if tensor.data_type else ""
        self.dtype = {"float": "float32", "double": "float64"}.get(self.dtype, self.dtype)
        self.location = ""
        if any(size < 0 for size in self.shape):
            raise ValueError(f"{self.name!r} has the shape {self.shape}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            self.read = self._external(path, {entry.key: entry.value for entry in tensor.external_data})
        else:
            self.read = self._inside(tensor)

    def _inside(self, tensor: Any) -> Callable[[], NDArray[Any]]:
        from onnx import numpy_helper

        count = math.prod(self.shape)
        kept = len(tensor.raw_data) * 2 or 2 * sum(
            len(field)
            for field in (
                tensor.float_data,
                tensor.int32_data,
                tensor.int64_data,
                tensor.double_data,
                tensor.uint64_data,
            )
        )  # two numbers a byte of int4
        if count > kept:
            raise ValueError(f"{self.name!r} says it has {count} numbers, more than are stored")

        def numbers() -> NDArray[Any]:
            try:
                found: NDArray[Any] = numpy_helper.to_array(tensor)
                return found.astype(np.float32) if self.dtype == "bfloat16" else found
            except (ValueError, TypeError) as trouble:
                raise WeightsError(f"parameter {self.name!r}: {trouble}") from trouble

        return numbers

    def _external(self, path: Path, said: Mapping[str, str]) -> Callable[[], NDArray[Any]]:
        location = said.get("location", "")
        where = PurePosixPath(location.replace("\\", "/"))
        file = path.parent / where
        if not location or where.is_absolute() or ".." in where.parts or ":" in location:
            raise WeightsError(f"source {path}: {self.name!r} lies in {location!r}, outside of the folder; refused")
        if path.parent.resolve() not in file.resolve().parents:
            raise WeightsError(f"source {path}: {self.name!r} lies in {location!r}, a link out of the folder; refused")
        if not file.is_file():
            raise WeightsError(f"source {path}: {self.name!r} lies in {location!r}, which is not beside it")
        self.location = where.as_posix()
        stored = np.dtype("<u2" if self.dtype == "bfloat16" else self.dtype or "V1").newbyteorder("<")
        offset, count = int(said.get("offset", "0")), math.prod(self.shape)
        if offset < 0 or offset + count * stored.itemsize > file.stat().st_size:
            raise ValueError(f"{self.name!r} says it lies at {offset} of {location!r}, which ends before")

        def numbers() -> NDArray[Any]:
            try:
                found: NDArray[Any] = np.fromfile(file, stored, count, offset=offset).reshape(self.shape)
            except (OSError, ValueError) as trouble:
                raise WeightsError(f"source {file}: was changed while it was read ({trouble})") from trouble
            return widened(found) if self.dtype == "bfloat16" else found

        return numbers


def _stored(path: Path, model: Any) -> dict[str, _Array]:
    """Return the initializers and the outputs of Constant nodes, in the file's order."""
    found: dict[str, _Array] = {}
    with broken(path, "ONNX file", (ValueError, TypeError, OverflowError)):
        for tensor in model.graph.initializer:
            found[tensor.name] = _Array(path, tensor)
        for node in model.graph.node:
            if node.op_type == "Constant" and len(node.output) == 1:
                for one in node.attribute:
                    if one.name == "value" and one.HasField("t"):
                        one.t.name = node.output[0]
                        found[node.output[0]] = _Array(path, one.t)
    return found


# === Layers ===


def _parts(graph: Any, stored: Mapping[str, _Array]) -> tuple[tuple[SourceLayer, ...], dict[str, int]]:
    from edgetransfer.transfer.sources import _onnx_uses as uses_of

    uses = uses_of.Uses(graph.node)
    inputs = dict.fromkeys(name for node in graph.node for name in node.input)
    order = {name: place for place, name in enumerate(inputs)}
    quantizing = [node for node in graph.node if "quant" in node.op_type.lower() or node.op_type[:1] == "Q"]
    scales = {name for node in quantizing for name in node.input[1:]}
    named: list[tuple[str, SourceTensor]] = []
    owners: dict[str, Any] = {}
    left = {_NO_PARAMETERS: 0, "sparse arrays": len(graph.sparse_initializer)}
    for name, array in sorted(stored.items(), key=lambda item: order.get(item[0], len(order))):
        use = uses.find(name)
        product = uses.product_before(use) if use else None
        guess = uses_of.guess(use, array.shape, product)
        if not _is_parameter(array, use, guess.role == "other", name in scales):
            left[_NO_PARAMETERS] += 1
            continue
        node = product or (use.node if use else None)
        layer = _layer_name(name, node, owners)
        owners[layer] = node
        named.append((layer, SourceTensor(
            name, array.shape, array.dtype, guess.role, guess.layout, True, guess.reason, _reader(array, use, stored),
            guess.multiplier,
        )))  # fmt: skip
    nodes = {layer: node for layer, node in owners.items() if node is not None}
    epsilons = {layer: uses_of.epsilon_of(node) for layer, node in nodes.items()}
    return group(
        named,
        kinds={layer: node.op_type for layer, node in nodes.items()},
        attributes={layer: uses_of.attributes_of(node) for layer, node in nodes.items()},
        epsilons={layer: value for layer, value in epsilons.items() if value is not None},
    ), left


def _is_parameter(array: _Array, use: Any, unknown: bool, scale: bool) -> bool:
    """Whether the array is something that was learned: no shape, index, scale, or limit of a Clip."""
    if use is not None and (use.quantized is not None or use.scales):
        return array.dtype in (*_INTEGERS, *_FLOATS)
    return array.dtype in _FLOATS and not scale and not (unknown and math.prod(array.shape) == 1)


def _layer_name(tensor: str, node: Any, owners: Mapping[str, Any]) -> str:
    """Return PyTorch's name of the layer where exporters kept it in the array's, else the node's; one for each node."""
    if node is None:
        return tensor
    before = next((layer for layer, owner in owners.items() if owner is node), None)
    if before is not None:
        return before
    made = str(node.output[0]) if node.output else tensor
    found = next((tensor.removesuffix(end) for end in _SUFFIXES if tensor.endswith(end)), node.name or made)
    return made if found in owners else str(found)


def _reader(array: _Array, use: Any, stored: Mapping[str, _Array]) -> Callable[[], NDArray[Any]]:
    if use is None or (use.quantized is None and not use.scales):
        return array.read
    names = use.scales or (use.quantized.scale,)
    if any(name not in stored for name in names) or (use.quantized and use.quantized.zero_point not in (*stored, "")):
        return unreadable(array.name, "its scale is computed by the graph, so its integers cannot be made real here")

    def numbers() -> NDArray[Any]:
        scale = math.prod((stored[name].read() for name in names[1:]), start=stored[names[0]].read())
        zero = stored[use.quantized.zero_point].read() if use.quantized and use.quantized.zero_point else np.zeros(())
        axis = use.quantized.axis if use.quantized else 0
        try:
            return dequantized(array.read(), np.asarray(scale), zero, axis % max(len(array.shape), 1))
        except ValueError as trouble:
            raise WeightsError(f"parameter {array.name!r}: {trouble}") from trouble

    return numbers
