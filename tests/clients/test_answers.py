"""What the clients' scripts write is read with care."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from client_checks import litert_js, python_clients
from client_checks.failures import CheckFailed
from client_checks.run_block import read_mediapipe


def given(best="b", labels=("a", "b"), outputs=(0.25, 0.75)):
    return {"best": best, "labels": list(labels), "outputs": list(outputs)}


def test_answers_keep_labels_and_order():
    answers = python_clients.read_answers([given(), given()])
    assert answers.labels == ("a", "b")
    assert answers.outputs.tolist() == [[0.25, 0.75], [0.25, 0.75]]


def test_the_label_that_the_lines_show_must_be_that_of_the_largest_output():
    with pytest.raises(CheckFailed, match=r"image 1: expected the first label to be in \['b'\], got 'a'"):
        python_clients.read_answers([given(), given(best="a")])
    python_clients.read_answers([given(best="a", outputs=(0.5, 0.5))])


def test_labels_that_change_from_image_to_image_are_refused():
    with pytest.raises(CheckFailed, match="image 1: expected the labels"):
        python_clients.read_answers([given(), given(labels=("b", "a"), best="a")])
    with pytest.raises(CheckFailed, match="labels change"):
        litert_js.read_answers({"answers": [[{"label": "a", "score": 1}], [{"label": "b", "score": 1}]]})


def test_what_a_page_cannot_do_is_told_in_its_words():
    with pytest.raises(CheckFailed, match="Element type INT8 is not supported"):
        litert_js.read_answers({"error": "Error: Element type INT8 is not supported."})
    with pytest.raises(CheckFailed, match=r"not served: \['/x.wasm'\]"):
        litert_js.read_answers({"error": "[object Event]", "missing": ["/x.wasm"]})


def test_categories_are_put_in_the_order_of_their_indices():
    categories = [
        SimpleNamespace(index=i, category_name=name, score=s) for i, name, s in [(1, "b", 0.7), (0, "a", 0.3)]
    ]
    names = {"answer": SimpleNamespace(classifications=[SimpleNamespace(categories=categories)]), "best": categories[0]}
    assert read_mediapipe(names) == given(outputs=(0.3, 0.7))
