"""Holds `edgetransfer.quantize.op_versions` to the wheel: every op in every version is tried on the board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from check_package import CheckFailed, call

from edgetransfer.quantize.op_versions import newest_versions
from emulation.boards import Board

TRIED = 15  # versions of each op; no op of LiteRT 2.3 is beyond 14
PROBE = Path(__file__).with_name("probe_op_codes.py")


def check_op_versions(board: Board) -> None:
    """Compare the greatest version of every op that the board's engine takes with the table.

    Raises:
        CheckFailed: the table has other ops or versions.
    """
    names = {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    del names["CUSTOM"]  # it has no version, and is looked up by another name
    versions = range(1, TRIED + 1)
    probes = {f"{name} {version}": _model(code, version).hex() for name, code in names.items() for version in versions}
    file = board.folder / "op_codes.json"
    file.write_text(json.dumps(probes), encoding="ascii")
    taken: dict[str, int] = {}
    for name in json.loads(call(board.python, PROBE, file, cwd=board.folder).stdout):
        op, version = name.split()
        taken[op] = max(taken.get(op, 0), int(version))
    known = newest_versions()
    if taken != known:
        wrong = {op: (taken.get(op), known.get(op)) for op in {*taken, *known} if taken.get(op) != known.get(op)}
        raise CheckFailed(f"op versions, of the wheel and of quantize/op_versions.py: {wrong}")


def _model(code: int, version: int) -> bytes:
    """Return a model that asks for an op without using it: engines look up every op code when they load."""
    operator_code: Any = schema.OperatorCodeT()
    operator_code.builtinCode, operator_code.version = code, version
    operator_code.deprecatedBuiltinCode = min(code, 127)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = b"x", [1]
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [operator_code], [graph]
    model.buffers = [schema.BufferT()]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
