"""Heads outside of the graph, each measured on labelled data of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import TASKS, Dataset, Sample, load_dataset
from edgetransfer.errors import DataError, InputError, UnknownNameError
from edgetransfer.evaluate import check_answers, evaluate_task, real_outputs
from edgetransfer.pipeline.head_question import SINGLE_LABEL
from edgetransfer.pipeline.options import Watcher
from edgetransfer.pipeline.page.evaluation import judged, samples_of
from edgetransfer.pipeline.page.learning import carried_curve, curve_of
from edgetransfer.pipeline.page.measured import Evaluation, HeadFigures, TaskEvaluation
from edgetransfer.pipeline.page.options import PageOptions
from edgetransfer.pipeline.page.strangers import Scored, StrangerFiles, read_strangers, rejection_of
from edgetransfer.pipeline.split_backbone import backbone_of
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.heads import heads_folder, load_heads
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.head import HEAD_SUFFIX, Head
from edgetransfer.spec.model_input import channels_of
from edgetransfer.spec.report import EvalReport


def evaluate_heads(bundle: Bundle, options: PageOptions, watcher: Watcher) -> tuple[HeadFigures, ...]:
    """Return the heads that answer for `bundle`, those of the build first, measured on the data that `options` name.

    Raises:
        UnknownNameError: data for a head that there is not.
        DataError: data with other labels than the head's, or an empty split.
        InputError: data twice for one head, or strangers where no head rejects.
        EngineError: the bundle's engine is not installed, or refuses the model.
    """
    heads = ordered_heads(bundle)
    sources = data_of_heads(heads, options)
    if options.strangers is not None and not any(head.outliers and head.name in sources for head in heads):
        raise InputError(
            "--strangers: no head that turns inputs away has data to be measured on; give --data or --head NAME=DATA "
            "for one that was built with --reject"
        )
    work = _Work(bundle, options, watcher)
    return tuple(work.measured(head, sources.get(head.name)) for head in heads)


def ordered_heads(bundle: Bundle) -> tuple[Head, ...]:
    """Return the heads that answer for `bundle`: those of the build in its order, then those that were added."""
    places = {info.name: number for number, info in enumerate(bundle.manifest.heads)}
    return tuple(sorted(load_heads(bundle), key=lambda head: (places.get(head.name, len(places)), head.name)))


def data_of_heads(heads: Sequence[Head], options: PageOptions) -> Mapping[str, Path]:
    """Return on what each head is to be measured, by its name: `options.data` is the first one's.

    Raises:
        InputError: data twice for one head, or for a bundle without heads.
        UnknownNameError: there is no such head.
    """
    given = list(options.head_data)
    if options.data is not None:
        if not heads:
            raise InputError(
                "--data: this bundle has no heads that could be measured; edgetransfer heads train makes one"
            )
        given.insert(0, (heads[0].name, options.data))
    names = [head.name for head in heads]
    for name, _ in given:
        if name not in names:
            raise UnknownNameError("head", name, names)
    names_given = [name for name, _ in given]
    if twice := sorted({name for name in names_given if names_given.count(name) > 1}):
        raise InputError(f"--data is for the first head, {names[0]}: got data twice for {', '.join(twice)}")
    return dict(given)


class _Work:
    """A bundle that ends in features, and what computing with it takes."""

    def __init__(self, bundle: Bundle, options: PageOptions, watcher: Watcher) -> None:
        self._bundle, self._options, self._watcher = bundle, options, watcher
        self._strangers: StrangerFiles | None = None

    def measured(self, head: Head, source: Path | None) -> HeadFigures:
        """Return the figures of `head`, measured on the data in `source`; None: those of its build alone."""
        found = self._known(head)
        if source is None:
            return found
        dataset = self._dataset(head, source)
        samples = samples_of(dataset, self._options.split)
        self._watcher.stage(f"evaluating head {head.name} ({self._options.split} split)")
        features = self._features(samples, head)
        same_data = self._same_data(found, dataset)
        if head.task.kind != SINGLE_LABEL:
            report = evaluate_task(
                _scores(head, features), samples, head.task, split=self._options.split, artifact=head.name
            )
            if isinstance(report, EvalReport):  # of another package's kind of task, whose answers are single labels
                raise DataError(f"head {head.name}: the page knows no tasks of kind {head.task.kind!r}")
            return replace(found, task_evaluation=TaskEvaluation(report, self._engine(), dataset.report, same_data))
        return self._with_curve(self._judged(found, dataset, samples, features, same_data), dataset)

    def _with_curve(self, found: HeadFigures, dataset: Dataset) -> HeadFigures:
        if found.curve is not None or not self._options.learning_curve:
            return found
        self._watcher.stage(f"learning curve of head {found.head.name}")

        def features() -> NDArray[np.float32]:
            train = dataset.split("train")
            if found.head.pool is not None:
                return self._features(train, found.head)
            backbone = backbone_of(self._bundle)  # whose features of a build are in the cache
            return backbone.features(train, self._watcher, workers=self._options.workers)

        curve, why = curve_of(dataset, found.head, features, self._watcher.step)
        return replace(found, curve=curve, no_curve=why)

    def _known(self, head: Head) -> HeadFigures:
        """Return what the files tell of `head`."""
        curve = carried_curve(head) if self._options.learning_curve else None
        added = heads_folder(self._bundle) / f"{head.name}{HEAD_SUFFIX}"
        if added.is_file():
            return HeadFigures(head, added.stat().st_size, added=True, recorded=head.metrics, curve=curve)
        manifest = self._bundle.manifest
        info = next(one for one in manifest.heads if one.name == head.name)
        recorded = next(one["metrics"] for one in manifest.to_json()["heads"] if one["name"] == head.name)
        size_bytes = manifest.files[info.file].size_bytes
        return HeadFigures(head, size_bytes, added=False, recorded=recorded, curve=curve)

    def _dataset(self, head: Head, source: Path) -> Dataset:
        self._watcher.stage(f"reading the data of head {head.name}")
        options = self._options
        dataset = load_dataset(
            source,
            kind=self._bundle.manifest.preprocess.kind,
            channels=channels_of(self._bundle.manifest.preprocess),
            seed=options.seed,
            for_training=False,
            tasks=TASKS,
            progress=self._watcher.step,
            workers=options.workers,
        )
        try:
            check_answers(head.task, dataset)
        except DataError as error:
            raise DataError(f"data of head {head.name}: {error}", error.problems) from error
        return dataset

    def _judged(
        self,
        found: HeadFigures,
        dataset: Dataset,
        samples: Sequence[Sample],
        features: NDArray[np.float32],
        same_data: bool | None,
    ) -> HeadFigures:
        head = found.head
        scores = _scores(head, features)
        true = np.array([head.task.labels.index(sample.label) for sample in samples])
        detector = head.outliers
        outlier = None if detector is None else detector.score(features)
        evaluation = judged(
            scores,
            None if head.task.temperature == 1 else _scores(_at_temperature_1(head), features),
            true,
            samples,
            head.task,
            dataset,
            artifact=head.name,
            engine=self._engine(),
            worst=self._options.worst,
            same_data=same_data,
            rejected=None if detector is None or outlier is None else outlier > detector.threshold,
        )
        evaluation = self._with_lengths(evaluation)
        if detector is None or outlier is None:
            return replace(found, evaluation=evaluation)
        known = Scored(outlier, scores.max(axis=1))
        rejection = rejection_of(detector, known, scores.argmax(axis=1) == true, self._seen_strangers(head))
        return replace(found, evaluation=evaluation, rejection=rejection)

    def _seen_strangers(self, head: Head) -> tuple[StrangerFiles, Scored] | None:
        path = self._options.strangers
        if path is None or head.outliers is None:
            return None
        if self._strangers is None:
            self._watcher.stage("reading the strangers")
            spec = self._bundle.manifest.preprocess
            self._strangers = read_strangers(
                path,
                spec.kind,
                channels=channels_of(spec),
                workers=self._options.workers,
                watcher=self._watcher,
            )
        self._watcher.stage(f"putting strangers to head {head.name}")
        features = self._features(self._strangers.samples, head)
        return self._strangers, Scored(head.outliers.score(features), _scores(head, features).max(axis=1))

    def _same_data(self, found: HeadFigures, dataset: Dataset) -> bool | None:
        """Return whether the head learned from this very data; None of one that was added, whose file does not say."""
        manifest = self._bundle.manifest
        places = [info.name for info in manifest.heads]
        fingerprints = manifest.data.fingerprint.split("+")
        if found.added or len(fingerprints) != len(places):
            return None
        return fingerprints[places.index(found.head.name)] == dataset.fingerprint

    def _with_lengths(self, evaluation: Evaluation) -> Evaluation:
        """Return the evaluation with the length of each sound that was answered wrongly."""
        spec = self._bundle.manifest.preprocess
        if not isinstance(spec, AudioInput):
            return evaluation
        with self._predictor() as predictor:
            mistakes = tuple(
                replace(one, seconds=len(predictor.reader.read(one.file)) / spec.sample_rate_hz)
                for one in evaluation.mistakes
            )
        return replace(evaluation, mistakes=mistakes)

    def _features(self, samples: Sequence[Sample], head: Head) -> NDArray[np.float32]:
        """Return the real features (n, D) of `samples` that `head` takes: as files, through all that a device does."""
        workers = self._options.workers or available_cores()
        return real_outputs(self._bundle, samples, self._predictor, workers, self._watcher.step, head.pool)

    def _predictor(self) -> Predictor:
        providers = self._options.providers if self._bundle.manifest.format == "onnx" else None
        return Predictor.load(self._bundle, providers=providers, threads=1, heads=())

    def _engine(self) -> str:
        manifest = self._bundle.manifest
        with self._predictor() as predictor:
            engine = predictor.engine
            return f"{manifest.format} {manifest.recipe.name} ({engine.name} {engine.version}, {engine.kernels})"


def _scores(head: Head, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return get_decoder(head.task.kind).to_scores(head.logits(features), head.task)


def _at_temperature_1(head: Head) -> Head:
    return replace(head, task=replace(head.task, temperature=1.0))
