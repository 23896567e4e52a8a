"""LiteRT (TFLite): converts a Keras backbone, grafts heads onto it, and tells what is in a graph."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgetransfer.errors import ExportError
from edgetransfer.export import Card, OpFact
from edgetransfer.export._litert_costs import costs
from edgetransfer.export._litert_graft import graft
from edgetransfer.export._litert_memory import memory
from edgetransfer.export._litert_metadata import add_metadata
from edgetransfer.export._litert_metadata import read_labels as labels
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph, Op
from edgetransfer.quantize.litert_tables import look_up

ENGINE = FLOAT_ENGINE = "litert"
MODEL_FILE = "model.tflite"
__all__ = [
    "ENGINE",
    "FLOAT_ENGINE",
    "MODEL_FILE",
    "calibrate",
    "carry_out",
    "check_builtin_ops",
    "convert",
    "costs",
    "finish",
    "graft",
    "head_alone",
    "labels",
    "memory",
    "step",
    "survey",
]

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_MOVES = (
    *_CONVERSIONS, "RESHAPE", "PAD", "PADV2", "CONCATENATION", "TRANSPOSE", "CAST", "SQUEEZE", "EXPAND_DIMS",
    "EMBEDDING_LOOKUP",
)  # fmt: skip


def convert(model: Any) -> bytes:
    """Return the Keras `model` as a float32 `.tflite`: (1, H, W, 3) normalised pixels in, (1, D) features out.

    Args:
        model: A `keras.Model` with one input and one output (None, D). The input is (None, *shape): float32 pixels or
            log-mel, or int32 ids of tokens, and stays what it is.

    Raises:
        ExportError: the converter fails, or needs ops that a plain LiteRT interpreter does not have.
    """
    # TensorFlow writes its start-up notes straight to the process's standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype=_input_dtype(model))]
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "backbone.tflite"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                model.export(path, format="litert", input_signature=signature, verbose=False)
        except Exception as trouble:  # the converter raises whatever its C++ side threw
            first_line = str(trouble).strip().splitlines()[0] if str(trouble).strip() else type(trouble).__name__
            raise ExportError(f"backbone {model.name!r} could not be converted to LiteRT: {first_line}") from trouble
        content = look_up(path.read_bytes())
    check_builtin_ops(content, model.name)
    return content


def check_builtin_ops(content: bytes, name: str) -> None:
    """Refuse a graph that a plain interpreter cannot run.

    Raises:
        ExportError: it has flex (TensorFlow) or custom ops; names them.
    """
    foreign = sorted({op.name for op in Graph.read(content).ops() if not _is_builtin(op)})
    if foreign:
        raise ExportError(
            f"model {name!r} needs ops that LiteRT does not have built in: {', '.join(foreign)}. They would fail on "
            "the device; replace the layers that make them (Flex... ops come from TensorFlow ops without a LiteRT "
            "counterpart)"
        )


def head_alone(deployed: bytes, model: bytes) -> bytes:
    """Return the head's ops of the grafted `model` by themselves: features as `deployed` gives them in, logits out."""
    backbone, head = Graph.read(deployed), Graph.read(model)
    features, names = backbone.output, [head.name(index) for index in range(len(head.subgraph.tensors))]
    head.subgraph.operators = head.subgraph.operators[len(backbone.ops()) :]
    logits = _logits(head)
    last = next(number for number, op in enumerate(head.ops()) if logits in op.outputs)
    head.subgraph.operators = head.subgraph.operators[: last + 1]  # scores in the graph: the softmax is left out
    head.set_ends(input_index=features, input_name="features", output_index=logits, output_name=names[logits])
    return head.to_bytes()


def step(model: bytes) -> float | None:
    """Return the real size of one step of the logits of a grafted `model`; None where they are floats."""
    graph = Graph.read(model)
    quantization = graph.quantization(_logits(graph))
    return None if quantization is None else quantization.scale


def finish(model: bytes, card: Card) -> bytes:
    """Return `model` with TFLite Metadata: labels, pixels, licence."""
    channels = card.preprocess.channels
    return add_metadata(model, name=card.name, labels=card.labels, licence=card.licence, channels=channels)


def survey(model: bytes) -> tuple[OpFact, ...]:
    """Return the ops of `model` in order; `macs` of ops without weights are the elements that they compute."""
    graph = Graph.read(model)
    ops = graph.ops()
    edges = _edges(graph, ops)
    return tuple(
        OpFact(
            kind=op.name,
            name=graph.name(op.outputs[0]),
            macs=_macs(graph, op),
            computes=_computes(graph, op),
            builtin=_is_builtin(op),
            edge=number in edges,
        )
        for number, op in enumerate(ops)
    )


def _input_dtype(model: Any) -> str:
    return "int32" if str(model.input.dtype).startswith("int") else "float32"


def _is_builtin(op: Op) -> bool:
    return op.name.isupper()  # flex and custom ops carry names of their own


def _logits(graph: Graph) -> int:
    """Return the index of the logits: the output, or what goes into the softmax that gives the output's scores."""
    index = graph.output
    for op in reversed(graph.ops()):
        if index in op.outputs and op.name in ("SOFTMAX", "DEQUANTIZE") and graph.name(graph.output) == "scores":
            index = op.inputs[0]
    return index


def _macs(graph: Graph, op: Op) -> int:
    if op.name in _MOVES:
        return 0
    made = int(np.prod(graph.shape(op.outputs[0])))
    if op.name in ("CONV_2D", "FULLY_CONNECTED"):
        return made * int(np.prod(graph.shape(op.inputs[1])[1:]))
    if op.name == "DEPTHWISE_CONV_2D":
        return made * int(np.prod(graph.shape(op.inputs[1])[:3]))
    if op.name in ("MEAN", "SUM", "AVERAGE_POOL_2D", "MAX_POOL_2D"):
        return int(np.prod(graph.shape(op.inputs[0])))
    return made


def _computes(graph: Graph, op: Op) -> str:
    """Return "float32" where any tensor that is computed at run time is floats, else the dtype of the output."""
    ends = [graph.dtype(i) for i in (*op.inputs, *op.outputs) if i >= 0 and graph.constant(i) is None]
    return "float32" if "float32" in ends else graph.dtype(op.outputs[0])


def _edges(graph: Graph, ops: Sequence[Op]) -> set[int]:
    """Return the numbers of the ops that only turn raw pixels into the first input, or logits into scores."""
    found, index = set(), graph.input
    for number, op in enumerate(ops):
        if op.name not in _CONVERSIONS or op.inputs[0] != index:
            break
        found.add(number)
        index = op.outputs[0]
    index = graph.output
    for number in reversed(range(len(ops))):
        if ops[number].name not in (*_CONVERSIONS, "SOFTMAX") or index not in ops[number].outputs:
            break
        found.add(number)
        index = ops[number].inputs[0]
    return found
