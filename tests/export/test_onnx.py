from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import ExportError
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import RECIPES

pytest.importorskip("onnx", reason="writing ONNX needs the extra 'train'")
import onnx
import onnxruntime as ort

from edgetransfer.export import Card
from edgetransfer.export import onnx as exporter
from edgetransfer.quantize.onnx_graph import OnnxGraph

CENTRED = Normalisation(1 / 128, 127)
CARD = Card("waste", ("glas", "metall", "müll"), "Apache-2.0", ImageInput(32, 32), scores=False)
FORMS = {
    "float32": RECIPES["float32"],
    "float16": RECIPES["float16"],
    "uint8": dataclasses.replace(RECIPES["static_int8"], activations="uint8", weight_ranges="min_max"),
    "int8": dataclasses.replace(RECIPES["static_int8"], activations="int8", weight_ranges="min_max"),
}


@pytest.fixture(scope="module")
def small_onnx(small_keras):
    return exporter.convert(small_keras)


@pytest.fixture(scope="module")
def deployed(small_onnx, pictures):
    ranges = exporter.calibrate(small_onnx, pictures, CENTRED)
    return {name: exporter.carry_out(small_onnx, recipe, CENTRED, ranges, pictures) for name, recipe in FORMS.items()}


def head_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for number, (wide, narrow) in enumerate(itertools.pairwise(sizes)):
        kernel = rng.normal(0, 1 / np.sqrt(wide), (wide, narrow)).astype(np.float32)
        last = number == len(sizes) - 2
        layers.append(Dense(kernel, rng.normal(0, 0.1, narrow).astype(np.float32), "linear" if last else "relu"))
    return tuple(layers)


def outputs(content, inputs):
    engine = open_engine("onnx", content)
    return np.concatenate([engine.run(one[None]) for one in inputs])


def plain_options():
    """Options of a client of its own that wants exact integers on every processor."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def kinds(content):
    return [node.op_type for node in OnnxGraph.read(content).nodes]


# === the float graph ===


def test_the_float_graph_computes_what_keras_does(small_keras, small_onnx, pictures):
    real = (pictures.astype(np.float32) - 127) / np.float32(128)
    np.testing.assert_allclose(outputs(small_onnx, real), np.asarray(small_keras(real)), rtol=1e-4, atol=1e-6)


def test_batch_norms_are_folded_and_one_transpose_is_left_at_the_front(small_onnx):
    found = kinds(small_onnx)
    assert found == [
        "Transpose",
        "Conv",
        "Clip",
        "Conv",
        "Clip",
        "Conv",
        "Add",
        "Conv",
        "Clip",
        "GlobalAveragePool",
        "Flatten",
    ]


def test_nodes_are_named_by_their_keras_layers(small_onnx):
    names = [node.name for node in OnnxGraph.read(small_onnx).nodes]
    assert names == [
        "Transpose",
        "stem/Conv",
        "stem_relu/Clip",
        "depthwise/Conv",
        "depthwise_relu/Clip",
        "project/Conv",
        "add/Add",
        "last/Conv",
        "last_relu/Clip",
        "pool/GlobalAveragePool",
        "pool/Flatten",
    ]


def test_layers_that_look_like_counters_keep_their_names_apart():
    import keras

    inputs = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.Conv2D(4, 3, name="conv_1")(x)
    x = keras.layers.Conv2D(4, 3, name="conv_1_1")(x)
    inner = keras.Sequential([keras.Input((10, 10, 4)), keras.layers.Conv2D(4, 3, name="conv")], name="block")
    outputs = keras.layers.GlobalAveragePooling2D(name="pool")(inner(x))
    model = keras.Model(inputs, outputs, name="conv")
    names = [node.name for node in OnnxGraph.read(exporter.convert(model)).nodes if node.op_type == "Conv"]
    assert names == ["conv/Conv", "conv_1/Conv", "conv_1_1/Conv", "block/conv/Conv"]
    assert [layer.name for layer in model.layers] == ["pixels", "conv", "conv_1", "conv_1_1", "block", "pool"]


def test_odd_networks_are_folded_too_and_stay_exact():
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 5, 2)(layers.ZeroPadding2D(2)(inputs)))
    y = layers.Activation("hard_swish")(layers.BatchNormalization()(layers.Activation("relu")(x)))
    scale = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    x = layers.Concatenate()([x, layers.Multiply()([y, scale])])
    x = layers.BatchNormalization(scale=False)(layers.SeparableConv2D(12, 3, 2, padding="same", use_bias=False)(x))
    x = layers.BatchNormalization()(layers.Conv2DTranspose(6, 3, 2, padding="same")(layers.LeakyReLU(0.1)(x)))
    x = layers.BatchNormalization()(layers.Dense(16)(layers.Flatten()(layers.AveragePooling2D(4)(x))))
    model = keras.Model(inputs, x, name="odd")
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
    content = exporter.convert(model)
    found = kinds(content)
    assert "BatchNormalization" not in found
    assert found.count("Pad") == 0
    real = rng.uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    wanted = np.asarray(model(real))
    np.testing.assert_allclose(outputs(content, real), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_the_opset_is_one_that_tensorrt_and_the_oldest_runtime_read(small_onnx):
    assert exporter.opset(small_onnx) == exporter.OPSET == 17


def test_a_network_that_cannot_be_converted_is_refused_by_name():
    import keras
    import tensorflow as tf

    class Strange(keras.layers.Layer):
        def call(self, x):
            return tf.raw_ops.Betainc(a=tf.nn.sigmoid(x) + 1, b=tf.nn.sigmoid(x) + 1, x=tf.nn.sigmoid(x))

        def compute_output_shape(self, shape):
            return shape

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Strange()(inputs)), name="odd_one")
    with pytest.raises(ExportError, match=r"'odd_one'.*Betainc"):
        exporter.convert(model)


CONVERT = """
import os, sys, hashlib, importlib.util
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings
import keras
from edgetransfer.export import onnx as exporter
spec = importlib.util.spec_from_file_location("conftest", sys.argv[1])
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)
build = conftest.small_keras.__wrapped__ if hasattr(conftest.small_keras, "__wrapped__") else None
build = build or conftest.small_keras._get_wrapped_function()
for _ in range(int(sys.argv[2])):
    exporter.convert(build())
