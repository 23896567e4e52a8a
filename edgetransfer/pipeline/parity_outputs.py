"""What artifacts said of the samples, and how far that is from what the reference said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import InputError
from edgetransfer.pipeline.parity_artifacts import About
from edgetransfer.pipeline.parity_report import Answer, Examined, OutputParity
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.tensor import TensorSpec
from edgetransfer.verify import distance_steps


@dataclass(frozen=True, slots=True)
class Said:
    """What an artifact said of all samples, in the order of the reference's `labels`.

    `stored` and `real` are (n, C) outputs, `scores` (n, C) from 0 to 1. `answers` are (n,) label numbers, -1 where
    the outputs are not finite; of equal outputs the artifact's own first label wins, as on the device. `right` says
    where that is the data's label.
    """

    about: About
    labels: tuple[str, ...]
    stored: NDArray[Any]
    real: NDArray[np.float64]
    scores: NDArray[np.float64]
    answers: NDArray[np.int64]
    right: NDArray[np.bool_]


def decoded(about: About, stored: NDArray[Any], labels: tuple[str, ...], true: NDArray[np.int64]) -> Said:
    """Return what the `stored` outputs (n, C) of an artifact say; `true` are the data's labels, (n,) numbers."""
    number = {label: i for i, label in enumerate(labels)}
    own = np.array([number[label] for label in about.task.labels])
    real = about.output.to_real(stored)
    finite = np.asarray(np.isfinite(real).all(axis=1))
    sound = np.where(finite[:, None], real, np.float32(0))
    scores = sound if about.scores_in_graph else get_decoder(about.task.kind).to_scores(sound, about.task)
    answers = np.where(finite, own[sound.argmax(axis=1)], -1)
    columns = np.argsort(own)
    return Said(
        about=about,
        labels=labels,
        stored=stored[:, columns],
        real=real[:, columns].astype(np.float64),
        scores=np.where(finite[:, None], scores, np.nan)[:, columns].astype(np.float64),
        answers=answers,
        right=answers == true,
    )


@dataclass(frozen=True, slots=True)
class Apart:
    """How far an artifact's outputs are from the reference's: in steps and in real numbers, (n, C), and cosines, (n,).

    What is not finite is infinitely far.
    """

    of: str
    steps: NDArray[np.float64]
    real: NDArray[np.float64]
    cosines: NDArray[np.float64]


def distance(reference: Said, other: Said) -> Apart:
    """Return how far a bundle's outputs are from the reference's; scores are compared where either has only those."""
    manifest = other.about.manifest
    if manifest is None:
        raise InputError(f"{other.about.name!r}: a run's Keras model can only be the reference")
    if reference.about.scores_in_graph == other.about.scores_in_graph:
        of = "scores" if other.about.scores_in_graph else "logits"
        got, wanted = other.real, reference.real
        stored, expected = other.stored, _as_stored(reference, other.about.output)
    else:
        of, got, wanted = "scores", other.scores, reference.scores
        stored, expected = got, wanted
        # Scores are floats, whatever the outputs that they were made of.
        scores = TensorSpec("scores", manifest.model.output.shape, "float32")
        manifest = replace(manifest, model=manifest.model._replace(output=scores))
    finite = np.isfinite(got).all(axis=1) & np.isfinite(wanted).all(axis=1)
    steps, real = np.full(got.shape, np.inf), np.full(got.shape, np.inf)
    cosines = np.full(len(got), np.nan)
    if finite.any():
        steps[finite] = distance_steps(stored[finite], expected[finite], manifest)
        real[finite] = np.abs(got[finite] - wanted[finite])
        cosines[finite] = _cosines(got[finite], wanted[finite])
    return Apart(of, steps, real, cosines)


def _as_stored(reference: Said, output: TensorSpec) -> NDArray[Any]:
    """Return the reference's outputs in the units that `output` stores, neither rounded nor saturated."""
    if output.quantization is None:
        return reference.real
    if output.quantization == reference.about.output.quantization:
        return reference.stored
    return reference.real / output.quantization.scale + output.quantization.zero_point


def _cosines(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine of each row; rows of zeros are alike, and unlike all others."""
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    both_zero = ~got.any(axis=1) & ~wanted.any(axis=1)
    cosines = (got * wanted).sum(axis=1) / np.where(lengths > 0, lengths, 1)
    found: NDArray[np.float64] = np.where(both_zero, 1.0, np.clip(cosines, -1, 1))
    return found


def output_parity(reference: Said, other: Said, apart: Apart, samples: Sequence[Sample]) -> OutputParity:
    """Return the outputs of `other` beside the reference's, summed up over the samples."""
    differ = _differ(reference, other)
    lost, won = int((reference.right & ~other.right).sum()), int((~reference.right & other.right).sum())
    return OutputParity(
        artifact=other.about.name,
        of=apart.of,
        **_steps(apart.steps),
        cosine_mean=_finite(apart.cosines.mean()),
        cosine_min=_finite(apart.cosines.min()),
        agreement=float(1 - differ.mean()),
        disagreements=tuple(str(samples[i].path) for i in np.flatnonzero(differ).tolist()),
        only_reference_right=lost,
        only_artifact_right=won,
        mcnemar_p=mcnemar(lost, won),
    )


def _steps(steps: NDArray[np.float64]) -> dict[str, float | None]:
    if not np.isfinite(steps).all():
        return {"steps_max": None, "steps_p99": None, "steps_mean": None}
    p99 = float(np.percentile(steps, 99))
    return {"steps_max": float(steps.max()), "steps_p99": p99, "steps_mean": float(steps.mean())}


def mcnemar(one: int, other: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    `one` and `other` count the samples that only one of two models got right; where neither is better they are heads
    and tails of a fair coin.
    """
    tosses = one + other
    tail, ways = 0, 1
    for heads in range(min(one, other) + 1):
        tail += ways
        ways = ways * (tosses - heads) // (heads + 1)
    p: float = 2 * tail / 2**tosses
    return min(1.0, p)


def _differ(reference: Said, other: Said) -> NDArray[np.bool_]:
    """Return where the answers differ, (n,); no answer agrees with nothing."""
    differ: NDArray[np.bool_] = (reference.answers != other.answers) | (reference.answers < 0)
    return differ


def worst_samples(
    said: Sequence[Said], apart: Sequence[Apart], samples: Sequence[Sample], count: int
) -> tuple[Examined, ...]:
    """Return `count` samples: where answers differ, then where outputs do; of each the farthest apart first."""
    differ = np.any([_differ(said[0], other) for other in said[1:]], axis=0)
    farthest = np.max([one.real.max(axis=1) for one in apart], axis=0)
    order = np.lexsort((-farthest, ~differ))
    chosen = [i for i in order.tolist() if differ[i] or farthest[i] > 0][:count]
    return tuple(
        Examined(
            path=str(samples[i].path),
            label=samples[i].label,
            answers={one.about.name: _answer(one, i) for one in said},
            distance=_finite(farthest[i]),
            channels=samples[i].channels,
        )
        for i in chosen
    )


def _answer(said: Said, sample: int) -> Answer:
    number = int(said.answers[sample])
    if number < 0:
        return Answer(None, None)
    return Answer(said.labels[number], float(said.scores[sample, number]))


def _finite(value: Any) -> float | None:
    """Return `value`; None where it is NaN or infinite, which JSON cannot say."""
    return float(value) if np.isfinite(value) else None
