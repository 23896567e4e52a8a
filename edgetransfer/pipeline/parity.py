"""Whether artifacts compute the same: one set of photos through a run's Keras model and through bundles.

Preprocessing is compared alone, so that a difference names the guilty half. Then the outputs are: in steps, by their
direction, and by the answers that they give. Labels are matched by name, whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.errors import BundleError, DataError, InputError
from edgetransfer.evaluate import check_labels, wilson_interval
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.parity_artifacts import About, Artifact, GoldenPixels, is_run, open_artifact
from edgetransfer.pipeline.parity_outputs import Said, decoded, distance, output_parity, worst_samples
from edgetransfer.pipeline.parity_report import Compared, OutputParity, ParityReport, PixelParity
from edgetransfer.runtime.cores import available_cores
from edgetransfer.spec.report import Check

BLOCK = 32  # images in memory at a time, prepared for every artifact; also Keras's batch

__all__ = ["ParityReport", "parity", "reference_first"]


def parity(
    paths: Sequence[Path],
    dataset: Dataset,
    split: str = "test",
    *,
    images: int | None = None,
    worst: int = 12,
    min_agreement: float | None = None,
    providers: Sequence[str] | None = None,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> ParityReport:
    """Return how the artifacts compare on a split.

    Args:
        paths: Bundles, and at most one run, whose float Keras model with the shipped head is then the reference;
            without a run the first bundle is.
        dataset: Must have exactly the artifacts' labels.
        split: "train", "val" or "test".
        images: Take so many samples, drawn by content hash; None takes all.
        worst: Name so many of the samples that are farthest apart.
        min_agreement: The part of the samples, 0 to 1, on which every artifact must give the reference's answer.
        providers: What ONNX bundles compute with; None takes those that each was built for.
        workers: Threads, each with an engine of its own; None is one a core.
        watcher: Is told how far the work is.

    Raises:
        InputError: fewer than two artifacts, one of them twice, or two runs; a photo cannot be read.
        BundleError: a path is neither bundle nor run, or the artifacts' labels or tasks differ.
        DataError: other labels than the artifacts', or the split is empty.
        EngineError: a bundle's engine is missing, or refuses the model.
    """
    watcher = watcher or Silent()
    samples = _drawn(dataset, split, images)
    with ExitStack() as stack:
        watcher.stage("opening the artifacts")
        artifacts = [stack.enter_context(closing(one)) for one in _opened(reference_first(paths), providers)]
        abouts = [one.about for one in artifacts]
        check_labels(abouts[0].task.labels, dataset.labels)
        _warn_of_other_data(abouts, dataset, watcher)
        watcher.stage(f"comparing {len(artifacts)} artifacts on {len(samples)} images ({split} split)")
        stored, tallies = _through_all(artifacts, samples, workers or available_cores(), watcher)
        golden = {one.about.name: found for one in artifacts if (found := one.golden()) is not None}
    pixels = tuple(_pixel_parity(abouts[0], *pair) for pair in zip(abouts[1:], tallies[1:], strict=True))
    labels = abouts[0].task.labels
    true = np.array([labels.index(sample.label) for sample in samples])
    reference, *others = (decoded(*pair, labels, true) for pair in zip(abouts, stored, strict=True))
    apart = [distance(reference, other) for other in others]
    outputs = tuple(output_parity(reference, *pair, samples) for pair in zip(others, apart, strict=True))
    return ParityReport(
        split=split,
        samples=len(samples),
        artifacts=tuple(_compared(one) for one in (reference, *others)),
        pixels=pixels,
        outputs=outputs,
        worst=worst_samples((reference, *others), apart, samples, worst),
        checks=(*_pixel_checks(pixels, golden), *_output_checks(outputs, (reference, *others), min_agreement)),
    )


def _warn_of_other_data(abouts: Sequence[About], dataset: Dataset, watcher: Watcher) -> None:
    others = [about.name for about in abouts if about.data != dataset.fingerprint]
    if dataset.made_splits and others:
        watcher.note(
            f"the splits made here are not those that {', '.join(others)} came of: training images may be among these "
            "and make accuracies look better than they are"
        )


def _drawn(dataset: Dataset, split: str, images: int | None) -> list[Sample]:
    samples = list(dataset.split(split))
    if not samples:
        raise DataError(f"data set: expected samples in its {split!r} split, got none")
    return sorted(samples, key=lambda sample: (sample.sha256, str(sample.path)))[:images]


def reference_first(paths: Sequence[Path]) -> list[Path]:
    """Return `paths` with the reference first: the run if there is one.

    Raises:
        InputError: fewer than two, one of them twice, or two runs.
        BundleError: one is neither a bundle nor a run.
    """
    if len(paths) < 2:
        raise InputError(f"parity: expected at least two artifacts to compare, got {len(paths)}")
    places = [path.resolve() for path in paths]
    twice = sorted({str(path) for path, place in zip(paths, places, strict=True) if places.count(place) > 1})
    if twice:
        raise InputError(f"parity: expected every artifact once, got one twice: {', '.join(twice)}")
    runs = [path for path in paths if is_run(path)]
    if len(runs) > 1:
        named = ", ".join(str(run) for run in runs)
        raise InputError(f"parity: expected at most one run, for its Keras model is the reference; got {named}")
    return runs + [path for path in paths if path not in runs]


def _opened(paths: Sequence[Path], providers: Sequence[str] | None) -> Iterator[Artifact]:
    """Open one after the other; refuse what cannot be compared with the first."""
    first: About | None = None
    for path in paths:
        same_name = sum(path.name == other.name for other in paths) > 1
        artifact = open_artifact(path, str(path) if same_name else path.name, providers)
        yield artifact  # before the check, so that it is closed in any case
        first = first or artifact.about
        _check_comparable(first, artifact.about)


def _check_comparable(first: About, other: About) -> None:
    if first.task.kind != other.task.kind:
        raise BundleError(
            f"{other.name!r}: expected the task of {first.name!r}, {first.task.kind!r}, got {other.task.kind!r}"
        )
    mine, theirs = set(first.task.labels), set(other.task.labels)
    if mine == theirs:
        return
    found = [
        f"only {one.name!r} has {', '.join(map(repr, sorted(labels)))}"
        for one, labels in ((first, mine - theirs), (other, theirs - mine))
        if labels
    ]
    raise BundleError(f"{other.name!r}: expected the labels of {first.name!r}: {'; '.join(found)}")


@dataclass(slots=True)
class _Tally:
    """Counts the differing pixels of one artifact while images pass by."""

    comparable: bool
    images: int = 0
    pixels: int = 0
    bits: int = 0

    def add(self, got: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
        if got.shape != wanted.shape:
            self.images += 1
            return
        changed = got ^ wanted
        differing = int(changed.any(axis=-1).sum())
        self.images += differing > 0
        self.pixels += differing
        self.bits += int(np.unpackbits(changed).sum()) if differing else 0


def _through_all(
    artifacts: Sequence[Artifact], samples: Sequence[Sample], workers: int, watcher: Watcher
) -> tuple[list[NDArray[Any]], list[_Tally]]:
    """Return the stored outputs (n, C) of each artifact, and how each one's pixels differ from the first's."""
    shape = artifacts[0].about.preprocess.shape
    tallies = [_Tally(one.about.preprocess.shape == shape) for one in artifacts]
    rows: list[list[NDArray[Any]]] = [[] for _ in artifacts]
    with ThreadPoolExecutor(workers, thread_name_prefix="edgetransfer-parity") as threads:
        try:
            for start in range(0, len(samples), BLOCK):
                block = samples[start : start + BLOCK]
                wanted = list(threads.map(artifacts[0].pixels, block))
                for artifact, tally, outputs in zip(artifacts, tallies, rows, strict=True):
                    own = wanted if artifact is artifacts[0] else list(threads.map(artifact.pixels, block))
                    for got, reference in zip(own, wanted, strict=True):
                        tally.add(got, reference)
                    outputs.append(artifact.outputs(own, threads))
                watcher.step(start + len(block), len(samples))
        except BaseException:  # Ctrl-C too: what waits is dropped
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return [np.concatenate(outputs) for outputs in rows], tallies


def _compared(said: Said) -> Compared:
    right, samples = int(said.right.sum()), len(said.right)
    about, interval = said.about, wilson_interval(right, samples)
    return Compared(about.name, about.what, about.preprocess, right, right / samples, interval)


def _pixel_parity(reference: About, about: About, tally: _Tally) -> PixelParity:
    # Three channels are not told in JSON.
    mine, theirs = ({"channels": 3} | one.preprocess.to_json() for one in (reference, about))
    fields = tuple(f"{name} {theirs[name]} (reference {mine[name]})" for name in mine if mine[name] != theirs[name])
    counted = (tally.pixels, tally.bits) if tally.comparable else (None, None)
    return PixelParity(about.name, fields, tally.images, *counted)


def _pixel_checks(pixels: Sequence[PixelParity], golden: Mapping[str, GoldenPixels]) -> list[Check]:
    """Return whether equal preprocessing gives equal pixels, here and where the bundles were built."""
    alike = [one for one in pixels if not one.other_fields]
    wrong = [f"{one.artifact}: {one.images} images, {one.bits} bits" for one in alike if one.images]
    same = f"0 bits differ between the reference and {', '.join(one.artifact for one in alike)}"
    detail = "; ".join(wrong) or (same if alike else "no other artifact prepares images as the reference does")
    others = [one.artifact for one in pixels if one.other_fields]
    if alike and others:
        detail += f"; prepared in another way, which fails nothing: {', '.join(others)}"
    checks = [Check("prepared pixels", not wrong, detail)]
    if golden:
        moved = [f"{name}: golden samples {list(found.differing)}" for name, found in golden.items() if found.differing]
        count = sum(found.samples for found in golden.values())
        detail = "; ".join(moved) or f"{count} golden samples become the pixels that were recorded"
        checks.append(Check("recorded pixels", not moved, detail))
    return checks


def _output_checks(outputs: Sequence[OutputParity], said: Sequence[Said], min_agreement: float | None) -> list[Check]:
    """Return whether all outputs are numbers, and whether the answers agree as often as was asked for."""
    bad = [f"{one.about.name}: {int((one.answers < 0).sum())} images" for one in said if (one.answers < 0).any()]
    checks = [Check("outputs", not bad, "; ".join(bad) + " with NaN or infinity" if bad else "all are finite numbers")]
    if min_agreement is not None:
        low = [f"{one.artifact} {one.agreement:.2%}" for one in outputs if one.agreement < min_agreement]
        least = min(one.agreement for one in outputs)
        detail = f"{', '.join(low)} of the answers" if low else f"at least {least:.2%} of the answers"
        checks.append(Check("same answers", not low, f"{detail} are the reference's; {min_agreement:.2%} asked for"))
    return checks
