from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import ExportError
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.tensor import Quantization


def test_reading_and_writing_changes_nothing_that_is_computed(small_float, pictures):
    again = Graph.read(small_float).to_bytes()
    pixels = pictures[:1].astype(np.float32)
    assert np.array_equal(open_engine("litert", small_float).run(pixels), open_engine("litert", again).run(pixels))


def test_writing_is_repeatable(small_float):
    assert Graph.read(small_float).to_bytes() == Graph.read(small_float).to_bytes()


def test_the_graph_names_its_ends(small_float):
    graph = Graph.read(small_float)
    assert graph.shape(graph.input) == (1, 32, 32, 3)
    assert graph.shape(graph.output) == (1, 24)
    assert graph.dtype(graph.input) == graph.dtype(graph.output) == "float32"
    assert graph.quantization(graph.input) is None


def test_constants_are_read_and_replaced(small_float):
    graph = Graph.read(small_float)
    convolution = next(op for op in graph.ops() if op.name == "CONV_2D")
    weights = graph.constant(convolution.inputs[1])
    assert weights is not None
    assert weights.shape == (8, 3, 3, 3)
    graph.set_constant(convolution.inputs[1], weights * 2)
    assert np.array_equal(Graph.read(graph.to_bytes()).constant(convolution.inputs[1]), weights * 2)
    assert graph.constant(graph.input) is None


def test_an_added_tensor_keeps_its_quantization(small_float):
    graph = Graph.read(small_float)
    index = graph.add_tensor("extra", (2,), "int8", Quantization(0.5, 3), np.array([1, -1], np.int8))
    again = Graph.read(graph.to_bytes())
    assert again.quantization(index) == Quantization(0.5, 3)
    assert again.constant(index).tolist() == [1, -1]


def test_a_graph_with_two_outputs_is_refused(small_float):
    graph = Graph.read(small_float)
    graph.subgraph.outputs = [graph.output, graph.input]
    with pytest.raises(ExportError, match=r"\(1, 1, 2\); expected \(1, 1, 1\)"):
        Graph.read(graph.to_bytes())
