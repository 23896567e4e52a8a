"""One head of a split bundle: trained on deployed features, calibrated on validation, and what it can be told by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgetransfer
from edgetransfer.data import Dataset
from edgetransfer.errors import DataError
from edgetransfer.pipeline.head_curve import curve_of
from edgetransfer.pipeline.head_question import SINGLE_LABEL, HeadWish, question_of, refuse_unfit
from edgetransfer.pipeline.head_training import training_json
from edgetransfer.pipeline.head_work import LEAST_VALIDATION, Fitted, HeadWork
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.split_backbone import SplitBackbone
from edgetransfer.spec.head import Head
from edgetransfer.spec.learning_curve import LearningCurve
from edgetransfer.spec.memory import Memory
from edgetransfer.spec.task_report import AnyTaskReport
from edgetransfer.train.confidence import fit_outliers
from edgetransfer.train.few import FewFit
from edgetransfer.train.pooling import PoolFit
from edgetransfer.train.temperature import with_temperature

__all__ = ["HeadWish", "TrainedHead", "head_json", "rejected", "train_head_on"]


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A head, and what is known of it before it is in a bundle.

    Attributes:
        head: As its file keeps it.
        chosen: What the validation split, or cross-validation, chose.
        floats: Split to how right the all-float model is; empty where none was trained.
        uncalibrated: Split to how right and how honest the head is at temperature 1; of one label of several alone.
        measured: The splits that have samples and that it was not trained on.
        trained_on: Those that it was trained on.
        few: How it was trained, where there were too few examples to choose by a validation split.
        float_few: The same of the all-float model.
        pooling: How windows are pooled and what was tried, where that was asked for.
        curve: What more data would bring; None where it was not worked out.
        no_curve: Why not, "" where nobody asked.
        rejected: The share of the test split that it rejects, 0 to 1; None where it rejects nothing or there is none.
    """

    head: Head
    chosen: Mapping[str, Any]
    floats: Mapping[str, AnyTaskReport]
    uncalibrated: Mapping[str, AnyTaskReport]
    measured: tuple[str, ...] = ("val", "test")
    trained_on: tuple[str, ...] = ("train",)
    few: FewFit | None = None
    float_few: FewFit | None = None
    pooling: PoolFit | None = None
    curve: LearningCurve | None = None
    no_curve: str = ""
    rejected: float | None = None


def train_head_on(
    backbone: SplitBackbone,
    dataset: Dataset,
    wish: HeadWish,
    options: BuildOptions,
    *,
    reject: float | None,
    teachable: bool,
    watcher: Watcher,
) -> TrainedHead:
    """Return a head trained on the features that `backbone` gives for `dataset`.

    Args:
        backbone: Whose features.
        dataset: With a train split; val chooses, but where examples are too few they all train and each is left out
            in turn. test is only measured on.
        wish: Its name, and what the data cannot say.
        options: How to train.
        reject: Share of inputs like the training data that may be rejected as unlike it, 0 to 1; None never rejects.
        teachable: Keep features of a few validation samples in the head, which learning on the device needs.
        watcher: Is told the stages.

    Raises:
        RecipeError: what this kind of task, or of input, cannot have.
        DataError: an order or unit that does not fit; too few validation samples for what is asked.
    """
    question = question_of(wish, dataset)
    refuse_unfit(wish.name, question, reject=reject, teachable=teachable)
    if (teachable or reject is not None) and not dataset.split("val"):
        option = "--teachable" if teachable else "--reject"
        raise DataError(f"head {wish.name!r}: {option} needs validation samples, and there are none; add samples")
    if options.hidden is None:  # a linear head is some kilobytes, a hidden layer makes it hundreds
        options = replace(options, hidden=0)
    work = HeadWork(backbone, dataset, question, options, watcher, keep_val=teachable)
    trained = _trained(work, wish.name, backbone.fingerprint, reject, watcher, teachable=teachable)
    if question.kind == SINGLE_LABEL:
        curve, why = curve_of(*work.all_known(trained.head.pool), len(question.labels), options, watcher)
        trained = replace(trained, curve=curve, no_curve=why)
    trained = replace(trained, head=replace(trained.head, training=training_json(trained)))
    if options.float_reference and backbone.floats is not None:
        floats = HeadWork(backbone, dataset, question, options, watcher, keep_val=teachable, floats=True)
        reference = floats.fitted()
        reports = floats.reports(reference, reference.task, "float32 model")
        trained = replace(trained, floats=reports, float_few=reference.few)
    return trained


def _trained(
    work: HeadWork, name: str, fingerprint: str, reject: float | None, watcher: Watcher, *, teachable: bool
) -> TrainedHead:
    """Return the head that `work` trains, with honest scores and with what is asked for besides."""
    found = work.fitted()
    head = Head(
        name, found.task, found.layers, fingerprint, made_by=edgetransfer.__version__, pool=found.pool
    ).rounded()
    found = replace(found, layers=head.layers)  # what is measured is what is shipped
    single = found.task.kind == SINGLE_LABEL
    uncalibrated = work.reports(found, found.task, "temperature 1") if single else {}
    if "val" in work.unseen and len(work.val) >= LEAST_VALIDATION:
        logits = head.logits(work.features("val", found.pool))
        head = replace(head, task=with_temperature(head.task, logits, work.targets("val")))
    head = _with_extras(head, work, found, reject, watcher, teachable=teachable)
    return TrainedHead(
        head,
        found.chosen,
        {},
        uncalibrated,
        measured=work.unseen,
        trained_on=work.trained_on,
        few=found.few,
        pooling=found.pooling,
        rejected=rejected(head, work.features("test", found.pool)) if "test" in work.unseen else None,
    )


def _with_extras(
    head: Head, work: HeadWork, found: Fitted, reject: float | None, watcher: Watcher, *, teachable: bool
) -> Head:
    """Return `head` with what it rejects by and what it can be taught beside, where that is asked for."""
    train, val = work.features("train", found.pool), work.features("val", found.pool)
    if reject is not None:
        watcher.stage("learning what to reject")
        head = replace(head, outliers=fit_outliers(train, work.targets("train"), val, false_reject_rate=reject))
    if teachable:
        head = replace(head, memory=Memory.of(val, work.targets("val")))
    return head


def rejected(head: Head, features: NDArray[np.float32]) -> float | None:
    """Return the share of (n, D) features that `head` rejects; None if it never does."""
    if head.outliers is None:
        return None
    return float((head.outliers.score(features) > head.outliers.threshold).mean())


def head_json(trained: TrainedHead, size_bytes: int) -> dict[str, Any]:
    """Return what is known of a head as JSON values."""
    head = trained.head
    return {
        "name": head.name,
        "bytes": size_bytes,
        "task": head.task.to_json(),
        "chosen": dict(trained.chosen),
        "trained_on": list(trained.trained_on),
        "measured_on": list(trained.measured),
        "rejects": None if head.outliers is None else head.outliers.false_reject_rate,
        "float": {split: report.to_json() for split, report in trained.floats.items()},
        "temperature_1": {split: report.to_json() for split, report in trained.uncalibrated.items()},
        "training": dict(head.training),
    }
