"""Builds a split bundle: one backbone whose graph ends in features, and any number of heads outside of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import edgetransfer
from edgetransfer.data import TASKS, Dataset
from edgetransfer.errors import DataError, ExportError
from edgetransfer.evaluate import evaluate_bundle
from edgetransfer.export import get_exporter
from edgetransfer.pipeline import gates
from edgetransfer.pipeline.export import ExportOptions, licences, model_info
from edgetransfer.pipeline.forecast import forecast_bundle, forecast_memory
from edgetransfer.pipeline.golden import own_raws, recorded, synthetic_raws
from edgetransfer.pipeline.head_question import HeadWish, question_of, refuse_unfit
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.placement import place_bundle
from edgetransfer.pipeline.split_backbone import (
    Deployed,
    SplitBackbone,
    backbone_of,
    check_options,
    deploy_for,
)
from edgetransfer.pipeline.split_head import TrainedHead, train_head_on
from edgetransfer.pipeline.split_report import HeadReport, HeadRow, SplitReport
from edgetransfer.pipeline.train import read_data, refuse_existing
from edgetransfer.pipeline.versions import versions
from edgetransfer.profile import profile
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.heads import write_head
from edgetransfer.spec.atomic import refuse_place
from edgetransfer.spec.bundle import Bundle, write_bundle
from edgetransfer.spec.device import Device, load_device
from edgetransfer.spec.head import HEAD_SUFFIX
from edgetransfer.spec.manifest import BackboneInfo, DataInfo, GoldenInfo, HeadInfo, Manifest, SplitMetric
from edgetransfer.spec.model_input import channels_of
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.spec.task import EMBEDDING, Task
from edgetransfer.spec.task_report import AnyTaskReport, MultiLabelReport, OrdinalReport, RegressionReport, figures_of
from edgetransfer.verify import verify


def build_split(
    options: BuildOptions,
    wishes: Sequence[HeadWish],
    output: Path,
    *,
    reject: float | None = None,
    teachable: bool = False,
    how: ExportOptions | None = None,
    watcher: Watcher | None = None,
) -> SplitReport:
    """Carry out all stages and write the split bundle `output`.

    Args:
        options: As for `build`; `data` is not looked at.
        wishes: The heads, each with its own data; the backbone is calibrated on all of them together.
        output: NAME.bundle.
        reject: Share of inputs like the training data that may be rejected as unlike it, 0 to 1; None never rejects.
        teachable: Let heads be taught on the device: they carry features of a few validation samples for it.
        how: Golden samples, gates that may fail, --force.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: bad data, a plan that cannot be carried out, a gate that fails, an output that exists.
    """
    watcher, how = watcher or Silent(), how or ExportOptions()
    check_options(options)
    gates.check_names(how.allow)
    refuse_existing(output, holds="manifest.json", force=how.force)
    _check_names(wishes)
    datasets = [_read(options, wish, watcher) for wish in wishes]
    for wish, dataset in zip(wishes, datasets, strict=True):
        refuse_unfit(wish.name, question_of(wish, dataset), reject=reject, teachable=teachable)
    deployed = deploy_for(options, datasets, watcher)
    trained = [
        train_head_on(deployed.backbone, dataset, wish, options, reject=reject, teachable=teachable, watcher=watcher)
        for wish, dataset in zip(wishes, datasets, strict=True)
    ]
    device = None if options.device is None else load_device(options.device)
    bundle, exported, passed = _written(deployed, trained, datasets, output, options, how, device, watcher)
    watcher.stage("verifying")
    verified = verify(bundle, providers=())
    if not verified.passed:
        raise ExportError(f"bundle {str(output)!r} does not verify on the machine that built it:\n{verified.as_text()}")
    watcher.stage("profiling")
    rows = _rows(bundle, trained, exported)
    return SplitReport(
        bundle=bundle,
        plan=deployed.plan,
        data={wish.name: dataset.report for wish, dataset in zip(wishes, datasets, strict=True)},
        heads=rows,
        verified=verified,
        profiled=profile(bundle, providers=(), seconds=0.1),
        gates=passed,
        predicted=None if device is None else forecast_bundle(bundle, device),
        placements=() if device is None else place_bundle(bundle, device),
        memory=forecast_memory(bundle),
    )


def train_head(
    bundle: Bundle,
    wish: HeadWish,
    output: Path,
    options: BuildOptions,
    *,
    reject: float | None = None,
    teachable: bool = False,
    force: bool = False,
    watcher: Watcher | None = None,
) -> HeadReport:
    """Train a head for the backbone inside `bundle` and write it as the file `output`; the bundle is not touched.

    Raises:
        EdgetransferError: bad data, a bundle with its head inside the graph, an output that exists.
    """
    watcher = watcher or Silent()
    refuse_place(output, force=force)
    backbone = backbone_of(bundle)
    dataset = _read(options, wish, watcher, kind=backbone.spec.kind, channels=channels_of(backbone.spec))
    trained = train_head_on(backbone, dataset, wish, options, reject=reject, teachable=teachable, watcher=watcher)
    exported = _evaluated(bundle, trained, dataset, watcher)
    trained = _with_metrics(trained, exported)
    size_bytes = write_head(output, trained.head)
    row = HeadRow(trained, exported, size_bytes, trained.rejected)
    return HeadReport(output, bundle, dataset.report, row)


def _read(options: BuildOptions, wish: HeadWish, watcher: Watcher, **asked: Any) -> Dataset:
    watcher.stage(f"reading {wish.data}")
    return read_data(options, wish.data, watcher, tasks=TASKS, few=True, **asked)


def _check_names(wishes: Sequence[HeadWish]) -> None:
    names = [wish.name for wish in wishes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise DataError(f"heads: expected at least one, each with a name of its own, got {', '.join(names) or 'none'}")


def _written(
    deployed: Deployed,
    trained: Sequence[TrainedHead],
    datasets: Sequence[Dataset],
    output: Path,
    options: BuildOptions,
    how: ExportOptions,
    device: Device | None,
    watcher: Watcher,
) -> tuple[Bundle, list[dict[str, AnyTaskReport]], tuple[gates.Gate, ...]]:
    """Write the bundle aside, measure each head in it, check the gates, and write it with the figures."""
    watcher.stage("exporting the bundle")
    manifest, files = _assemble(deployed, trained, datasets, output.name.removesuffix(".bundle"), options, how)
    aside = output.parent / f".{output.name}.unmeasured"
    try:
        bundle = write_bundle(aside, manifest, files, force=True)
        exported = [_evaluated(bundle, one, dataset, watcher) for one, dataset in zip(trained, datasets, strict=True)]
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    heads = []
    for info, one, found in zip(manifest.heads, trained, exported, strict=True):
        files[info.file] = _with_metrics(one, found).head.to_bytes()
        heads.append(info._replace(metrics=_accuracies(found)))
    passed = gates.check(_candidate(bundle.manifest, files, trained, exported, device), how.allow)
    manifest = replace(manifest, heads=tuple(heads), allowed=gates.allowed_names(passed))
    return write_bundle(output, manifest, files, force=how.force), exported, passed


def _candidate(
    manifest: Manifest,
    files: Mapping[str, bytes],
    trained: Sequence[TrainedHead],
    exported: Sequence[Mapping[str, AnyTaskReport]],
    device: Device | None,
) -> gates.Candidate:
    """Return what the gates look at; of the heads' figures that of the head which lost the most."""
    compared = [one for pair in zip(trained, exported, strict=True) if (one := _compared(*pair)) is not None]
    worst = max(compared, key=lambda one: one.reference - one.exported, default=None)
    return gates.Candidate(
        model=files[manifest.model.file],
        manifest=manifest,
        labels_sha256="",
        accuracy=None if worst is None else (worst.reference, worst.exported),
        val_samples=0 if worst is None else worst.samples,
        measure="" if worst is None else worst.measure,
        device=device,
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """A figure, 1 at its best, of the float model and of the exported one, and what it was measured on."""

    measure: str
    reference: float
    exported: float
    samples: int


def _compared(trained: TrainedHead, exported: Mapping[str, AnyTaskReport]) -> _Compared | None:
    """Return what quantization cost a head by what its kind of task counts; None where nothing was compared.

    A head of few examples was trained on the validation split: it is compared on examples left out in turn.
    """
    few, floats = trained.few, trained.float_few
    if few is not None and floats is not None and few.accuracy is not None and floats.accuracy is not None:
        return _Compared(gates.LEFT_OUT, floats.accuracy, few.accuracy, few.left_out)
    if "val" not in trained.floats or "val" not in exported:
        return None
    measure, reference = _gated(trained.floats["val"])
    return _Compared(measure, reference, _gated(exported["val"])[1], exported["val"].samples)


def _gated(report: AnyTaskReport) -> tuple[str, float]:
    """Return what the accuracy gate looks at: its name, "" for accuracy itself, and its value, 1 at its best."""
    if isinstance(report, MultiLabelReport):
        return "mean average precision", report.mean_average_precision.value
    if isinstance(report, RegressionReport):
        return "R2", report.r2.value
    if isinstance(report, OrdinalReport):
        return "of the scale", 1 - report.mean_absolute_error.value / (len(report.labels) - 1)
    return "", report.accuracy


def _accuracies(found: Mapping[str, AnyTaskReport]) -> dict[str, SplitMetric]:
    """Return what the manifest tells of a head: accuracy, where its task has one; the head's file tells the rest."""
    figures = {split: figures_of(report) for split, report in found.items()}
    return {
        split: SplitMetric(one["accuracy"], int(one["samples"])) for split, one in figures.items() if "accuracy" in one
    }


def _with_metrics(trained: TrainedHead, found: Mapping[str, AnyTaskReport]) -> TrainedHead:
    metrics = {split: figures_of(report) for split, report in found.items()}
    return replace(trained, head=replace(trained.head, metrics=metrics))


def _assemble(
    deployed: Deployed,
    trained: Sequence[TrainedHead],
    datasets: Sequence[Dataset],
    name: str,
    options: BuildOptions,
    how: ExportOptions,
) -> tuple[Manifest, dict[str, bytes]]:
    plan, facts, backbone = deployed.plan, deployed.facts, deployed.backbone
    exporter = get_exporter(plan.format)
    files = {exporter.MODEL_FILE: backbone.graph, **deployed.assets}
    files |= {f"heads/{one.head.name}{HEAD_SUFFIX}": one.head.to_bytes() for one in trained}
    golden = _golden(backbone, datasets[0], how.golden or options.golden, files)
    stated, texts = licences(facts)
    counts = {split: sum(len(dataset.split(split)) for dataset in datasets) for split in ("train", "val", "test")}
    manifest = Manifest(
        edgetransfer=edgetransfer.__version__,
        name=name,
        model=model_info(exporter, backbone.graph, plan.providers),
        task=Task(EMBEDDING, ()),
        preprocess=backbone.spec,
        backbone=BackboneInfo(**{**facts, "normalisation": Normalisation(**facts["normalisation"])}),
        recipe=plan.recipe,
        data=DataInfo("+".join(dataset.fingerprint for dataset in datasets), counts),
        device=plan.device,
        golden=golden,
        licences=stated,
        versions=versions(),
        format=plan.format,
        heads=tuple(HeadInfo(one.head.name, f"heads/{one.head.name}{HEAD_SUFFIX}", {}) for one in trained),
    )
    return manifest, files | texts


def _golden(backbone: SplitBackbone, dataset: Dataset, kind: str, files: dict[str, bytes]) -> GoldenInfo | None:
    """Add golden samples of that kind to `files` and return what the manifest says of them; None for "none"."""
    if kind == "none":
        return None
    raws = own_raws(dataset, backbone.reader) if kind == "own" else synthetic_raws(backbone.spec, backbone.reader)
    prepared = [backbone.reader.prepare(raw)[0] for raw in raws]
    graph, engine_name = backbone.floats or (backbone.graph, backbone.engine)
    engine = open_engine(engine_name, graph, threads=1)
    wanted = np.concatenate([engine.run(one[None]) for one in prepared]).astype(np.float32)
    engine.close()
    samples, info = recorded(backbone.graph, raws, prepared, wanted, kind, backbone.engine)
    files[info.file] = samples.to_bytes()
    return info


def _evaluated(bundle: Bundle, trained: TrainedHead, dataset: Dataset, watcher: Watcher) -> dict[str, AnyTaskReport]:
    """Return how right a head is on the bundle's features, through all that the device does, on unseen splits."""
    found = {}
    for split in trained.measured:
        watcher.stage(f"evaluating head {trained.head.name} ({split} split)")
        found[split] = evaluate_bundle(bundle, dataset, split, providers=(), head=trained.head, progress=watcher.step)
    return found


def _rows(
    bundle: Bundle, trained: Sequence[TrainedHead], exported: Sequence[Mapping[str, AnyTaskReport]]
) -> tuple[HeadRow, ...]:
    infos = bundle.manifest.heads
    return tuple(
        HeadRow(_with_metrics(one, found), found, bundle.manifest.files[info.file].size_bytes, one.rejected)
        for one, found, info in zip(trained, exported, infos, strict=True)
    )
