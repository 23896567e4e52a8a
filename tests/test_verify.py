from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.errors import BundleError
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.bundle import Bundle, Golden, write_bundle
from edgetransfer.spec.report import VerifyReport
from edgetransfer.verify import distance_steps, verify

_spec = importlib.util.spec_from_file_location("tiny_bundle", Path(__file__).parents[0] / "tiny_bundle.py")
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.make_bundle(tmp_path / "tiny.bundle")


def failed(report: VerifyReport) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


def rewrite(bundle: Bundle, *, info=None, **golden) -> Bundle:
    """Write the bundle again, whole and with right hashes, but with other golden samples."""
    bundle = Bundle.load(bundle.path)
    samples = replace(bundle.golden(), **golden)
    files = {
        "model.tflite": bundle.model_path.read_bytes(),
        "LICENSES/tiny.txt": b"A licence.\n",
        "golden.npz": samples.to_bytes(),
    }
    manifest = bundle.manifest
    if info:
        manifest = replace(manifest, golden=manifest.golden._replace(**info))
    return write_bundle(bundle.path, manifest, files, force=True)


@pytest.mark.parametrize("scores_in_graph", [False, True])
def test_a_bundle_is_verified_where_it_was_built(tmp_path, scores_in_graph):
    report = verify(tiny.make_bundle(tmp_path / "a.bundle", scores_in_graph=scores_in_graph).path)
    assert report.passed
    assert (report.golden_samples, report.steps_max, report.top1_agreement) == (4, 0.0, 1.0)
    assert 0 < report.float_steps_max < 2
    assert report.float_top1_agreement == 1.0
    assert VerifyReport.from_json(report.to_json()) == report
    assert report.as_text().endswith("verified")


def test_other_kernels_are_granted_the_wider_tolerance(bundle):
    report = verify(bundle, kernels="reference")
    assert report.passed
    assert "2 allowed" in report.as_text()
    assert "(reference)" in report.engine


def test_every_byte_of_every_file_matters(bundle):
    for path in sorted(p for p in bundle.path.rglob("*") if p.is_file() and p.name != "manifest.json"):
        original = path.read_bytes()
        for position in {0, len(original) // 2, len(original) - 1}:
            changed = bytearray(original)
            changed[position] ^= 0x10
            path.write_bytes(changed)
            report = verify(bundle.path)
            assert failed(report) == ["files"]
            assert path.name in report.checks[0].detail
            assert report.engine == "", "a changed bundle is not run"
        path.write_bytes(original)
    assert verify(bundle.path).passed


def test_other_preprocessing_is_told_from_another_model(bundle):
    hashes = list(bundle.golden().input_sha256)
    hashes[2] = "0" * 64
    report = verify(rewrite(bundle, input_sha256=tuple(hashes)))
    assert failed(report) == ["preprocessing"]
    assert "samples [2]" in report.as_text()


def test_outputs_beyond_the_tolerance_fail_and_the_worst_sample_is_named(bundle):
    outputs = bundle.golden().own_outputs.copy()
    outputs[1, 0] += 3
    report = verify(rewrite(bundle, own_outputs=outputs, info={"same_kernels_tolerance_steps": 2}))
    assert failed(report) == ["outputs"]
    assert report.steps_max == 3
    assert "worst is sample 1" in report.as_text()
    assert verify(rewrite(bundle, own_outputs=outputs, info={"same_kernels_tolerance_steps": 3})).passed


def test_the_same_kernels_are_held_to_the_narrow_tolerance_and_others_are_not(bundle):
    outputs = bundle.golden().own_outputs.copy()
    outputs[1, 0] += 2
    assert failed(verify(rewrite(bundle, own_outputs=outputs))) == ["outputs"]
    assert verify(rewrite(bundle, own_outputs=outputs, info={"engine_version": "0.0.1"})).passed


def test_another_answer_passes_only_where_the_recorded_one_was_a_tie(bundle):
    outputs = bundle.golden().own_outputs.copy()
    assert outputs[3].tolist() == [-13, -10, -18]
    outputs[3] = [-11, -12, -18]  # within 2 steps, another answer
    report = verify(rewrite(bundle, own_outputs=outputs, info={"same_kernels_tolerance_steps": 2}))
    assert report.passed
    assert report.top1_agreement == 0.75
    outputs[0] = outputs[0][[1, 0, 2]]
    report = verify(rewrite(bundle, own_outputs=outputs, info={"same_kernels_tolerance_steps": 2}))
    assert failed(report) == ["outputs", "answers"]
    assert "samples [0] differ" in report.as_text()


def test_the_distance_to_the_float_model_is_told_and_fails_nothing(bundle):
    logits = bundle.golden().float_logits[:, [1, 2, 0]]
    report = verify(rewrite(bundle, float_logits=np.ascontiguousarray(logits)))
    assert report.passed
    assert report.float_steps_max > 50
    assert report.float_top1_agreement < 1


def test_a_bundle_without_golden_samples_says_that_only_hashes_were_checked(tmp_path):
    report = verify(tiny.make_bundle(tmp_path / "a.bundle", golden=False))
    assert report.passed
    assert "only hashes were checked" in report.as_text()
    assert report.golden_samples == 0
    assert report.steps_max is None


def test_an_output_that_is_no_number_is_infinitely_far(tmp_path):
    manifest = tiny.manifest(scores_in_graph=True)
    steps = distance_steps(np.array([[np.nan, 0.5, 1.0]]), np.array([[0.0, 0.5, 0.5]]), manifest)
    assert steps.tolist() == [[np.inf, 0.0, 256.0]]


def test_golden_samples_of_another_size_than_the_output_are_refused(bundle):
    golden = bundle.golden()
    narrow = Golden(golden.raw, golden.input_sha256, golden.float_logits[:, :2], golden.own_outputs[:, :2])
    files = {"model.tflite": bundle.model_path.read_bytes(), "LICENSES/tiny.txt": b"", "golden.npz": narrow.to_bytes()}
    made = write_bundle(bundle.path, bundle.manifest, files, force=True)
    with pytest.raises(BundleError, match=r"expected own outputs int8 \(4, 3\)"):
        verify(made)


def test_recorded_engine_and_kernels_are_those_that_ran(bundle):
    engine, info = open_engine("litert", bundle.model_path), bundle.manifest.golden
    assert (info.engine, info.engine_version, info.kernels) == (engine.name, engine.version, engine.kernels)
