"""How right a backbone is as the device will compute it: deployed, with a head fitted on what it then gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset
from edgetransfer.errors import BackboneError, DataError
from edgetransfer.evaluate import evaluate
from edgetransfer.features.deploy import deploy, float_backbone
from edgetransfer.features.extract import View, extract
from edgetransfer.models import backbones
from edgetransfer.pipeline.fitting import deploy_to_fit
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import head_options, labels_of, resolve_plan
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.train.fit import fit


@dataclass(frozen=True, slots=True)
class DeployedBackbone:
    """A backbone on the recipe's graph, and the linear head that validation chose on its features.

    Attributes:
        graph: The deployed backbone.
        spec: How an image becomes its input.
        head: On its features.
        reports: Split to how right they are together.
        features: Split to what the graph gives, (n, D).
    """

    graph: bytes
    spec: ImageInput
    head: tuple[Dense, ...]
    reports: Mapping[str, EvalReport]
    features: Mapping[str, NDArray[np.float32]] = field(repr=False)


def deployed_backbone(
    options: BuildOptions,
    dataset: Dataset,
    title: str,
    watcher: Watcher,
    *,
    spec: ImageInput | None = None,
    calibrated_on: Dataset | None = None,
) -> DeployedBackbone:
    """Deploy the backbone of `options`, fit a linear head on its features, and measure both on validation and test.

    Args:
        options: Backbone, recipe, device, format, fit, and how the head is trained.
        dataset: Of images, with a training and a validation split; test is only measured on.
        title: What the figures are called.
        watcher: Is told the stages.
        spec: How an image becomes the input, where that is settled; None: as `build` would choose.
        calibrated_on: Data whose training split sets the ranges; None: that of `dataset`.

    Raises:
        EdgetransferError: the plan cannot be carried out.
    """
    plan = resolve_plan(options)
    watcher.stage(f"deploying {title} ({plan.recipe.name})")
    backbone = float_backbone(options.backbone, plan.format)
    train = (calibrated_on or dataset).split("train")
    if spec is None:
        graph, wanted, _ = deploy_to_fit(backbone, plan, train, dataset, options, watcher)
    else:
        graph, wanted = deploy(backbone, plan.recipe, train, spec), spec
    watcher.stage(f"computing features of {title}")
    tables = _features(graph, dataset, wanted, plan.engine, options, watcher)
    watcher.stage(f"training the head on {title}")
    labels = {split: labels_of(dataset.split(split), dataset.labels) for split in tables}
    head, reports = fitted(tables, labels, dataset.labels, title, options, watcher)
    return DeployedBackbone(graph, wanted, head, reports, tables)


def fitted(
    tables: Mapping[str, NDArray[np.float32]],
    labels: Mapping[str, NDArray[np.int64]],
    names: Sequence[str],
    title: str,
    options: BuildOptions,
    watcher: Watcher,
) -> tuple[tuple[Dense, ...], dict[str, EvalReport]]:
    """Return the linear head that validation chose, and how right it is on validation and test.

    Args:
        tables: Split to features (n, D); "train" and "val", and "test" where there is one.
        labels: Split to label numbers (n,).
        names: Of the labels.
        title: What the figures are called.
        options: How the head is trained.
        watcher: Is told the epochs.
    """
    found = fit(
        (tables["train"], labels["train"]),
        (tables["val"], labels["val"]),
        len(names),
        head_options(replace(options, hidden=0)),
        progress=watcher.step,
    )
    task = Task("single_label", tuple(names))
    reports: dict[str, EvalReport] = {}
    for split in ("val", "test"):
        if split in tables:
            scores = get_decoder(task.kind).to_scores(apply_head(found.head, tables[split]), task)
            reports[split] = evaluate(scores, labels[split], task.labels, split=split, artifact=title)
    return found.head, reports


def check_images(options: BuildOptions, dataset: Dataset | None = None) -> None:
    """Refuse what has no backbone of images, or data without the splits that tuning needs.

    Raises:
        BackboneError: the backbone looks at something else.
        DataError: there is no training or no validation split, or a label without training images.
    """
    given = backbones.input_of(options.backbone)
    if given is not None:
        raise BackboneError(
            f"backbone {options.backbone.name!r}: looks at {given.kind}; so far only backbones of images can be tuned"
        )
    if dataset is None:
        return
    for split in ("train", "val"):
        if not dataset.split(split):
            raise DataError(f"data: expected images to {'train on' if split == 'train' else 'choose by'}, got none")


def _features(
    graph: bytes, dataset: Dataset, spec: ImageInput, engine: str, options: BuildOptions, watcher: Watcher
) -> dict[str, NDArray[np.float32]]:
    counts: list[tuple[str, list[Any]]] = [
        (split, [View(sample) for sample in dataset.split(split)]) for split in ("train", "val", "test")
    ]
    views = [view for _, some in counts for view in some]
    table = extract(graph, views, spec, engine=engine, workers=options.workers, progress=watcher.step).real
    found, begin = {}, 0
    for split, some in counts:
        if some:
            found[split] = table[begin : begin + len(some)]
        begin += len(some)
    return found
