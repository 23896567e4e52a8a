"""Every ONNX probe runs in ONNX Runtime, as the ops that it stands for, and its costs give their terms."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgetransfer.estimate.terms import terms_of
from edgetransfer.export import get_exporter
from edgetransfer.pipeline.probe_graphs import (
    KINDS,
    NETWORKS,
    ONNX_KINDS,
    PRECISIONS,
    Probe,
    network_graph,
    probe_graph,
    probes,
)
from edgetransfer.runtime.engines import open_engine

# What ONNX Runtime makes of an int8 probe, one op a repeat; what it has no kernel of integers for is not here.
INTEGER_OPS = {
    "conv": ["QLinearConv"],
    "depthwise": ["QLinearConv"],
    "dense": ["QGemm"],
    "add": ["QLinearAdd"],
    "mul": ["QLinearMul"],
    "scale": ["QLinearMul"],
    "hard_swish": ["QLinearAdd", "QLinearMul", "QLinearMul"],
    "sigmoid": ["QLinearSigmoid"],
    "softmax": ["QLinearSoftmax"],
    "mean": ["QLinearGlobalAveragePool"],
    "max_pool": ["NhwcMaxPool"],
    "average_pool": ["QLinearAveragePool"],
    "concat": ["QLinearConcat"],
    "swish": ["QLinearSigmoid", "QLinearMul"],
    "residual": ["QLinearConv", "QLinearConv", "QLinearAdd"],
}
TERMS = {
    ("conv", "float32"): {"float32 pointwise macs", "float32 pointwise written", "float32 reorder move written"},
    ("conv", "int8"): {"int8 pointwise macs", "int8 pointwise written"},
    ("depthwise", "float32"): {"float32 depthwise 9 macs", "float32 depthwise written", "float32 reorder move written"},
    ("depthwise", "int8"): {"int8 depthwise 9 macs", "int8 depthwise written"},
    ("dense", "float32"): {"float32 dense macs", "float32 dense written"},
    ("dense", "int8"): {"int8 dense macs", "int8 dense written"},
    ("add", "float32"): {"float32 add written"},
    ("add", "int8"): {"int8 add written"},
    ("scale", "float32"): {"float32 scale mul written"},
    ("scale", "int8"): {"int8 scale mul written"},
    ("hard_swish", "int8"): {"int8 add written", "int8 factor mul written", "int8 mul written"},
    ("hard_swish", "float32"): {
        "float32 add written",
        "float32 relu6 activation written",
        "float32 factor mul written",
        "float32 mul written",
    },
    ("swish", "float32"): {"float32 swish activation written"},
    ("swish", "int8"): {"int8 sigmoid activation written", "int8 mul written"},
    ("convert", "float32"): {"float32 convert written", "int8 transpose move written"},
    ("concat", "int8"): {"int8 concat move written"},
    ("relu", "float32"): {"float32 relu activation written"},
}
COUNTED = ("call", "activation bytes", "weight bytes", "float32 ops", "int8 ops", "int8 move written")


def small(kind: str, precision: str) -> Probe:
    """Return a probe of one kind that runs in no time; two convolutions in a row, four others."""
    filters = 32 if kind in ("conv", "dense") else 0
    kernel = 3 if kind in ("depthwise", "max_pool", "average_pool") else 1
    return Probe(kind, precision, 8, 3 if kind == "convert" else 32, filters, kernel, repeats=1)


def costs(graph: bytes):
    return get_exporter("onnx").costs(graph)


def computed(graph: bytes, folder) -> Counter[str]:
    """Return how many ops of each kind ONNX Runtime makes of `graph`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "made.onnx")
    ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "made.onnx").graph.node)


@pytest.mark.parametrize(("kind", "precision"), TERMS)
def test_a_probes_costs_are_the_terms_that_it_stands_for(kind, precision):
    terms = set(terms_of(costs(probe_graph(small(kind, precision), "onnx"))))
    assert terms - set(COUNTED) == TERMS[kind, precision]


@pytest.mark.parametrize("kind", INTEGER_OPS)
def test_ops_of_an_int8_probe_are_computed_in_integers(kind, tmp_path):
    found = computed(probe_graph(small(kind, "int8"), "onnx"), tmp_path)
    wanted = Counter(INTEGER_OPS[kind])
    assert {op: found[op] for op in wanted if op != "QLinearConv"} == {
        op: count for op, count in wanted.items() if op != "QLinearConv"
    }
    assert found["QLinearConv"] >= wanted["QLinearConv"]  # one more stands behind pools
    assert found["QuantizeLinear"] == 0
    assert found["DequantizeLinear"] == 1, "only what comes out is turned into floats"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_kind_of_probe_runs_and_is_counted_as_often_as_it_stands_there(precision):
    for kind in (*KINDS, *ONNX_KINDS):
        one = small(kind, precision)
        for repeats in (1, 3) if kind not in ("mean", "resize", "convert") else (1,):
            graph = probe_graph(
                Probe(one.kind, precision, 8, one.channels, one.filters, one.kernel, 1, repeats), "onnx"
            )
            engine = open_engine("onnx", graph, threads=1)
            assert np.isfinite(engine.run(np.zeros(engine.input.shape, engine.input.dtype))).all()
            engine.close()
            kinds = Counter((op.kind, op.function) for op in costs(graph))
            if (kind, precision) == ("convert", "int8"):
                assert ("convert", "") not in kinds, "raw pixels are what the graph computes with"
            else:
                last = (kind, precision) == ("slice", "int8")  # what comes out of int8 probes is one pixel, sliced
                assert repeats + last in kinds.values(), (kind, kinds)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_onnx_probe_runs(precision):
    for probe in probes(precision, "onnx"):
        graph = probe_graph(probe, "onnx")
        engine = open_engine("onnx", graph, threads=1)
        engine.run(np.zeros(engine.input.shape, engine.input.dtype))
        engine.close()
        assert costs(graph) or probe.kind == "convert", probe.name


@pytest.mark.skipif(ort.get_device() != "CPU", reason="layouts are those of the CPU's kernels")
@pytest.mark.parametrize("name", ["squeezed", "residual", "branched", "inverted"])
def test_layouts_are_told_apart_where_onnx_runtime_changes_them(name, tmp_path):
    graph = network_graph(name, "float32", "onnx")
    made = computed(graph, tmp_path)
    if not made["ReorderOutput"]:
        pytest.skip("this processor's convolutions have no blocks of channels")
    ops = costs(graph)
    reorders = sum(op.function == "reorder" for op in ops)
    assert reorders == made["ReorderOutput"] + made["ReorderInput"]
    assert sum(op.kind == "add" and op.function != "joined" for op in ops) == made["Add"]
    assert sum(op.kind in ("conv", "depthwise") for op in ops) == made["Conv"]


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_in_integers_are_told_from_the_float_graph(name):
    foretold = terms_of(get_exporter("onnx").integer_costs(network_graph(name, "float32", "onnx")))
    assert foretold == terms_of(costs(network_graph(name, "int8", "onnx")))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_channels_that_fill_no_vector_are_work_of_a_kind_of_their_own(precision):
    def terms(kind: str, channels: int) -> set[str]:
        return set(terms_of(costs(probe_graph(Probe(kind, precision, 8, channels, 0, 3), "onnx"))))

    assert f"{precision} grouped macs" in terms("depthwise", 22)
    assert f"{precision} grouped macs" not in terms("depthwise", 96)
    assert ("float32 plain average pool macs" in terms("average_pool", 44)) == (precision == "float32")