print(hashlib.sha256(exporter.convert(build())).hexdigest())
"""


@pytest.mark.slow
def test_equal_builds_have_equal_bytes_in_fresh_and_in_warm_processes(small_onnx):
    conftest = str(Path(__file__).parents[1] / "conftest.py")
    hashes = {hashlib.sha256(small_onnx).hexdigest()}
    for earlier in ("0", "2"):
        run = [sys.executable, "-c", CONVERT, conftest, earlier]
        done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
        hashes.add(done.stdout.split()[-1])
    assert len(hashes) == 1


# === heads ===


@pytest.mark.parametrize("form", ["uint8", "int8"])
@pytest.mark.parametrize("sizes", [(24, 3), (24, 16, 5), (24, 128, 2)], ids=str)
def test_integer_logits_are_within_two_steps_of_the_float_head_on_the_same_features(sizes, form, deployed, pictures):
    features, head = outputs(deployed[form], pictures), head_of(sizes)
    model = exporter.graft(deployed[form], head, features)
    wanted, got = apply_head(head, features), outputs(model, pictures)
    step = exporter.step(model)
    assert np.abs(got - wanted).max() / step <= 2.001
    np.testing.assert_allclose(got / step, np.rint(got / step), atol=1e-3)  # on the grid
    lost = wanted.max(axis=1) - wanted[np.arange(len(wanted)), got.argmax(axis=1)]
    assert (lost <= 4 * step).all()


@pytest.mark.parametrize("form", ["float32", "float16"])
def test_float_heads_give_the_float_logits(form, deployed, pictures):
    features, head = outputs(deployed[form], pictures), head_of((24, 16, 4))
    model = exporter.graft(deployed[form], head, features)
    assert exporter.step(model) is None
    np.testing.assert_allclose(outputs(model, pictures), apply_head(head, features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("kernels", ["default", "reference"])
def test_features_inside_the_grafted_graph_are_bit_equal_to_the_extractors(form, kernels, deployed, pictures):
    alone = outputs(deployed[form], pictures)
    model = onnx.load_from_string(exporter.graft(deployed[form], head_of((24, 7, 3)), alone))
    model.graph.output.append(onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, (1, 24)))
    options = plain_options()
    if kernels == "reference":
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        engine = open_engine("onnx", deployed[form], kernels="reference")
        alone = np.concatenate([engine.run(picture[None]) for picture in pictures])
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inside = np.concatenate([session.run(["features"], {"image": picture[None]})[0] for picture in pictures])
    assert np.array_equal(inside, alone)


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("scores", [False, True])
def test_the_head_alone_gives_the_grafted_graphs_logits(form, scores, deployed, pictures):
    features, head = outputs(deployed[form], pictures), head_of((24, 16, 5))
    whole = outputs(exporter.graft(deployed[form], head, features), pictures)
    part = exporter.head_alone(deployed[form], exporter.graft(deployed[form], head, features, scores=scores))
    engine = open_engine("onnx", part)
    assert (engine.input.name, engine.input.shape, engine.output.name) == ("features", (1, 24), "logits")
    assert np.array_equal(outputs(part, features), whole)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_scores_in_the_graph_are_the_softmax_of_its_logits(form, deployed, pictures):
    features, head = outputs(deployed[form], pictures), head_of((24, 4))
    plain, scored = (exporter.graft(deployed[form], head, features, scores=way) for way in (False, True))
    assert open_engine("onnx", scored).output.name == "scores"
    powers = np.exp(outputs(plain, pictures))
    np.testing.assert_allclose(outputs(scored, pictures), powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert exporter.step(plain) == exporter.step(scored)


def test_a_head_for_other_features_is_refused(deployed):
    with pytest.raises(ExportError, match="the head takes 25 features, the backbone gives 24"):
        exporter.graft(deployed["uint8"], head_of((25, 3)), np.zeros((2, 25), np.float32))


# === what runs ===


def test_an_integer_graph_is_integers_from_the_pixels_to_the_logits(deployed, pictures):
    features = outputs(deployed["uint8"], pictures)
    ops = exporter.survey(exporter.graft(deployed["uint8"], head_of((24, 16, 3)), features, scores=True))
    assert {op.computes for op in ops if not op.edge} == {"uint8"}
    assert [op.kind for op in ops if op.edge] == ["DequantizeLinear", "Softmax"]
    assert {op.kind: op.macs for op in ops if op.name.startswith(("head_0", "logits"))}["QGemm"] == 16 * 3
    assert all(op.builtin for op in ops)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_multiply_adds_are_those_of_the_network_in_every_form(form, deployed):
    macs = {op.name: op.macs for op in exporter.survey(deployed[form]) if "Conv" in op.kind}
    assert macs == {
        "stem/Conv": 16 * 16 * 8 * 27,
        "depthwise/Conv": 16 * 16 * 8 * 9,
        "project/Conv": 16 * 16 * 8 * 8,
        "last/Conv": 16 * 16 * 24 * 8,
    }


def test_floats_compute_in_floats_and_tensorrts_form_in_int8(deployed):
    for form, wanted in (("float32", {"float32"}), ("float16", {"float32"}), ("int8", {"int8"})):
        assert {op.computes for op in exporter.survey(deployed[form]) if op.macs} == wanted


def test_an_op_outside_of_onnx_is_not_builtin(small_onnx):
    model = onnx.load_from_string(small_onnx)
    model.graph.node[-1].input[0] = "cube"
    model.graph.node.append(
        onnx.helper.make_node("Gelu", ["pool/GlobalAveragePool"], ["cube"], "own/Gelu", domain="com.microsoft")
    )
    model.graph.node.sort(key=lambda node: node.name == "pool/Flatten")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    foreign = [op.kind for op in exporter.survey(model.SerializeToString()) if not op.builtin]
    assert foreign == ["Gelu"]


# === the finished file ===


@pytest.fixture(scope="module")
def finished(deployed, pictures):
    features = outputs(deployed["uint8"], pictures)
    return exporter.finish(exporter.graft(deployed["uint8"], head_of((24, 3)), features), CARD)


def test_a_finished_file_passes_the_checker_and_tells_what_clients_need(finished):
    onnx.checker.check_model(finished, full_check=True)
    model = onnx.load_from_string(finished)
    told = {one.key: one.value for one in model.metadata_props}
    assert json.loads(told["labels"]) == list(CARD.labels) == exporter.labels(finished)
    assert ImageInput.from_json(json.loads(told["preprocess"])) == CARD.preprocess
    assert (told["name"], told["licence"], told["output"]) == ("waste", "Apache-2.0", "logits")
    assert told["input"].startswith("uint8 RGB")
    shapes = {one.name for one in model.graph.value_info}
    made = {name for node in model.graph.node for name in node.output} - {"logits"}
    assert shapes == made  # TensorRT asks for them


def test_three_documented_lines_open_the_file_in_plain_onnxruntime(finished, pictures, tmp_path):
    (tmp_path / "model.onnx").write_bytes(finished)
    session = ort.InferenceSession(tmp_path / "model.onnx", plain_options(), providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    (logits,) = session.run(None, {"image": pictures[:1]})
    assert labels[int(logits.argmax())] in CARD.labels


def test_a_finished_file_is_canonical(finished):
    model = onnx.load_from_string(finished)
    assert (model.producer_name, model.producer_version, model.ir_version) == ("edgetransfer", "", 8)
    names = [one.name for one in model.graph.initializer]
    assert names == sorted(names)
    assert not any(node.doc_string for node in model.graph.node)
    assert exporter.finish(finished, CARD) == finished
    shuffled = onnx.load_from_string(finished)
    shuffled.graph.initializer.reverse()
    shuffled.producer_version = "7"
    shuffled.graph.node[3].doc_string = "written by hand"
    assert exporter.finish(shuffled.SerializeToString(), CARD) == finished


def test_labels_of_a_file_without_any_are_refused(deployed):
    with pytest.raises(ExportError, match="'labels' in metadata_props"):
        exporter.labels(deployed["uint8"])


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_dynamic_batch_gives_for_each_image_what_it_gives_alone(form, deployed, pictures):
    features = outputs(deployed[form], pictures)
    model = exporter.finish(exporter.graft(deployed[form], head_of((24, 3)), features), CARD)
    many = exporter.with_dynamic_batch(model)
    assert (open_engine("onnx", model).input.shape, open_engine("onnx", many).input.shape) == ((1, 32, 32, 3),) * 2
    assert exporter.labels(many) == list(CARD.labels)
    session = ort.InferenceSession(many, plain_options(), providers=["CPUExecutionProvider"])
    # TensorRT's form is computed in floats on a processor: sums of another order may round to the next step.
    steps = exporter.step(model) if form == "int8" else 0.0
    for images in (pictures[:1], pictures[:3]):
        (got,) = session.run(None, {"image": images})
        np.testing.assert_allclose(got, outputs(model, images), rtol=1e-4, atol=1e-6 + steps)


def test_a_reshape_that_holds_on_to_one_image_refuses_a_dynamic_batch(small_onnx):
    graph = OnnxGraph.read(small_onnx)
    flatten = graph.nodes[-1]
    flatten.op_type = "Reshape"
    del flatten.attribute[:]
    graph.constants["shape"] = np.array([-1, 24], np.int64)
    flatten.input.append("shape")
    with pytest.raises(ExportError, match=r"Reshape 'pool/Flatten' to \[-1, 24\]"):
        exporter.with_dynamic_batch(graph.to_bytes())
    graph.constants["shape"] = np.array([1, 24], np.int64)
    assert open_engine("onnx", exporter.with_dynamic_batch(_pixels_as_floats(graph))).output.shape == (1, 24)


def _pixels_as_floats(graph):
    return exporter.carry_out(graph.to_bytes(), RECIPES["float32"], CENTRED)
