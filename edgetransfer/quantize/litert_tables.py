"""Makes tables of a float `.tflite`, one vector a token, such that the quantizer can store them in integers.

The converter writes GATHER, whose table can only be stored as what comes out of it: floats. EMBEDDING_LOOKUP has been
there from the first version on, takes a table of int8 with a scale a row, and gives floats of the rows it looks up.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgetransfer.quantize.flatbuffer import Graph, Op

_VERSION_OF_ROWS = 4
"""Source: EMBEDDING_LOOKUP in tensorflow/lite/tools/versioning/op_version.cc."""


def look_up(content: bytes) -> bytes:
    """Return the `.tflite` with each GATHER of whole rows of a stored float table as an EMBEDDING_LOOKUP.

    What Keras does so that a negative id counts from the table's end is left out: no tokenizer gives one.
    """
    graph = Graph.read(content)
    found = [op for op in graph.ops() if _is_lookup(graph, op)]
    if not found:
        return content
    for op in found:
        _replace(graph, op)
    _drop_unused(graph)
    return graph.to_bytes()


def tell_version(graph: Graph) -> None:
    """Give EMBEDDING_LOOKUP the version that its tables need: 4 for a scale a row, which older runtimes do not know.

    The quantizer leaves version 1, with which they would take one scale for all rows, and say nothing.
    """
    tables = [graph.tensor(op.inputs[1]) for op in graph.ops() if op.name == "EMBEDDING_LOOKUP"]
    if any(table.quantization is not None and np.size(table.quantization.scale) > 1 for table in tables):
        graph.raise_version("EMBEDDING_LOOKUP", _VERSION_OF_ROWS)


def _is_lookup(graph: Graph, op: Op) -> bool:
    if op.name != "GATHER" or graph.dtype(op.inputs[0]) != "float32" or len(graph.shape(op.inputs[0])) != 2:
        return False
    options = _operator(graph, op).builtinOptions
    whole_rows = options is None or (options.axis, options.batchDims) == (0, 0)
    return whole_rows and graph.dtype(op.inputs[1]) == "int32" and graph.constant(op.inputs[0]) is not None


def _replace(graph: Graph, op: Op) -> None:
    """Put three ops where `op` is: ids as one list, their rows, the rows in the shape that they had."""
    table, ids, rows = op.inputs[0], _ids(graph, op.inputs[1]), op.outputs[0]
    name, count, width = graph.name(rows), int(np.prod(graph.shape(ids))), graph.shape(table)[1]
    listed = graph.add_tensor(f"{name}/ids", (count,), "int32")
    looked_up = graph.add_tensor(name, (count, width), "float32")
    graph.tensor(rows).name = f"{name}/rows".encode()
    place = graph.ops().index(op)
    added = len(graph.ops())
    _reshape(graph, ids, listed)
    graph.add_op("EMBEDDING_LOOKUP", [listed, table], [looked_up])
    _reshape(graph, looked_up, rows)
    operators = graph.subgraph.operators
    graph.subgraph.operators = [*operators[:place], *operators[added:], *operators[place + 1 : added]]


def _reshape(graph: Graph, source: int, target: int) -> None:
    shape = np.array(graph.shape(target), np.int32)
    to = graph.add_tensor(f"{graph.name(target)}/shape", shape.shape, "int32", values=shape)
    options = schema.ReshapeOptionsT()
    options.newShape = shape
    graph.add_op("RESHAPE", [source, to], [target], options=options)


def _ids(graph: Graph, index: int) -> int:
    """Return the tensor whose ids are meant by tensor `index`: what SELECT(id < 0, id + rows, id) began with."""
    makers = {output: op for op in graph.ops() for output in op.outputs}
    choice = makers.get(index)
    if choice is None or choice.name not in ("SELECT", "SELECT_V2"):
        return index
    negative, moved, ids = (makers.get(choice.inputs[0]), makers.get(choice.inputs[1]), choice.inputs[2])
    of_ids = [one is not None and one.inputs[0] == ids and one.name == name
              for one, name in ((negative, "LESS"), (moved, "ADD"))]  # fmt: skip
    return ids if all(of_ids) else index


def _drop_unused(graph: Graph) -> None:
    """Leave out ops whose results nobody reads."""
    while True:
        read = {graph.output, *(index for op in graph.ops() for index in op.inputs)}
        kept = [
            operator
            for op, operator in zip(graph.ops(), graph.subgraph.operators, strict=True)
            if read.intersection(op.outputs)
        ]
        if len(kept) == len(graph.subgraph.operators):
            return
        graph.subgraph.operators = kept


def _operator(graph: Graph, op: Op) -> schema.OperatorT:
    return graph.subgraph.operators[graph.ops().index(op)]
