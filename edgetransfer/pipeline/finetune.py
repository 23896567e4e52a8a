"""Tunes a backbone to the user's data and writes it as a file that `build` takes.

Tuning starts from the head that was trained on deployed features. What it gives is quantized anew, and a head is fitted
on what the deployed graph then computes, so that figures speak of what ships.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import write_backbone
from edgetransfer.pipeline.backbone_output import check_output, facts_of, tuned_options
from edgetransfer.pipeline.deployed import DeployedBackbone, check_images, deployed_backbone
from edgetransfer.pipeline.finetune_report import FinetuneReport
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.student import Student, check_quantization_aware, student_of
from edgetransfer.pipeline.train import labels_of, read_data, resolve_plan
from edgetransfer.pipeline.versions import versions
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.report import EvalReport
from edgetransfer.transfer.labels_lesson import LabelsLesson
from edgetransfer.transfer.precision import settled
from edgetransfer.transfer.replay import ReplayLesson, drawn_for_replay
from edgetransfer.transfer.tuning import Lesson, Tuned, TuneOptions, make_deterministic, tune
from edgetransfer.transfer.view_batches import ViewBatches

CHECKPOINT = ".checkpoint"
"""What the name of a backbone that is being tuned ends in, until it is done."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The task that a backbone knew before, and how much of it is trained on again.

    Attributes:
        data: Its images.
        share: Of all images that are trained on.
        compare: Also tune without it, to say what it brought; takes as long again.
    """

    data: Path
    share: float = 0.3
    compare: bool = False


def finetune(
    options: BuildOptions,
    how: TuneOptions,
    output: Path,
    *,
    quantization_aware: bool = False,
    replay: Replay | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> FinetuneReport:
    """Tune the backbone of `options` to its data and write it to the file `output`.

    A run that was interrupted goes on from its last epoch when the same is asked for again, to the same bytes on the
    same number of cores.

    Args:
        options: Data, backbone, and for what device and recipe; how heads are trained.
        how: How to tune.
        output: NAME.keras.
        quantization_aware: Let it compute in training as the integer graph will; batch norms are folded for good.
        replay: The task that the backbone knew before; some of it is trained on again, so that it is kept.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: bad data, a plan that cannot be carried out, an output that exists.
    """
    watcher = watcher or Silent()
    check_output(output, force=force)
    check_images(options)
    how = replace(how, precision=settled(how.precision, aware=quantization_aware))
    if quantization_aware:
        check_quantization_aware(options, how)
    watcher.stage("reading the data")
    dataset = read_data(options, options.data, watcher)
    check_images(options, dataset)
    make_deterministic(how.seed)
    before = deployed_backbone(options, dataset, "the backbone as it came", watcher)
    work = _Work(options, how, dataset, before, watcher, quantization_aware)
    old = None if replay is None else _OldTask(replay, options, dataset, before.spec, watcher)
    without = work.compared(output, old) if old is not None and old.replay.compare else {}
    tuned = work.tune(output, old)
    after = work.measure(output, "the tuned backbone", dataset)
    recipe = resolve_plan(options).recipe.name
    others = {} if old is None else old.rows(work.measure(output, "the tuned backbone on the old task", old.dataset))
    for path in (without_replay(output), checkpoint_of(without_replay(output)), checkpoint_of(output)):
        path.unlink(missing_ok=True)  # only now: a run that is killed goes on from them
    return FinetuneReport(
        output,
        work.name,
        recipe,
        dataset.report,
        before.reports,
        after,
        tuned,
        replayed=0 if old is None else len(old.samples),
        others=others | without,
    )


class _OldTask:
    """The old task's data and head, and the images of it that take part."""

    def __init__(
        self, replay: Replay, options: BuildOptions, dataset: Dataset, spec: ImageInput, watcher: Watcher
    ) -> None:
        watcher.stage("reading the data of the old task")
        self.replay = replay
        self.options = replace(options, data=replay.data)
        self.dataset = read_data(self.options, replay.data, watcher)
        check_images(self.options, self.dataset)
        known = {sample.sha256 for sample in dataset.samples}
        self.samples = drawn_for_replay(
            self.dataset.split("train"), len(dataset.split("train")), replay.share, known=known
        )
        title = "the backbone as it came on the old task"
        self.before = deployed_backbone(self.options, self.dataset, title, watcher, spec=spec, calibrated_on=dataset)

    @property
    def labels(self) -> NDArray[np.int64]:
        return labels_of(self.samples, self.dataset.labels)

    def rows(self, after: Mapping[str, EvalReport]) -> dict[str, Mapping[str, EvalReport]]:
        return {"old task, as it came": self.before.reports, "old task, tuned": after}


