"""One data set seen through one backbone: features, the way to train that suits their number, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset
from edgetransfer.errors import DataError, RecipeError
from edgetransfer.evaluate import evaluate_task
from edgetransfer.features.extract import View
from edgetransfer.pipeline.head_question import SINGLE_LABEL, Question
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.split_backbone import SplitBackbone
from edgetransfer.pipeline.train import head_options
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.attention import AttentionPool
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.task import Task
from edgetransfer.spec.task_report import AnyTaskReport
from edgetransfer.train.few import FewFit, fit_few
from edgetransfer.train.pooling import PoolFit, fit_pooling, pool_windows
from edgetransfer.train.tasks import TaskFit, fit_task

FEW = 20
"""Training examples a label below which the penalty is chosen by cross-validation: a validation split in its share
then has four of a label or fewer, too few to choose by. A rule of thumb, not measured."""
LEAST_VALIDATION = 50
"""Samples below which a validation split chooses nothing and no temperature is fitted to it: from 10 sentences one of
2.2 came out, and the calibration error on others rose from 0.02 to 0.15."""
MOST_FEW_WORK = 1e8
"""Examples times features times labels up to which cross-validation is taken where a validation split could choose as
well: 2.9e7 (1,500 examples, 256 features, 75 labels; made-up features) took 5.5 s on one core."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained head and its task, and how it came about: by `few` examples, with `pooling` of windows, or neither."""

    layers: tuple[Dense, ...]
    task: Task
    chosen: dict[str, Any]
    few: FewFit | None = None
    pooling: PoolFit | None = None

    @property
    def pool(self) -> AttentionPool | None:
        """What pools windows; None for their mean."""
        return None if self.pooling is None else self.pooling.pool


