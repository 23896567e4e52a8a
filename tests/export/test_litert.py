from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.errors import ExportError
from edgetransfer.export.litert import check_builtin_ops, convert, survey
from edgetransfer.quantize.calibrate import calibrate
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES


def test_the_exported_backbone_computes_what_keras_computes(small_keras, small_float, pictures):
    real = (pictures.astype(np.float32) - 127) / 128
    engine = open_engine("litert", small_float)
    got = np.concatenate([engine.run(one[None]) for one in real])
    np.testing.assert_allclose(got, np.asarray(small_keras(real, training=False)), rtol=1e-4, atol=1e-4)


def test_exporting_again_gives_the_same_file(small_keras, small_float):
    assert convert(small_keras) == small_float


def test_exporting_prints_nothing_on_standard_output(small_keras, capfd):
    convert(small_keras)
    assert capfd.readouterr().out == ""


def test_a_model_with_a_flex_op_is_refused_with_its_name():
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")

    class Sinh(keras.layers.Layer):
        def call(self, x):
            return tf.sinh(x)

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Sinh()(inputs)), name="odd")
    with pytest.raises(ExportError, match=r"'odd' needs ops that LiteRT does not have built in: FlexSinh"):
        convert(model)


def test_a_custom_op_is_refused_with_its_name(small_float):
    graph = Graph.read(small_float)
    from ai_edge_litert import schema_py_generated as schema

    code = graph.model.operatorCodes[graph.subgraph.operators[-1].opcodeIndex]
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, schema.BuiltinOperator.CUSTOM
    code.customCode = b"MyOwnOp"
    with pytest.raises(ExportError, match="MyOwnOp"):
        check_builtin_ops(graph.to_bytes(), "small")


def computed_in_floats(model):
    return [op.kind for op in survey(model) if op.computes == "float32" and not op.edge]


def test_an_int8_graph_has_no_float_island_and_a_float_graph_has_nothing_else(small_float, pictures):
    normalisation = Normalisation(1 / 128, 127)
    ranges = calibrate(small_float, pictures, normalisation)
    int8 = carry_out(small_float, RECIPES["static_int8"], normalisation, ranges, pictures)
    assert computed_in_floats(int8) == []
    assert "CONV_2D" in computed_in_floats(carry_out(small_float, RECIPES["float32"], normalisation))


def test_the_survey_counts_the_multiply_adds_of_every_op(small_float):
    """By hand: a 3 x 3 stem on 16 x 16 places, a depthwise one, two 1 x 1, then elementwise ops and the mean."""
    by_kind = {}
    for op in survey(small_float):
        by_kind.setdefault(op.kind, []).append(op.macs)
    places = 16 * 16
    assert sorted(by_kind["CONV_2D"]) == sorted([places * 8 * 27, places * 8 * 8, places * 24 * 8])
    assert by_kind["DEPTHWISE_CONV_2D"] == [places * 8 * 9]
    assert by_kind["ADD"] == [places * 8]
    assert by_kind["MEAN"] == [places * 24]
