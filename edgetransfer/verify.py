"""Tells whether a bundle is whole and computes here what it computed where it was built."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.engines import Engine, Kernels
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle, Golden
from edgetransfer.spec.manifest import GoldenInfo, Manifest
from edgetransfer.spec.report import Check, VerifyReport

_TRIES = 16  # ways in which features are moved to see whether an answer was clear


def verify(
    bundle: Bundle | str | os.PathLike[str],
    *,
    engine: str | None = None,
    threads: int = 1,
    kernels: Kernels = "default",
    providers: Sequence[str] | None = None,
) -> VerifyReport:
    """Return what was checked: the files' hashes, then the golden samples through preprocessing and engine.

    The outputs may differ from the recorded ones by as many steps as the manifest grants this engine and kernel set:
    fewer where engine, version and kernels are those recorded. The first answer may differ only where the recorded
    one led by no more than twice that, for both sides may move. How far the outputs are from the float model's is
    told, but it is the price of quantization and fails nothing. A changed file is never run.

    Args:
        bundle: an opened bundle, or its folder.
        engine: an engine's name; None takes that of the bundle's format.
        threads: how many threads one inference may use.
        kernels: "reference" computes with the engine's plain kernels.
        providers: what computes, for ONNX Runtime; None takes those that the bundle was built for.

    Raises:
        BundleError: the folder is no bundle, or its manifest is broken.
        EngineError: no engine is installed, or it refuses the model.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.load(bundle)
    name = opened.manifest.name
    if problems := opened.integrity_problems():
        return VerifyReport(name, opened.sha256, "", (Check("files", False, "; ".join(problems)),))
    golden = opened.golden()
    with Predictor.load(opened, engine=engine, threads=threads, kernels=kernels, providers=providers) as predictor:
        used = predictor.engine
        checks = (
            Check("files", True, f"{len(opened.manifest.files)} files are as they were written"),
            Check("engine", True, f"loads the model; {_outputs_words(predictor)}"),
        )
        report = VerifyReport(name, opened.sha256, f"{used.name} {used.version} ({used.kernels})", checks)
        if golden is None:
            check = Check("golden samples", True, "none in this bundle: only hashes were checked")
            return replace(report, checks=(*checks, check))
        return _with_golden(report, predictor, golden)


def distance_steps(got: NDArray[np.generic], wanted: NDArray[np.generic], manifest: Manifest) -> NDArray[np.float64]:
    """Return |got - wanted| in output steps, (n, C); NaN counts as infinitely far.

    A step is one stored integer; of a float output, a 256th of the largest absolute value in `wanted`.
    """
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    if manifest.model.output.quantization is None:
        difference = difference / _float_step(wanted)
    steps: NDArray[np.float64] = np.where(np.isnan(difference), np.inf, difference)
    return steps


def _with_golden(report: VerifyReport, predictor: Predictor, golden: Golden) -> VerifyReport:
    manifest = predictor.bundle.manifest
    tolerance = _tolerance(manifest, predictor.engine)
    inputs = [predictor.reader.prepare(raw)[0] for raw in golden.raw]
    outputs = np.concatenate([predictor.run(x) for x in inputs])
    steps = distance_steps(outputs, golden.own_outputs, manifest)
    same = _answers(predictor, outputs) == _answers(predictor, golden.own_outputs)
    wanted = _float_outputs(golden, manifest)
    float_same = _answers(predictor, outputs) == _answers(predictor, wanted, real=True)
    return replace(
        report,
        checks=(
            *report.checks,
            _preprocessing_check(inputs, golden),
            _steps_check(steps, tolerance, manifest, report.engine),
            _top1_check(same, golden, tolerance, predictor),
        ),
        golden_samples=len(inputs),
        steps_max=_finite(steps),
        top1_agreement=float(same.mean()),
        float_steps_max=_finite(_float_steps(outputs, wanted, golden, manifest)),
        float_top1_agreement=float(float_same.mean()),
    )


def _outputs_words(predictor: Predictor) -> str:
    if not predictor.bundle.manifest.is_split:
        return f"{len(predictor.labels)} labels for as many outputs"
    names = ", ".join(head.name for head in predictor.heads) or "none"
    return f"{predictor.bundle.manifest.backbone.feature_size} features; heads: {names}"


def _answers(predictor: Predictor, outputs: NDArray[Any], *, real: bool = False) -> NDArray[np.int64]:
    """Return the first answer for each of (n, C) outputs, stored or `real`; of several heads, all their first ones."""
    if not predictor.heads:
        return np.asarray(outputs.argmax(axis=1))
    features = outputs if real else predictor.bundle.manifest.model.output.to_real(outputs)
    firsts = np.stack([head.logits(features).argmax(axis=1) for head in predictor.heads], axis=1)
    # One number for each combination of answers, so that equal means equal for every head.
    counts = np.cumprod([1, *(len(head.layers[-1].bias) for head in predictor.heads[:-1])])
    return np.asarray((firsts * counts).sum(axis=1))