class _Work:
    """Tunes the backbone of the options, with or without the old task, each time from the start."""

    def __init__(
        self,
        options: BuildOptions,
        how: TuneOptions,
        dataset: Dataset,
        before: DeployedBackbone,
        watcher: Watcher,
        aware: bool,
    ) -> None:
        self._options, self._how, self._dataset = options, how, dataset
        self._before, self._watcher, self._aware = before, watcher, aware
        self.name = ""

    def tune(self, output: Path, old: _OldTask | None) -> Tuned:
        loaded = backbones.load(self._options.backbone)
        self.name = loaded.name
        student = student_of(
            loaded, self._dataset, self._before.spec, self._options, self._watcher, quantization_aware=self._aware
        )
        tuned = tune_on(
            self._lesson(student, old),
            loaded,
            self._before,
            self._dataset,
            self._options,
            self._how,
            output,
            self._watcher,
            more=() if old is None else old.samples,
            decides=[self._aware, None if old is None else old.dataset.fingerprint],
        )
        about: dict[str, Any] = {"data": self._dataset.fingerprint, **scalars_of(self._how)}
        if self._aware:
            about["quantization_aware"] = True
        if old is not None:
            about |= {"replay": old.dataset.fingerprint, "replay_share": old.replay.share}
        write_backbone(output, student.plain(), facts_of(loaded, self._options.backbone).then("finetune", **about))
        return tuned

    def compared(self, output: Path, old: _OldTask) -> dict[str, Mapping[str, EvalReport]]:
        """Return how right the backbone is on both tasks when it is tuned without the old one."""
        path = without_replay(output)
        self.tune(path, None)
        return {
            "tuned without replay": self.measure(path, "the backbone tuned without replay", self._dataset),
            "old task, tuned without replay": self.measure(path, "that one on the old task", old.dataset),
        }

    def measure(self, path: Path, title: str, dataset: Dataset) -> Mapping[str, EvalReport]:
        """Return how right the backbone in the file `path` is, deployed, with a head of its own for that data."""
        options = tuned_options(self._options, path)
        # Ranges are measured on the new task, which the device will see, so the graph is the same for both.
        return deployed_backbone(
            options, dataset, title, self._watcher, spec=self._before.spec, calibrated_on=self._dataset
        ).reports

    def _lesson(self, student: Student, old: _OldTask | None) -> Lesson:
        labels = labels_of(self._dataset.split("train"), self._dataset.labels)
        smoothing = self._how.label_smoothing
        if old is not None:
            heads = (self._before.head, old.before.head)
            return ReplayLesson(student.backbone, heads, (labels, old.labels), label_smoothing=smoothing)
        return LabelsLesson(
            student.backbone,
            self._before.head,
            labels,
            classes=len(self._dataset.labels),
            label_smoothing=smoothing,
        )


def tune_on(
    lesson: Lesson,
    loaded: backbones.Backbone,
    before: DeployedBackbone,
    dataset: Dataset,
    options: BuildOptions,
    how: TuneOptions,
    output: Path,
    watcher: Watcher,
    *,
    more: Sequence[Sample] = (),
    decides: Any = None,
) -> Tuned:
    """Tune the lesson's model on the training split, judged on the validation split; resumed where it was left.

    Args:
        lesson: What is learned.
        loaded: The backbone.
        before: What it was when deployed.
        dataset: Training and validation split.
        options: Of the build.
        how: How to tune.
        output: What is to be written; the checkpoint stands beside it.
        watcher: Is told the stages.
        more: Images to learn from after those of the training split; the lesson knows what they are for.
        decides: JSON values of what else decides the result, such as the lesson's own options.
    """
    watcher.stage(f"tuning {loaded.name} ({how.epochs} epochs)")
    samples = [*dataset.split("train"), *more]
    train = ViewBatches(samples, before.spec, loaded.normalisation, how.batch_size, how.seed, how.views, how.workers)
    val = replace(train, samples=dataset.split("val"), views=0)
    parts = [backbones.identity(options.backbone), dataset.fingerprint, before.spec.to_json(), asdict(how), versions()]
    parts += [type(lesson).__name__, hashlib.sha256(before.graph).hexdigest()]
    parts += [[sample.sha256 for sample in more], decides]
    fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return tune(
        lesson,
        train,
        (val, labels_of(dataset.split("val"), dataset.labels)),
        how,
        checkpoint=checkpoint_of(output),
        fingerprint=fingerprint,
        watcher=watcher,
    )


def checkpoint_of(output: Path) -> Path:
    """Return where the run that writes `output` keeps what it has reached."""
    return output.with_name(output.name + CHECKPOINT)


def without_replay(output: Path) -> Path:
    """Return where the backbone that is only compared with is, until all is measured."""
    return output.with_name(f"{output.stem}.without_replay.keras")


def scalars_of(how: TuneOptions) -> dict[str, str | float | bool | None]:
    """Return `how` as a file of a backbone remembers it."""
    found = asdict(how) | {"unfreeze": ", ".join(f"{share:g}" for share in how.unfreeze)}
    del found["workers"]  # says nothing about the weights
    return found
