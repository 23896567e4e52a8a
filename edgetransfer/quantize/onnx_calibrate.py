"""Measures the range of every activation of an ONNX graph, as `calibrate` does of a LiteRT graph.

A range is the mean over the images of each image's least and greatest value, which does not depend on their order.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto

from edgetransfer.quantize.onnx_graph import OnnxGraph
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.preprocess import Normalisation

_MOVES = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")  # the same numbers in another shape


def calibrate(
    float_model: bytes, images: NDArray[np.uint8], normalisation: Normalisation
) -> dict[str, tuple[float, float]]:
    """Return the range of every activation of `float_model` over `images`.

    Args:
        float_model: An ONNX file with one float32 input (1, H, W, 3) of normalised pixels.
        images: (n, H, W, 3) uint8 RGB, prepared; from the training split only.
        normalisation: How a pixel becomes the model's input; its full span 0..255 is the input's range, because
            the range seen would clip the brightest and darkest pixels.
    """
    graph = OnnxGraph.read(float_model)
    model, names = _with_all_outputs(graph)
    session = ort.InferenceSession(model.SerializeToString(), session_options(), providers=["CPUExecutionProvider"])
    sums = np.zeros((len(names), 2))
    for image in images:
        values = session.run(None, {graph.input: normalisation.to_real(image[None])})
        sums += [(value.min(), value.max()) for value in values]
    ranges = {name: (float(low), float(high)) for name, (low, high) in zip(names, sums / len(images), strict=True)}
    ranges |= {before: ranges[after] for before, after in _clipped(graph).items()}
    ranges[graph.input] = normalisation.span
    for node in graph.nodes:
        if node.op_type in _MOVES and node.input[0] in ranges:
            ranges[str(node.output[0])] = ranges[node.input[0]]
    return dict(sorted(ranges.items()))


def session_options() -> ort.SessionOptions:
    """Return options for work at the desk: all cores, exact integers as the engine's, only errors on standard error."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")  # see the engine
    return options


def _clipped(graph: OnnxGraph) -> dict[str, str]:
    """Return the tensors that only a Clip or Relu takes, with what comes out of it: an engine computes them as one."""
    pairs = {}
    for name, after in graph.consumers().items():
        if len(after) == 1 and after[0].op_type in ("Clip", "Relu") and name not in graph.constants:
            pairs[name] = str(after[0].output[0])
    return pairs


def _with_all_outputs(graph: OnnxGraph) -> tuple[onnx.ModelProto, list[str]]:
    """Return the graph with every float tensor that is not clipped as an output, and the tensors' names.

    Their extremes are found outside: ONNX Runtime's own reductions took longer (EfficientNet-Lite0, two cores, an
    image: 21 ms with them, 18 with numpy, 11 without any).
    """
    model = onnx.shape_inference.infer_shapes(graph.to_model(), strict_mode=True)
    clipped = _clipped(graph)
    floats = {
        one.name: one
        for one in (*model.graph.value_info, *model.graph.output)
        if one.type.tensor_type.elem_type == TensorProto.FLOAT and one.name not in clipped
    }
    names = [str(name) for node in model.graph.node for name in node.output if name in floats]
    del model.graph.output[:]
    model.graph.output.extend(floats[name] for name in names)
    return model, names
