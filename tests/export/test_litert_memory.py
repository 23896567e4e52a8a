from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the extra 'litert'")

from ai_edge_litert import interpreter

from edgetransfer.estimate.memory import LITERT, XNNPACK, Buffer, arena_bytes
from edgetransfer.export import _litert_xnnpack as xnnpack
from edgetransfer.export import litert
from edgetransfer.export._litert_memory import buffers, demand
from edgetransfer.export._litert_xnnpack import Tensors
from edgetransfer.quantize.flatbuffer import Graph, schema
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES

PIXELS = Normalisation(1 / 128, 127)


@pytest.fixture(scope="module")
def ranges(small_float, pictures):
    return litert.calibrate(small_float, pictures, PIXELS)


@pytest.fixture(scope="module", params=["float32", "static_int8", "static_int16x8"])
def deployed(request, small_float, ranges, pictures):
    return litert.carry_out(small_float, RECIPES[request.param], PIXELS, ranges, pictures[:8])


def measured_arena_bytes(model):
    """From the first to the last byte of tensors that are no constants, where LiteRT's reference kernels have them."""
    opened = interpreter.Interpreter(
        model_content=model, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    opened.allocate_tensors()
    stored, spans = Tensors(Graph.read(model)).stored, []
    for index in (details["index"] for details in opened.get_tensor_details() if details["index"] not in stored):
        view = opened.tensor(index)()
        start = view.__array_interface__["data"][0]
        spans.append((start, start + view.nbytes))
        del view
    return max(end for _, end in spans) - min(start for start, _ in spans)


def test_the_arena_of_the_reference_kernels_is_predicted_to_the_byte(deployed):
    assert arena_bytes(buffers(deployed), LITERT) == measured_arena_bytes(deployed)


def test_what_may_be_overwritten_shares_memory():
    """pixels -> MUL -> ADD -> RESHAPE -> MUL: the first cannot overwrite the input, nor the last become the output."""
    graph = chain(("MUL", (4, 4, 8)), ("ADD", (4, 4, 8)), ("RESHAPE", (16, 8)), ("MUL", (16, 8)))
    assert buffers(graph.to_bytes()) == (Buffer(512, 0, 4), Buffer(512, 0, 3), Buffer(512, 3, 4))


def test_a_tensor_that_is_read_again_is_not_overwritten():
    graph = chain(("MUL", (4, 4, 8)), ("ADD", (4, 4, 8)), ("MUL", (4, 4, 8)))
    graph.subgraph.operators[2].inputs[1] = graph.subgraph.operators[0].outputs[0]
    assert len(buffers(graph.to_bytes())) == 4


def test_xnnpack_takes_all_of_a_float_graph_and_all_but_the_pixels_conversion_of_an_int8_one(
    small_float, ranges, pictures
):
    floats = litert.carry_out(small_float, RECIPES["float32"], PIXELS)
    integers = litert.carry_out(small_float, RECIPES["static_int8"], PIXELS, ranges, pictures[:8])
    for model, alone in ((floats, []), (integers, ["QUANTIZE"])):
        parts = xnnpack.parts(Tensors(Graph.read(model)))
        assert [op.name for part in parts if not part.delegated for op in part.ops] == alone
        assert sum(part.delegated for part in parts) == 1
        opened = interpreter.Interpreter(model_content=model)
        opened.allocate_tensors()
        assert sum(op["op_name"] == "DELEGATE" for op in opened._get_ops_details()) == 1


def test_the_interpreter_s_own_ops_and_16_bits_are_left_to_litert(small_float, ranges, pictures):
    model = litert.carry_out(small_float, RECIPES["static_int16x8"], PIXELS, ranges, pictures[:8])
    told = demand(model)
    assert (told.workspaces, told.packed_bytes, told.usual) == ((), 0, False)
    assert told.arena == buffers(model)


def test_reference_kernels_pack_nothing(small_float):
    model = litert.carry_out(small_float, RECIPES["float32"], PIXELS)
    told = demand(model, kernels="reference")
    assert (told.workspaces, told.packed_bytes, told.table_bytes, told.usual) == ((), 0, 0, True)
    assert (told.arena, told.file_bytes) == (buffers(model), len(model))


def test_float16_weights_are_unpacked_beforehand_and_take_what_float32_takes(small_float):
    halves, floats = (demand(litert.carry_out(small_float, RECIPES[name], PIXELS)) for name in ("float16", "float32"))
    assert (halves.packed_bytes, halves.workspaces) == (floats.packed_bytes, floats.workspaces)
    assert sorted(one.size_bytes for one in halves.arena) == sorted(one.size_bytes for one in floats.arena)
    assert (halves.usual, floats.usual) == (False, True)


def test_a_pad_goes_into_the_convolution_behind_it_and_an_activation_behind_a_sum_is_an_op():
    graph = chain(("PAD", (1, 6, 6, 8)), ("CONV_2D", (1, 4, 4, 8)), ("ADD", (1, 4, 4, 8)), ("ADD", (1, 4, 4, 8)))
    graph.subgraph.operators[2].builtinOptions.fusedActivationFunction = 1
    tensors = Tensors(Graph.read(graph.to_bytes()))
    (part,) = xnnpack.parts(tensors)
    assert [op.name for op in xnnpack._fused(tensors, part.ops)] == ["CONV_2D", "ADD", "RELU", "ADD"]
    assert xnnpack.workspace(tensors, part) == (Buffer(512, 0, 3),)


@pytest.mark.parametrize(("ratio", "taken"), [(2**-10, True), (2**-11, False), (1.0, True), (2**8, False)])
def test_integer_sums_of_very_unlike_steps_are_left_to_litert(ratio, taken):
    graph = chain(("ADD", (1, 4, 4, 8)))
    for index, tensor in enumerate(graph.subgraph.tensors):
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [ratio if index == graph.input else 1.0], [0]
    graph.set_constant(0, np.ones((1, 1, 1, 1)))
    tensors = Tensors(graph)
    assert xnnpack.takes(tensors, tensors.ops[0]) is taken


def test_an_op_that_the_rules_were_not_checked_with_makes_the_figure_unvalidated():
    assert demand(chain(("MUL", (1, 4, 4, 8))).to_bytes()).usual
    assert not demand(chain(("MAXIMUM", (1, 4, 4, 8))).to_bytes()).usual


# (op, shape of weights, dtype, bytes that XNNPACK asked for): seen with MobileNets, EfficientNets and NASNet in
# ai-edge-litert 2.3.0 on x86-64
PACKED = [
    ("CONV_2D", (32, 3, 3, 3), "float32", 3_584),
    ("CONV_2D", (24, 1, 1, 144), "float32", 13_952),
    ("CONV_2D", (96, 1, 1, 16), "float32", 6_528),
    ("DEPTHWISE_CONV_2D", (1, 3, 3, 96), "float32", 3_840),
    ("CONV_2D", (32, 3, 3, 3), "int8", 2_560),
    ("CONV_2D", (24, 1, 1, 144), "int8", 3_648),
    ("DEPTHWISE_CONV_2D", (1, 3, 3, 88), "int8", 1_664),
    ("DEPTHWISE_CONV_2D", (1, 5, 5, 88), "int8", 3_200),
    ("DEPTHWISE_CONV_2D", (1, 7, 7, 176), "int8", 563_200),
]


@pytest.mark.parametrize(("name", "shape", "dtype", "wanted"), PACKED)
def test_weights_are_packed_in_tiles(name, shape, dtype, wanted):
    channels = shape[3]
    graph = chain((name, (1, 8, 8, channels if name.startswith("DEPTH") else shape[0])), pixels=(1, 8, 8, channels))
    weights = graph.add_tensor("weights", shape, dtype, values=np.ones(shape, dtype))
    graph.subgraph.operators[0].inputs[1] = weights
    tensors = Tensors(graph)
    assert xnnpack.packed_bytes(tensors, tensors.ops[0]) == wanted


# (op, window, stride, height and width of the output, bytes that XNNPACK asked for): seen likewise
TABLES = [
    ("DEPTHWISE_CONV_2D", 3, 1, 112, 306_432),
    ("DEPTHWISE_CONV_2D", 3, 2, 56, 151_872),
    ("DEPTHWISE_CONV_2D", 3, 2, 28, 38_336),
    ("CONV_2D", 3, 2, 112, 903_312),
    ("CONV_2D", 1, 1, 112, 0),
    ("DEPTHWISE_CONV_2D", 7, 1, 56, 1_230_096),
]


@pytest.mark.parametrize(("name", "window", "stride", "size", "wanted"), TABLES)
def test_windows_have_tables_of_pointers(name, window, stride, size, wanted):
    graph = chain((name, (1, size, size, 8)), pixels=(1, size * stride, size * stride, 8))
    shape = (8, window, window, 8) if name == "CONV_2D" else (1, window, window, 8)
    weights = graph.add_tensor("weights", shape, "float32", values=np.ones(shape, np.float32))
    graph.subgraph.operators[0].inputs[1] = weights
    graph.subgraph.operators[0].builtinOptions.strideW = stride
    tensors = Tensors(graph)
    assert xnnpack.table_bytes(tensors, tensors.ops[0]) == wanted


def test_ops_that_do_not_wait_for_each_other_are_one_part():
    """Both sums are XNNPACK's; the pool of one pixel between them, which only the last op reads, is not."""
    graph = chain(
        ("ADD", (1, 4, 4, 8)), ("AVERAGE_POOL_2D", (1, 4, 4, 8)), ("ADD", (1, 4, 4, 8)), ("ADD", (1, 4, 4, 8))
    )
    operators = graph.subgraph.operators
    operators[2].inputs[0] = operators[0].outputs[0]
    operators[3].inputs = [operators[2].outputs[0], operators[1].outputs[0]]
    tensors = Tensors(graph)
    parts = xnnpack.parts(tensors)
    assert [[op.name for op in part.ops] for part in parts] == [["ADD", "ADD"], ["AVERAGE_POOL_2D"], ["ADD"]]
    assert xnnpack.outside(tensors, parts[0]).outputs == (operators[0].outputs[0], operators[2].outputs[0])


@pytest.mark.slow
def test_real_networks_take_the_predicted_arena(shared):
    for name in ("kws_ref_model", "vww_96_int8", "vww_96_float", "pretrainedResnet", "pretrainedResnet_quant"):
        model = (shared / "data" / "backbones" / "mlperf-tiny" / f"{name}.tflite").read_bytes()
        assert arena_bytes(buffers(model), LITERT) == measured_arena_bytes(model), name


def test_the_arena_has_only_what_parts_read_and_give(small_float):
    model = litert.carry_out(small_float, RECIPES["float32"], PIXELS)
    told = demand(model)
    assert sorted(one.size_bytes for one in told.arena) == [24 * 4, 32 * 32 * 3]
    assert 0 < arena_bytes(told.workspaces[0], XNNPACK) < arena_bytes(buffers(model), LITERT)
    assert litert.memory(model).arena_bytes == arena_bytes(told.arena, LITERT) + 32 + arena_bytes(
        told.workspaces[0], XNNPACK
    )


def chain(*ops, pixels=(1, 4, 4, 8)):
    """Return a graph of (op, output shape), each reading what the one before made, and a constant."""
    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [], [schema.SubGraphT()]
    model.subgraphs[0].tensors, model.subgraphs[0].operators = [], []
    graph = Graph(model)
    options = {
        "ADD": schema.AddOptionsT,
        "MUL": schema.MulOptionsT,
        "CONV_2D": schema.Conv2DOptionsT,
        "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
        "AVERAGE_POOL_2D": schema.Pool2DOptionsT,
    }
    constant = graph.add_tensor("one", (1, 1, 1, 1), "float32", values=np.ones((1, 1, 1, 1), np.float32))
    first = last = graph.add_tensor("pixels", pixels, "float32")
    for number, (name, shape) in enumerate(ops):
        output = graph.add_tensor(f"{name}_{number}", shape, "float32")
        made = options[name]() if name in options else None
        if name == "AVERAGE_POOL_2D":
            made.filterWidth = made.filterHeight = 1
        graph.add_op(name, [last, constant], [output], options=made)
        last = output
    graph.subgraph.inputs, graph.subgraph.outputs = [first], [last]
    return graph
