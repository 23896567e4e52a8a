"""Turns a Keras model into a clean ONNX graph: batch norms folded, names that only the model's layers decide."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgetransfer.errors import ExportError
from edgetransfer.export._onnx_fold import check_folded, fold
from edgetransfer.quantize.onnx_graph import OPSET, OnnxGraph, unique_names

PIXELS, FEATURES = "pixels", "features"
"""Names of a float graph's input and output."""


def export_backbone(model: Any) -> bytes:
    """Return the Keras `model` as a float32 ONNX file: (1, H, W, 3) normalised pixels in, (1, D) features out.

    Raises:
        ExportError: it cannot be converted, has ops that a plain ONNX Runtime does not know, or keeps a batch norm.
    """
    graph = OnnxGraph(_exported(model))
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in graph.nodes if node.domain not in ("", "ai.onnx")})
    if foreign:
        raise ExportError(
            f"model {model.name!r} needs ops that ONNX does not have: {', '.join(foreign)}. They would fail on the "
            "device; replace the layers that make them"
        )
    fold(graph)
    check_folded(graph, model.name)
    _flatten_pooled(graph)
    _name_by_layers(graph, model)
    return graph.to_bytes()


def _exported(model: Any) -> onnx.ModelProto:
    # TensorFlow writes its start-up notes straight to the process's standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name=PIXELS)]
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "backbone.onnx"
        try:
            with _quiet():
                model.export(path, format="onnx", input_signature=signature, opset_version=OPSET, verbose=False)
            return onnx.load(path)
        except Exception as trouble:  # tf2onnx raises whatever its handlers met
            first_line = str(trouble).strip().splitlines()[0] if str(trouble).strip() else type(trouble).__name__
            raise ExportError(f"backbone {model.name!r} could not be converted to ONNX: {first_line}") from trouble


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Keras's note and tf2onnx's log to themselves, as well as their warnings of numpy's old names."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _flatten_pooled(graph: OnnxGraph) -> None:
    """Make the Squeeze behind a global pooling a Flatten, which keeps the batch and has no second input."""
    producers = graph.producers()
    for node in graph.nodes:
        before = producers.get(node.input[0])
        if node.op_type == "Squeeze" and before is not None and before.op_type == "GlobalAveragePool":
            axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
            if axes is not None and sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]:
                node.op_type = "Flatten"
                del node.input[1:]
                node.attribute.append(onnx.helper.make_attribute("axis", 1))


def _name_by_layers(graph: OnnxGraph, model: Any) -> None:
    """Give nodes and tensors names that begin with the Keras layer's, without a counter of the process.

    The converter's names are scopes such as "small_1/stem_1/convolution"; how far the counters are depends on what the
    process built before, and what it fused has lost its scope.
    """
    layers = set(_layer_paths(model))
    nodes = graph.to_model().graph.node  # in canonical order
    suffix = _suffix(model.name, [name for node in nodes for name in (node.name, *node.input)])
    wanted = [f"{_layer(node, layers, suffix)}/{node.op_type}".lstrip("/") for node in nodes]
    names = dict(zip([node.output[0] for node in nodes], unique_names(wanted), strict=True))
    for node in graph.nodes:
        node.name = names.get(node.output[0], node.output[0])
    tensors = {graph.input: PIXELS}
    for node in nodes:
        name = names[node.output[0]]
        roles = _ROLES.get(node.op_type, ())
        for place, tensor in enumerate(node.input):
            if tensor in graph.constants and tensor not in tensors:
                tensors[tensor] = f"{name}/{roles[place] if place < len(roles) else f'input_{place}'}"
        for place, tensor in enumerate(node.output):
            tensors[tensor] = name if place == 0 else f"{name}/output_{place}"
    tensors[graph.output] = FEATURES
    graph.rename(tensors)
    graph.set_end("input", PIXELS, np.float32, graph.shape("input"))
    graph.set_end("output", FEATURES, np.float32, graph.shape("output"))


_ROLES = {
    "Conv": ("x", "weight", "bias"),
    "ConvTranspose": ("x", "weight", "bias"),
    "Gemm": ("x", "weight", "bias"),
    "Clip": ("x", "min", "max"),
    "Reshape": ("x", "shape"),
}


def _suffix(model_name: str, names: list[str]) -> str:
    """Return what the process's counter put behind every scope, such as "_1"; it is the same for all of one model."""
    roots = sorted({name.split("/")[0] for name in names if "/" in name})
    return next((root[len(model_name) :] for root in roots if _counted(root, model_name)), "")


def _counted(root: str, name: str) -> bool:
    return root == name or (root.startswith(f"{name}_") and root[len(name) + 1 :].isdigit())


def _layer_paths(model: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for layer in getattr(model, "layers", ()):
        path = (*above, str(layer.name))
        yield path
        yield from _layer_paths(layer, path)


def _layer(node: onnx.NodeProto, layers: set[tuple[str, ...]], suffix: str) -> str:
    """Return the path of the Keras layer that `node` computes: that of its weights before that of its own name."""
    if node.op_type == "Transpose":
        return ""  # the converter's own, between TensorFlow's layout and ONNX's
    own, taken = [node.name, node.output[0]], list(node.input[1:])
    if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        own = [taken[0], *own]
    for name in own + taken:
        path: tuple[str, ...] = ()
        for scope in name.split("/")[1:]:
            if (*path, scope.removesuffix(suffix)) not in layers:
                break
            path = (*path, scope.removesuffix(suffix))
        if path:
            return "/".join(path)
    return ""
