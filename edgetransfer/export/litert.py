"""Converts a Keras backbone to a float LiteRT graph, and refuses what would not run on a plain interpreter."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from edgetransfer.errors import ExportError
from edgetransfer.quantize.flatbuffer import Graph

# Ops that may stand between the raw pixels and an int8 graph, or leave it, without being a float island.
_EDGE_OPS = ("QUANTIZE", "DEQUANTIZE", "SOFTMAX")


def export_backbone(model: Any) -> bytes:
    """Return the Keras `model` as a float32 `.tflite`: (1, H, W, 3) normalised pixels in, (1, D) features out.

    Args:
        model: A `keras.Model` with one input (None, H, W, 3) and one output (None, D).

    Raises:
        ExportError: the converter fails, or needs ops that a plain LiteRT interpreter does not have.
    """
    # TensorFlow writes its start-up notes straight to the process's standard error.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    signature = [keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32")]
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        path = Path(folder) / "backbone.tflite"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                model.export(path, format="litert", input_signature=signature, verbose=False)
        except Exception as trouble:  # the converter raises whatever its C++ side threw
            first_line = str(trouble).strip().splitlines()[0] if str(trouble).strip() else type(trouble).__name__
            raise ExportError(f"backbone {model.name!r} could not be converted to LiteRT: {first_line}") from trouble
        content = path.read_bytes()
    check_builtin_ops(content, model.name)
    return content


def check_builtin_ops(content: bytes, name: str) -> None:
    """Refuse a graph that a plain interpreter cannot run.

    Raises:
        ExportError: it has flex (TensorFlow) or custom ops; names them.
    """
    foreign = sorted({op.name for op in Graph.read(content).ops() if not op.name.isupper()})
    if foreign:
        raise ExportError(
            f"model {name!r} needs ops that LiteRT does not have built in: {', '.join(foreign)}. They would fail on "
            "the device; replace the layers that make them (Flex... ops come from TensorFlow ops without a LiteRT "
            "counterpart)"
        )


def float_islands(content: bytes) -> list[str]:
    """Return the names of the ops in an int8 graph that compute in floats, in order; empty is as it should be.

    The conversion of raw pixels at the front and of scores at the end is not an island.
    """
    graph = Graph.read(content)
    islands = []
    for op in graph.ops():
        computed = [i for i in (*op.inputs, *op.outputs) if i >= 0 and graph.constant(i) is None]
        if op.name not in _EDGE_OPS and any(graph.dtype(i) == "float32" for i in computed):
            islands.append(op.name)
    ops = [op.name for op in graph.ops()]
    first = next((i for i, name in enumerate(ops) if "CONV" in name), len(ops))
    return islands + [name for name in ops[:first] if name in ("CAST", "DEQUANTIZE")]