def _float_step(wanted: NDArray[np.generic]) -> float:
    largest = float(np.abs(wanted.astype(np.float64)).max())
    return largest / 256 if largest > 0 else 1.0


def _tolerance(manifest: Manifest, engine: Engine) -> int:
    info = _info(manifest)
    same = (info.engine, info.engine_version, info.kernels) == (engine.name, engine.version, engine.kernels)
    if same:
        return info.same_kernels_tolerance_steps
    return info.tolerances.get(f"{engine.name} {engine.kernels}", info.tolerance_steps)


def _info(manifest: Manifest) -> GoldenInfo:
    if manifest.golden is None:
        raise BundleError("golden samples: expected the manifest to describe them")
    return manifest.golden


def _preprocessing_check(inputs: list[NDArray[np.uint8]], golden: Golden) -> Check:
    wrong = [i for i, x in enumerate(inputs) if hashlib.sha256(x.tobytes()).hexdigest() != golden.input_sha256[i]]
    if wrong:
        return Check("preprocessing", False, f"samples {wrong}: other pixels than where the bundle was built")
    return Check("preprocessing", True, f"{len(inputs)} golden samples become the same pixels, bit for bit")


def _steps_check(steps: NDArray[np.float64], tolerance: int, manifest: Manifest, words: str) -> Check:
    info = _info(manifest)
    largest = float(steps.max())
    detail = f"at most {largest:.4g} steps from the recorded outputs, {tolerance} allowed"
    if largest > tolerance:
        sample = int(np.unravel_index(int(steps.argmax()), steps.shape)[0])
        recorded = f"{info.engine} {info.engine_version} ({info.kernels})"
        detail += f"; worst is sample {sample}; recorded with {recorded}, here {words}"
    return Check("outputs", largest <= tolerance, detail)


def _top1_check(same: NDArray[np.bool_], golden: Golden, tolerance: int, predictor: Predictor) -> Check:
    clear = _is_clear(golden, tolerance, predictor)
    wrong = np.flatnonzero(~same & clear).tolist()
    detail = f"{int(same.sum())} of {len(same)} golden samples have the recorded answer"
    if wrong:
        return Check("answers", False, f"{detail}; samples {wrong} differ though theirs was clear")
    return Check("answers", True, detail if same.all() else f"{detail}; the others were ties within the tolerance")


def _is_clear(golden: Golden, tolerance: int, predictor: Predictor) -> NDArray[np.bool_]:
    """Return for which samples the first answer led by more than both sides may move."""
    output = predictor.bundle.manifest.model.output
    step = 1.0 if output.quantization is not None else _float_step(golden.own_outputs)
    if not predictor.heads:
        ordered = np.sort(golden.own_outputs.astype(np.float64), axis=1)
        return np.asarray((ordered[:, -1] - ordered[:, -2]) / step > 2 * tolerance)
    # How far answers bear that every feature moves by the tolerance is the head's doing: it is tried.
    reach = tolerance * (step if output.quantization is None else output.quantization.scale)
    features = output.to_real(golden.own_outputs)
    settled = _answers(predictor, features, real=True)
    clear = np.ones(len(features), bool)
    for signs in np.random.default_rng(0).choice([-1.0, 1.0], (_TRIES, *features.shape)):
        moved = (features + 2 * reach * signs).astype(np.float32)
        clear &= _answers(predictor, moved, real=True) == settled
    return clear


def _float_outputs(golden: Golden, manifest: Manifest) -> NDArray[np.floating[Any]]:
    if not manifest.model.scores_in_graph:
        return golden.float_logits
    return get_decoder(manifest.task.kind).to_scores(golden.float_logits, manifest.task)


def _float_steps(
    outputs: NDArray[np.generic],
    wanted: NDArray[np.floating[Any]],
    golden: Golden,
    manifest: Manifest,
) -> NDArray[np.float64]:
    pair = manifest.model.output.quantization
    step = _float_step(golden.own_outputs) if pair is None else pair.scale
    real = manifest.model.output.to_real(outputs).astype(np.float64)
    steps: NDArray[np.float64] = np.abs(real - wanted) / step
    return steps


def _finite(steps: NDArray[np.float64]) -> float | None:
    """Return the largest distance; None where an output was NaN or infinite, which JSON cannot say."""
    largest = float(steps.max())
    return largest if np.isfinite(largest) else None
