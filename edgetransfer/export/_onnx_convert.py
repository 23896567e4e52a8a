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
import onnxruntime as ort

from edgetransfer.errors import ExportError
from edgetransfer.export._onnx_fold import check_folded, fold
from edgetransfer.export._onnx_names import name_by_layers, settle_names, unmistakable_names
from edgetransfer.quantize.onnx_calibrate import session_options
from edgetransfer.quantize.onnx_carry_out import TOKENS
from edgetransfer.quantize.onnx_graph import OPSET, OnnxGraph, attribute

PIXELS, FEATURES = "pixels", "features"
"""Names of a float graph's input and output."""


def export_backbone(model: Any) -> bytes:
    """Return the Keras `model` as a float32 ONNX file: (1, H, W, 3) normalised pixels in, (1, D) features out.

    The input of a model of sentences is (1, tokens) int32 ids instead.

    Raises:
        ExportError: it cannot be converted, has ops that a plain ONNX Runtime does not know, or keeps a batch norm.
    """
    with unmistakable_names(model) as paths:
        graph = OnnxGraph(_exported(model))
    _spell_out_erfc(graph)
    _check_known(graph, model.name)
    name_by_layers(graph, paths)
    _pool_globally(graph)
    graph = OnnxGraph(_simplified(graph, model.name))
    fold(graph)
    check_folded(graph, model.name)
    settle_names(graph, *_input(model), FEATURES)
    return graph.to_bytes()


def _spell_out_erfc(graph: OnnxGraph) -> None:
    """Write TensorFlow's Erfc, of which GELU is made there, as 1 - Erf: ONNX has no Erfc."""
    for node in [one for one in graph.nodes if one.op_type == "Erfc"]:
        place, error = graph.nodes.index(node), f"{node.output[0]}/erf"
        graph.constants[f"{error}/one"] = np.array(1.0, np.float32)
        graph.nodes[place : place + 1] = [
            onnx.helper.make_node("Erf", [node.input[0]], [error], f"{node.name}/erf"),
            onnx.helper.make_node("Sub", [f"{error}/one", error], [node.output[0]], node.name),
        ]


def _check_known(graph: OnnxGraph, name: str) -> None:
    foreign = sorted({node.op_type for node in graph.nodes if not onnx.defs.has(node.op_type, OPSET, node.domain)})
    if foreign:
        raise ExportError(
            f"model {name!r} needs ops that ONNX does not have: {', '.join(foreign)}. They would fail on the device; "
            "replace the layers that make them"
        )


def _exported(model: Any) -> onnx.ModelProto:
    # TensorFlow writes its start-up notes straight to the process's standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    name, dtype = _input(model)
    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype=np.dtype(dtype).name, name=name)]
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "backbone.onnx"
        try:
            with _quiet():
                model.export(path, format="onnx", input_signature=signature, opset_version=OPSET, verbose=False)
            return onnx.load(path)
        except Exception as trouble:  # tf2onnx raises whatever its handlers met
            first_line = str(trouble).strip().splitlines()[0] if str(trouble).strip() else type(trouble).__name__
            raise ExportError(f"backbone {model.name!r} could not be converted to ONNX: {first_line}") from trouble


def _input(model: Any) -> tuple[str, type[np.generic]]:
    """Return the name and dtype of the input in the ONNX file."""
    return (TOKENS, np.int32) if str(model.input.dtype).startswith("int") else (PIXELS, np.float32)


def _simplified(graph: OnnxGraph, name: str) -> onnx.ModelProto:
    """Return `graph` as ONNX Runtime's own first optimization writes it, which any processor and engine can run.

    It moves the converter's transposes out of the way, which otherwise stand between convolutions and what is to be
    folded into them: MobileNetV3 came with 104, one stays.
    """
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(graph.to_model().SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no other class in common
            raise ExportError(f"model {name!r}: ONNX Runtime refuses it: {' '.join(str(error).split())}") from error
        return onnx.load(path)


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


def _pool_globally(graph: OnnxGraph) -> None:
    """Write means over the whole picture as GlobalAveragePool and Flatten, which keep the batch.

    The converter's ReduceMean has no integer kernel in ONNX Runtime, and its Squeeze a second input.
    """
    inferred = onnx.shape_inference.infer_shapes(graph.to_model(), strict_mode=True)
    ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in inferred.graph.value_info}
    producers = graph.producers()
    for node in list(graph.nodes):
        before = producers.get(node.input[0])
        if node.op_type == "Squeeze" and before is not None and before.op_type == "GlobalAveragePool":
            axes = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
            if axes is not None and sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]:
                _become(node, "Flatten", [node.input[0]])
        elif node.op_type == "ReduceMean" and ranks.get(node.input[0]) == 4:
            over = sorted(int(axis) % 4 for axis in attribute(node, "axes", ()))
            if over in ([1, 2], [2, 3]):
                _pool(graph, node, turned=over == [1, 2], kept=bool(attribute(node, "keepdims", 1)))


def _pool(graph: OnnxGraph, node: onnx.NodeProto, *, turned: bool, kept: bool) -> None:
    """Make `node` a global mean over height and width; `turned` says that channels come last in what it takes."""
    place, name, source = graph.nodes.index(node), node.output[0], node.input[0]
    layer, _, number = node.name.rpartition("/")
    before: list[onnx.NodeProto] = []
    if turned:
        before = [onnx.helper.make_node("Transpose", [source], [f"{name}/turned"], perm=[0, 3, 1, 2])]
        source = f"{name}/turned"
    if turned or not kept:
        pool = onnx.helper.make_node("GlobalAveragePool", [source], [f"{name}/pooled"], f"{layer}/pool_{number}")
        before, source = [*before, pool], f"{name}/pooled"
    graph.nodes[place:place] = before
    _become(node, "GlobalAveragePool" if not turned and kept else "Transpose" if kept else "Flatten", [source])
    if turned and kept:
        node.attribute.append(onnx.helper.make_attribute("perm", [0, 2, 3, 1]))


def _become(node: onnx.NodeProto, op: str, inputs: list[str]) -> None:
    node.op_type = op
    del node.attribute[:]
    del node.input[:]
    node.input.extend(inputs)  # Flatten's axis is 1 unless told otherwise
