from __future__ import annotations

import pytest
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from edgetransfer.errors import UnknownNameError
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.quantize.op_versions import newest_versions, too_new


def raised(model: bytes, op: str, version: int) -> bytes:
    """Return `model` with another version for `op`, which it has."""
    graph = Graph.read(model)
    index = next(
        op_.opcodeIndex for op_, named in zip(graph.subgraph.operators, graph.ops(), strict=True) if named.name == op
    )
    graph.model.operatorCodes[index].version = version
    return graph.to_bytes()


def test_a_float_network_as_it_is_converted_today_runs_in_the_old_runtime(small_float):
    assert too_new(small_float) == ()


def test_an_int8_bundle_of_ours_runs_in_the_old_runtime(tiny_bundle):
    assert too_new(tiny_bundle.model_content()) == ()
    assert too_new(tiny_bundle.model_content(scores_in_graph=True)) == ()


@pytest.mark.parametrize(("op", "newest"), [("FULLY_CONNECTED", 10), ("QUANTIZE", 3), ("RESHAPE", 1)])
def test_the_newest_version_of_an_op_is_taken_and_the_next_is_named(op, newest, tiny_bundle):
    model = tiny_bundle.model_content()
    assert too_new(raised(model, op, newest)) == ()
    assert too_new(raised(model, op, newest + 1)) == (f"{op} version {newest + 1} (has {newest})",)


def test_all_ops_that_are_too_new_are_named_at_once(small_float):
    model = raised(raised(small_float, "CONV_2D", 8), "ADD", 6)
    assert too_new(model) == ("ADD version 6 (has 5)", "CONV_2D version 8 (has 7)")


def test_an_op_that_the_old_runtime_never_had_is_named(tiny_bundle):
    model = tiny_bundle.model_content(op=BuiltinOperator.STABLEHLO_COMPOSITE)
    assert too_new(model) == ("STABLEHLO_COMPOSITE version 1 (has none)",)


def test_an_op_that_no_operator_uses_counts_for_runtimes_look_it_up_all_the_same(small_float):
    graph = Graph.read(small_float)
    graph.add_op("FULLY_CONNECTED", [graph.input, graph.input, -1], [graph.output], version=12)
    graph.subgraph.operators.pop()
    assert too_new(graph.to_bytes()) == ("FULLY_CONNECTED version 12 (has 10)",)


def test_a_conversion_that_the_old_runtime_refuses_is_named_though_its_op_has_no_newer_version(tiny_bundle):
    graph = Graph.read(tiny_bundle.model_content())
    quantize = next(op for op in graph.ops() if op.name == "QUANTIZE")
    graph.tensor(quantize.outputs[0]).type = TensorType.INT16
    assert too_new(graph.to_bytes()) == ("QUANTIZE of uint8 to int16 (has uint8, int8)",)


def test_custom_ops_are_left_to_the_check_of_the_export(tiny_bundle):
    assert too_new(tiny_bundle.model_content(custom_op="Mine")) == ()


def test_a_runtime_that_nothing_is_known_of_is_refused(small_float):
    with pytest.raises(UnknownNameError, match=r"no runtime named 'tflite-runtime 2.5'.*tflite-runtime 2.14"):
        too_new(small_float, version="2.5")


def test_the_table_names_ops_of_the_schema_once():
    known = {name for name in vars(BuiltinOperator) if not name.startswith("_")}
    newest = newest_versions()
    assert set(newest) < known
    # All 157 that the wheel takes; `tools/emulate tflite-runtime` compares the numbers with the wheel's own.
    assert len(newest) == 157
    assert newest["CONV_2D"] == 7
    assert newest["BROADCAST_TO"] == 3
