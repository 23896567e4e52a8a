from __future__ import annotations

import numpy as np
import pytest

from edgetransfer.export._litert_metadata import _model_metadata, add_metadata, read_labels
from edgetransfer.quantize.carry_out import carry_out
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.recipe import RECIPES

LABELS = ("glass", "papier mâché", "玻璃")


@pytest.fixture(scope="module")
def plain(small_float):
    return carry_out(small_float, RECIPES["float32"], Normalisation(1 / 128, 127))


@pytest.fixture(scope="module")
def described(plain):
    return add_metadata(plain, name="waste", labels=LABELS, licence="Apache-2.0")


def test_labels_are_appended_in_order_and_in_any_script(described):
    assert tuple(read_labels(described)) == LABELS


def test_the_metadata_buffer_carries_its_identifier(described):
    graph = Graph.read(described)
    entry = next(entry for entry in graph.model.metadata if entry.name == b"TFLITE_METADATA")
    content = bytes(graph.model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    assert b"labels.txt" in content
    assert b"waste" in content
    assert b"Apache-2.0" in content


def test_the_model_computes_as_before(plain, described, pictures):
    assert np.array_equal(
        open_engine("litert", plain).run(pictures[:1]), open_engine("litert", described).run(pictures[:1])
    )


def test_writing_metadata_is_repeatable(plain, described):
    assert add_metadata(plain, name="waste", labels=LABELS, licence="Apache-2.0") == described


def test_clients_are_told_whether_pixels_are_grey_in_colour_or_neither():
    grey, rgb, four = (_model_metadata("waste", "Apache-2.0", "image", channels) for channels in (1, 3, 4))
    assert len({grey, rgb, four}) == 3
    assert len(grey) == len(rgb) > len(four)  # of four channels TFLite's schema knows no colour space: none is said
