from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.transfer.sources import open_source

keras = pytest.importorskip("keras", reason="source models are read with the extra 'train'")


def small(*layers):
    model = keras.Sequential([keras.Input((4, 4, 3)), *layers], name="small")
    for weight in model.weights:
        weight.assign(np.random.default_rng(1).normal(size=weight.shape))
    return model


def test_weights_alone_say_the_class_of_each_layer_by_its_group(source_paths, networks):
    model = open_source(source_paths["keras_file"].with_name("small.weights.h5"))
    assert [layer.kind for layer in model.parts] == ["Conv2D", "DepthwiseConv2D", "Conv2D", "Dense"]
    assert [tensor.role for tensor in model.tensors] == list(networks.ROLES)
    for tensor, layout, values in zip(model.tensors, networks.LAYOUTS, networks.truth().values(), strict=True):
        np.testing.assert_array_equal(tensor.values(layout), values)


def test_eleven_layers_of_a_class_keep_their_order(tmp_path):
    model = small(*(keras.layers.Conv2D(width, 1, name=f"c{width}") for width in range(1, 13)))
    model.save(tmp_path / "a.keras")
    model.save_weights(tmp_path / "a.weights.h5")
    for name in ("a.keras", "a.weights.h5"):
        assert [layer.name for layer in open_source(tmp_path / name).parts] == [f"c{width}" for width in range(1, 13)]


@pytest.mark.parametrize(("scale", "center"), [(True, False), (False, True), (False, False)])
def test_a_batch_norm_without_some_parameters_has_the_others_right(scale, center, tmp_path):
    small(keras.layers.BatchNormalization(scale=scale, center=center, name="norm")).save(tmp_path / "a.keras")
    roles = [tensor.role for tensor in open_source(tmp_path / "a.keras").tensors]
    assert roles == [*["gamma"] * scale, *["beta"] * center, "moving_mean", "moving_variance"]


def test_which_parameter_a_batch_norm_lacks_is_not_guessed_where_the_settings_are_missing(tmp_path):
    small(keras.layers.BatchNormalization(scale=False)).save_weights(tmp_path / "a.weights.h5")
    found = open_source(tmp_path / "a.weights.h5").tensors
    assert [tensor.role for tensor in found] == ["other"] * 3
    assert found[0].reason == "a BatchNormalization whose settings the file does not have"


def test_the_optimizer_is_left_out_and_that_is_said(tmp_path):
    model = small(keras.layers.Flatten(), keras.layers.Dense(2, name="top"))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "a.keras")
    found = open_source(tmp_path / "a.keras")
    assert [layer.name for layer in found.parts] == ["top"]
    assert "of the optimizer and of metrics were left out" in found.notes[0]


def test_what_keras_quantized_is_not_taken_for_real_numbers(tmp_path):
    model = small(keras.layers.Flatten(), keras.layers.Dense(2, name="top"))
    model.layers[-1].quantize("int8")
    model.save(tmp_path / "a.keras")
    kernel = open_source(tmp_path / "a.keras").tensors[0]
    assert (kernel.role, kernel.dtype) == ("other", "int8")
    assert "quantized by Keras" in kernel.reason
