from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.transfer.sources import open_source

tf = pytest.importorskip("tensorflow", reason="source models are read with the extra 'train'")


def checkpoint(folder, **variables):
    tf.train.Checkpoint(**variables).write(str(folder / "model"))
    return open_source(folder)


def variable(value: float, name: str = "top/kernel"):
    return tf.Variable(np.full((2, 3), value, np.float32), name=name)


def test_a_variable_that_is_saved_twice_is_read_once(tmp_path):
    model = checkpoint(tmp_path, a=variable(1.0), b=variable(1.0))
    assert [tensor.name for tensor in model.tensors] == ["top/kernel"]
    assert "saved twice" in model.notes[0]


def test_two_variables_of_one_name_are_both_kept(tmp_path):
    model = checkpoint(tmp_path, a=variable(1.0), b=variable(2.0))
    assert [tensor.name for tensor in model.tensors] == ["top/kernel", "b"]
    assert [float(tensor.values().max()) for tensor in model.tensors] == [1.0, 2.0]


def test_variables_of_training_are_left_out(tmp_path):
    optimizer = tf.Module()
    optimizer.moment = variable(2.0, "moment")
    tf.train.Checkpoint(weights=variable(1.0), optimizer=optimizer).save(str(tmp_path / "model"))
    model = open_source(tmp_path)
    assert [tensor.name for tensor in model.tensors] == ["top/kernel"]
    assert model.notes[0].startswith("2 variables")  # the moment, and how often it was saved


def test_a_variable_that_says_it_has_more_than_the_files_is_refused_before_room_is_made(tmp_path):
    from edgetransfer.transfer.sources.saved_model import _check_sizes, _Variable

    (tmp_path / "model.data-00000-of-00001").write_bytes(bytes(24))
    _check_sizes([_Variable("a", "a", (2, 3), "float32")], tmp_path / "model")
    for shape in ((2**20, 2**20), (7,), (-1, -2)):
        with pytest.raises(ValueError, match="more than the 24"):
            _check_sizes([_Variable("a", "a", shape, "float32")], tmp_path / "model")
