"""ONNX: converts a Keras backbone, grafts heads onto it, and tells what is in a graph.

The file's `metadata_props` tell other clients what they need, each value a string:

* "name": of the bundle.
* "labels": a JSON list, in the order of the outputs.
* "preprocess": a JSON object: height_px, width_px, fit ("squash", "crop", "pad"), pad_value, and channels where
  they are not 3.
* "input": what goes in: raw pixels; normalising is the graph's first op.
* "output": "logits" or "scores".
* "licence": of the weights.

A client with plain onnxruntime needs these lines; the first two matter on x86 processors without VNNI, whose integer
sums saturate otherwise::

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"image": pixels})  # (1, height, width, 3) uint8 RGB
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
"""

from __future__ import annotations

import json

import numpy as np
import onnx

from edgetransfer.errors import ExportError
from edgetransfer.export import Card
from edgetransfer.export._onnx_convert import export_backbone as convert
from edgetransfer.export._onnx_costs import costs, integer_costs
from edgetransfer.export._onnx_graft import LOGITS, SCORES, graft, head_alone, quantization
from edgetransfer.export._onnx_survey import survey
from edgetransfer.quantize.onnx_calibrate import calibrate
from edgetransfer.quantize.onnx_carry_out import carry_out
from edgetransfer.quantize.onnx_graph import OPSET, OnnxGraph, read_model
from edgetransfer.spec.preprocess import CHANNELS, ImageInput

ENGINE = FLOAT_ENGINE = "onnx"
MODEL_FILE = "model.onnx"
BATCH = "batch"
"""Name of a batch dimension that is not fixed."""
__all__ = [
    "BATCH",
    "ENGINE",
    "FLOAT_ENGINE",
    "MODEL_FILE",
    "OPSET",
    "calibrate",
    "carry_out",
    "convert",
    "costs",
    "finish",
    "graft",
    "head_alone",
    "integer_costs",
    "labels",
    "opset",
    "step",
    "survey",
    "with_dynamic_batch",
]


def opset(model: bytes) -> int:
    """Return the version of the operator set that `model` is written in."""
    return next(int(one.version) for one in read_model(model).opset_import if one.domain in ("", "ai.onnx"))


def step(model: bytes) -> float | None:
    """Return the real size of one step of the logits (or features) of `model`; None where they are floats."""
    graph = OnnxGraph.read(model)
    found = quantization(graph, LOGITS if graph.output == SCORES else graph.output)
    return None if found is None else found[0].scale


def finish(model: bytes, card: Card) -> bytes:
    """Return `model` with labels, preprocessing and licence in `metadata_props`, checked and in canonical form.

    Raises:
        ExportError: the ONNX checker refuses it.
    """
    graph = OnnxGraph.read(model)
    graph.metadata |= {
        "name": card.name,
        "labels": json.dumps(list(card.labels), ensure_ascii=False),
        "preprocess": json.dumps(card.preprocess.to_json(), sort_keys=True),
        "input": _input_text(card.preprocess),
        "output": SCORES if card.scores else LOGITS,
        "licence": card.licence,
    }
    return _checked(graph.to_bytes())


def _input_text(spec: ImageInput) -> str:
    return f"uint8 {CHANNELS[spec.channels]} pixels 0 to 255, (1, height, width, {spec.channels})"


def labels(model: bytes) -> list[str]:
    """Return the labels that `finish` wrote into `model`, in the order of the outputs.

    Raises:
        ExportError: there are none.
    """
    found = OnnxGraph.read(model).metadata.get("labels")
    if found is None:
        raise ExportError("ONNX file: expected 'labels' in metadata_props, got none")
    return [str(label) for label in json.loads(found)]


def with_dynamic_batch(model: bytes) -> bytes:
    """Return `model` for any number of images at once: (batch, H, W, 3) in, (batch, C) out.

    Raises:
        ExportError: an op of it holds on to a batch of 1.
    """
    graph = OnnxGraph.read(model)
    for node in graph.nodes:
        shape = graph.constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is None:
            continue
        if shape[0] != 1 or -1 in shape[1:]:
            raise ExportError(f"Reshape {node.name!r} to {shape.tolist()}: cannot take more than one image at a time")
        graph.constants[f"{node.input[1]}/{BATCH}"] = np.array([-1, *shape[1:]], shape.dtype)
        node.input[1] = f"{node.input[1]}/{BATCH}"
    for end, dtype in (("input", np.uint8), ("output", np.float32)):
        name = graph.input if end == "input" else graph.output
        graph.set_end(end, name, dtype, [BATCH, *graph.shape(end)[1:]])
    return _checked(graph.to_bytes())


def _checked(content: bytes) -> bytes:
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses the model: {' '.join(str(error).split())}") from error
    return content
