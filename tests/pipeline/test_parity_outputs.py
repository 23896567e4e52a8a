from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.pipeline.parity_artifacts import About
from edgetransfer.pipeline.parity_outputs import decoded, distance, mcnemar
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import Quantization, TensorSpec


def about(name, output, manifest=None, **changes):
    spec = ImageInput(16, 16)
    fields = {"task": Task("single_label", ("a", "b")), "scores_in_graph": False, **changes}
    return About(name=name, what="", preprocess=spec, output=output, data="", manifest=manifest, **fields)


def bundle_about(tiny_bundle, output):
    manifest = tiny_bundle.manifest()
    return about("bundle", output, replace(manifest, model=manifest.model._replace(output=output)))


FLOATS = TensorSpec("logits", (1, 2), "float32")


def test_a_step_of_integers_is_one_of_them_even_beside_floats(tiny_bundle):
    stored = TensorSpec("logits", (1, 2), "int8", Quantization(0.5, 10))
    reference = decoded(about("run", FLOATS), np.array([[0.0, 1.25]], np.float32), ("a", "b"), np.array([1]))
    other = decoded(bundle_about(tiny_bundle, stored), np.array([[10, 14]], np.int8), ("a", "b"), np.array([1]))
    apart = distance(reference, other)
    np.testing.assert_allclose(apart.steps, [[0, 1.5]])  # 14 means 2.0
    np.testing.assert_allclose(apart.real, [[0, 0.75]])
    np.testing.assert_allclose(apart.cosines, [1])


def test_a_step_of_floats_is_a_256th_of_the_references_largest(tiny_bundle):
    reference = decoded(about("run", FLOATS), np.array([[0, -8], [4, 0]], np.float32), ("a", "b"), np.array([1, 0]))
    got = np.array([[0.25, -8], [4, 0]], np.float32)
    apart = distance(reference, decoded(bundle_about(tiny_bundle, FLOATS), got, ("a", "b"), np.array([1, 0])))
    np.testing.assert_allclose(apart.steps, [[8, 0], [0, 0]])


def test_what_is_not_finite_is_no_answer_and_infinitely_far(tiny_bundle):
    rows = np.array([[1, 2], [3, 1]], np.float32)
    reference = decoded(about("run", FLOATS), rows, ("a", "b"), np.array([1, 0]))
    broken = np.array([[np.nan, 5], [3, 1]], np.float32)
    other = decoded(bundle_about(tiny_bundle, FLOATS), broken, ("a", "b"), np.array([1, 0]))
    assert other.answers.tolist() == [-1, 0]
    assert other.right.tolist() == [False, True]
    apart = distance(reference, other)
    assert np.isinf(apart.steps[0]).all()
    np.testing.assert_allclose(apart.steps[1], 0)


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [(0, 0, 1), (5, 5, 1), (0, 1, 1), (0, 5, 2 / 32), (1, 9, 22 / 1024), (9, 1, 22 / 1024), (3, 3000, 0)],
)
def test_mcnemars_p_is_that_of_a_fair_coin(one, other, p):
    assert mcnemar(one, other) == pytest.approx(p, abs=1e-12)


def test_mcnemars_p_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for one, other in ((2, 11), (40, 60), (500, 430)):
        assert mcnemar(one, other) == pytest.approx(stats.binomtest(one, one + other).pvalue, rel=1e-9)