class HeadWork:
    """A data set seen through a backbone, by the deployed graph or by the float one."""

    def __init__(
        self,
        backbone: SplitBackbone,
        dataset: Dataset,
        question: Question,
        options: BuildOptions,
        watcher: Watcher,
        *,
        keep_val: bool = False,
        floats: bool = False,
    ) -> None:
        """Compute the features of training and validation.

        Args:
            backbone: Whose features.
            dataset: With a train split.
            question: What the head is asked.
            options: How to train.
            watcher: Is told the stages.
            keep_val: Never train on the validation split, however few examples there are.
            floats: Look through the float graph.
        """
        self._backbone, self._dataset, self._question = backbone, dataset, question
        self._options, self._watcher, self._floats = options, watcher, floats
        self._keep_val = keep_val
        self._pooled = options.pooling != "mean" and backbone.spec.kind == "audio"
        if options.pooling != "mean" and not self._pooled:
            raise RecipeError(
                f"--pooling {options.pooling}: {backbone.spec.kind} has one window only; it is for sounds, leave it out"
            )
        watcher.stage("computing float features, for comparison" if floats else "computing features")
        self.train = self._rows("train")
        self.val = self._rows("val")

    @property
    def by_few(self) -> bool:
        """Whether the head is trained by cross-validation, for there are too few examples to choose by a split."""
        options, labels = self._options, max(1, len(self._question.labels))
        asked = options.hidden or options.dropouts or options.weight_decays or options.loss or options.augment
        if self._question.kind != SINGLE_LABEL or asked or options.optimizer != "adam" or self._pooled:
            return False
        if len(self.val) and self._few_examples * self.train.shape[-1] * labels > MOST_FEW_WORK:
            return False
        return len(self.train) < FEW * labels or len(self.val) < LEAST_VALIDATION

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The splits that the head is trained on: train, and val where examples are few."""
        takes_val = self.by_few and not self._keep_val and len(self.val)
        return ("train", "val") if takes_val else ("train",)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The splits with samples that the head is not trained on."""
        return tuple(one for one in ("val", "test") if one not in self.trained_on and self._dataset.split(one))

    def targets(self, split: str) -> NDArray[Any]:
        """Return the answers of a split, see `data.targets_of`."""
        return self._question.targets(self._dataset.split(split))

    def features(self, split: str, pool: AttentionPool | None) -> NDArray[np.float32]:
        """Return the features (n, D) of a split, windows pooled by `pool`."""
        known = {"train": self.train, "val": self.val}
        rows = known[split] if split in known else self._rows(split)
        return pool_windows(rows, pool) if rows.ndim == 3 else rows

    def fitted(self) -> Fitted:
        """Return the head that does best on examples that it was not trained on.

        Raises:
            DataError: no validation samples where they are needed.
        """
        if self.by_few:
            return self._fitted_few()
        if not len(self.val):
            raise DataError(
                f"{self._dataset.report.source}: expected validation samples to choose a head of the kind "
                f"{self._question.kind} by, got none; add samples, or leave out what needs a choice: --order, "
                "--hidden, --dropout, --weight-decay, --loss, --optimizer, --augment, --pooling"
            )
        self._watcher.stage("training the head")
        train = self._views(), self._augmented_targets()
        val = self.val, self.targets("val")
        question, how, step = self._question, head_options(self._options), self._watcher.step
        if self._pooled:
            must = self._options.pooling == "attention"
            found = fit_pooling(
                question.kind, train, val, question.labels, how, unit=question.unit, must=must, progress=step
            )
            return Fitted(found.fit.head, found.fit.task, found.fit.chosen, pooling=found)
        one: TaskFit = fit_task(question.kind, train, val, question.labels, how, unit=question.unit, progress=step)
        return Fitted(one.head, one.task, one.chosen)

    def reports(self, found: Fitted, task: Task, artifact: str) -> dict[str, AnyTaskReport]:
        """Return how right the head of `found` is on the splits that it has not seen, its outputs read as `task`."""
        reports = {}
        for split in self.unseen:
            logits = apply_head(found.layers, self.features(split, found.pool))
            scores = get_decoder(task.kind).to_scores(logits, task)
            samples = self._dataset.split(split)
            reports[split] = evaluate_task(scores, samples, task, split=split, artifact=artifact)
        return reports

    def all_known(self, pool: AttentionPool | None = None) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return features, windows pooled by `pool`, and answers of training and validation samples together."""
        parts = [split for split in ("train", "val") if self._dataset.split(split)]
        return (
            np.concatenate([self.features(split, pool) for split in parts]),
            np.concatenate([self.targets(split) for split in parts]),
        )

    @property
    def _few_examples(self) -> int:
        return len(self.train) + (0 if self._keep_val else len(self.val))

    def _fitted_few(self) -> Fitted:
        self._watcher.stage("training the head, each example left out in turn")
        features, labels = (self.train, self.targets("train")) if self._keep_val else self.all_known()
        options, question = self._options, self._question
        found = fit_few(features, labels, len(question.labels), balance=options.balance, seed=options.seed)
        chosen: dict[str, Any] = {"hidden": 0, "penalty": found.penalty}
        if found.accuracy is not None:
            chosen["left_out_accuracy"] = found.accuracy
        return Fitted(found.head, Task(SINGLE_LABEL, question.labels), chosen, few=found)

    def _rows(self, split: str, views: list[View] | None = None) -> NDArray[np.float32]:
        samples, workers = self._dataset.split(split), self._options.workers
        if not samples:
            return np.zeros((0, 0), np.float32)
        read = self._backbone.windows if self._pooled else self._backbone.features
        return read(samples, self._watcher, views=views, workers=workers, floats=self._floats)

    def _views(self) -> NDArray[np.float32]:
        options = self._options
        if not options.augment:
            return self.train
        numbers = range(options.augment + 1)
        views = [View(sample, n, options.seed) for sample in self._dataset.split("train") for n in numbers]
        return self._rows("train", views)

    def _augmented_targets(self) -> NDArray[Any]:
        return np.repeat(self.targets("train"), self._options.augment + 1, axis=0)
