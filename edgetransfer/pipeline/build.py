"""All stages in order: from a folder of photos to a verified bundle and a table that says what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset
from edgetransfer.errors import ExportError, OutputError
from edgetransfer.estimate.latency import Prediction
from edgetransfer.estimate.memory import Memory
from edgetransfer.evaluate import check_labels, evaluate, evaluate_bundle
from edgetransfer.export import get_exporter
from edgetransfer.features.deploy import float_backbone, float_graph, load_keras
from edgetransfer.features.extract import View, extract, model_input
from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline import export as exporting
from edgetransfer.pipeline import train as training
from edgetransfer.pipeline.export import ExportOptions, Measured, export
from edgetransfer.pipeline.forecast import forecast_bundle, forecast_memory
from edgetransfer.pipeline.gates import Gate, check_names
from edgetransfer.pipeline.gates import as_text as gates_as_text
from edgetransfer.pipeline.local import local_choice
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.placement import Placement, place_bundle, placements_as_text
from edgetransfer.pipeline.reports import PlanReport, TrainReport, accuracy_cells
from edgetransfer.pipeline.train import plan_build, train
from edgetransfer.profile import profile
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.dense import apply_head
from edgetransfer.spec.device import load_device
from edgetransfer.spec.manifest import SplitMetric
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.report import EvalReport, ProfileReport, VerifyReport
from edgetransfer.spec.task import Task
from edgetransfer.transfer.adaptation import Adaptation
from edgetransfer.verify import verify

OUTPUT_PHOTOS = 64  # looked at for outputs that are saturated or always the same

__all__ = ["BuildReport", "PlanReport", "TrainReport", "build", "evaluate_float", "export", "plan_build", "train"]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built: the bundle, its figures on each split, the float model's beside them, its speed here."""

    bundle: Bundle
    train: TrainReport
    exported: Mapping[str, EvalReport]
    floats: Mapping[str, EvalReport]
    verified: VerifyReport
    profiled: ProfileReport
    gates: tuple[Gate, ...]
    predicted: Prediction | None = None
    memory: Memory | None = None
    placements: tuple[Placement, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "bundle": str(self.bundle.path),
            "sha256": self.bundle.sha256,
            "train": self.train.to_json(),
            "exported": {split: report.to_json() for split, report in self.exported.items()},
            "float": {split: report.to_json() for split, report in self.floats.items()},
            "verified": self.verified.to_json(),
            "profile": self.profiled.to_json(),
            "predicted": None if self.predicted is None else self.predicted.to_json(),
            "memory": None if self.memory is None else self.memory.to_json(),
            "accelerators": [one.to_json() for one in self.placements],
            "gates": [gate.to_json() for gate in self.gates],
        }

    def as_text(self) -> str:
        """Return the report for people: one table, and what to type next."""
        manifest = self.bundle.manifest
        rows = [self._row("float32", self.floats), self._row(manifest.recipe.name, self.exported)]
        lines = [
            self.train.as_text(),
            "",
            f"{'model':<14}{'validation':>12}{'test':>10}   95 % interval of test",
            *[row for row in rows if row],
            *self._cost(),
            "",
            f"bytes          {self.profiled.model_bytes:,} ({manifest.recipe.name} model file)",
            f"latency here   {self.profiled.one_thread.p50_ms:.2f} ms an image on one thread "
            f"({self.profiled.engine} {self.profiled.engine_version})",
            *([] if self.predicted is None else [f"latency there  {self.predicted.as_text()}"]),
            *placements_as_text(self.placements, f"{'or there':<15}"),
            *([] if self.memory is None else [f"memory         {self.memory.as_text()}"]),
            f"verified       {'yes' if self.verified.passed else 'NO'}",
            *gates_as_text(self.gates),
            f"bundle         {self.bundle.path}",
            "",
            f"next:  edgetransfer run {self.bundle.path} PHOTO",
            f"       scp -r {self.bundle.path} DEVICE:    then there:    edgetransfer verify {self.bundle.path.name}",
            "in an app:",
            "       from edgetransfer.runtime import Predictor",
            f'       result = Predictor.load("{self.bundle.path}").predict(frame)',
        ]
        return "\n".join(lines)

    @staticmethod
    def _row(name: str, reports: Mapping[str, EvalReport]) -> str:
        if not reports:
            return ""
        val, test, interval = accuracy_cells(reports)
        return f"{name:<14}{val:>12}{test:>10}   {interval}"

    def _cost(self) -> list[str]:
        test, reference = self.exported.get("test"), self.floats.get("test")
        if test is None or reference is None:
            return []
        points = (test.accuracy - reference.accuracy) * 100
        return [f"{self.bundle.manifest.recipe.name} minus float32: {points:+.1f} points of test accuracy"]


def build(
    options: BuildOptions,
    output: Path,
    *,
    run: Path | None = None,
    how: ExportOptions | None = None,
    adaptation: Adaptation | None = None,
    watcher: Watcher | None = None,
) -> BuildReport:
    """Carry out all stages and write the bundle `output`.

    Args:
        options: What to build from what.
        output: NAME.bundle; goes to the device.
        run: Where the run is kept, which stays at the desk; None: NAME.run beside the bundle.
        how: What the bundle is to be like; its golden samples are those of `options`.
        adaptation: Another domain than the data's that the head is for; None: it is for the data's own.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: what went wrong, and what to do; the old bundle is then still whole.
    """
    watcher, how = watcher or Silent(), how or ExportOptions()
    run = _place_of_run(output, run)
    check_names(how.allow)
    training.refuse_existing(output, holds="manifest.json", force=how.force)
    training.refuse_existing(run, holds="run.json", force=how.force)
    stages = training.Training(options, watcher, adaptation)
    trained, report, dataset = stages.run(run)
    stages.save(trained, run, unfinished=True)  # an interruption from here on leaves a run without its bundle
    floats = _float_reports(stages, trained, dataset, watcher)
    exported: dict[str, EvalReport] = {}

    def measure(bundle: Bundle) -> Measured:
        for split in ("val", "test"):
            if dataset.split(split):
                watcher.stage(f"evaluating the bundle ({split} split)")
                found = evaluate_bundle(
                    bundle, dataset, split, providers=(), workers=options.workers, progress=watcher.step
                )
                if isinstance(found, EvalReport):  # always: a head inside of the graph gives one label of several
                    exported[split] = found
        metrics = {split: SplitMetric(found.accuracy, found.samples) for split, found in exported.items()}
        pair = (floats["val"].accuracy, exported["val"].accuracy) if "val" in floats and "val" in exported else None
        return Measured(metrics, _some_outputs(bundle, dataset), pair, len(dataset.split("val")))

    device = None if options.device is None else load_device(options.device)
    bundle, gates = exporting.write(trained, output, how, watcher=watcher, measure=measure, device=device)
    watcher.stage("verifying")
    verified = verify(bundle, providers=())
    if not verified.passed:
        raise ExportError(f"bundle {str(output)!r} does not verify on the machine that built it:\n{verified.as_text()}")
    (run / training.UNFINISHED).unlink()
    watcher.stage("profiling")
    profiled = profile(bundle, providers=(), seconds=0.1)
    predicted = None if device is None else forecast_bundle(bundle, device)
    placements = () if device is None else place_bundle(bundle, device)
    memory = forecast_memory(bundle)
    return BuildReport(bundle, report, exported, floats, verified, profiled, gates, predicted, memory, placements)


def _place_of_run(output: Path, run: Path | None) -> Path:
    run = run or output.with_name(output.name.removesuffix(".bundle") + ".run")
    if run.resolve() == output.resolve():
        raise OutputError(f"output {str(output)!r}: the run would go there too; end --output in .bundle or give --run")
    return run


def _some_outputs(bundle: Bundle, dataset: Dataset) -> NDArray[Any] | None:
    """Return the bundle's stored outputs on some validation photos, (n, C); None where there are none."""
    some = sorted(dataset.split("val") or dataset.split("train"), key=lambda sample: sample.sha256)[:OUTPUT_PHOTOS]
    if not some:
        return None
    with Predictor.load(bundle, providers=(), threads=1) as predictor:
        spec = bundle.manifest.image
        images = [read_image(sample.path, channels=spec.channels) for sample in some]
        return np.concatenate([predictor.run(prepare(image, spec)) for image in images])


def evaluate_float(run: Path, dataset: Dataset, split: str, *, watcher: Watcher | None = None) -> EvalReport:
    """Return how right the float Keras model of `run` is on a split.

    The model is the frozen float backbone, in Keras, with the head that was trained on its features; where the run
    has no such head (`--no-float-reference`), with the head that was shipped.

    Raises:
        BundleError: `run` is no run.
        DataError: other labels than the run's.
    """
    from edgetransfer.models.heads.single_label import keras_head

    watcher = watcher or Silent()
    trained = TrainedModel.load(run)
    about = trained.description
    task, spec = Task.from_json(about["task"]), ImageInput.from_json(about["preprocess"])
    check_labels(task.labels, dataset.labels)
    watcher.stage("loading the Keras backbone")
    model = load_keras(local_choice(run))
    watcher.stage(f"evaluating the float model ({split} split)")
    normalisation = Normalisation(**about["backbone"]["normalisation"])
    features = _keras_features(model, dataset.split(split), spec, normalisation, watcher)
    logits = np.asarray(keras_head(trained.float_head or trained.head)(features))
    return _report(logits, dataset, split, task, "float Keras model")


def _float_reports(
    stages: training.Training, trained: TrainedModel, dataset: Dataset, watcher: Watcher
) -> dict[str, EvalReport]:
    """Score the all-float model: the float32 graph, which is Keras's but for rounding, and its own head."""
    if trained.float_head is None:
        return {}
    about = trained.description
    task, spec = Task.from_json(about["task"]), ImageInput.from_json(about["preprocess"])
    graph = float_graph(float_backbone(stages.options.backbone, stages.plan.format))
    reports = {}
    for split in ("val", "test"):
        samples = dataset.split(split)
        if not samples:
            continue
        watcher.stage(f"evaluating the float model ({split} split)")
        views = [View(sample) for sample in samples]
        features = extract(
            graph,
            views,
            spec,
            engine=get_exporter(stages.plan.format).FLOAT_ENGINE,
            workers=stages.options.workers,
            progress=watcher.step,
        ).real
        reports[split] = _report(apply_head(trained.float_head, features), dataset, split, task, "float32 model")
    return reports


def _report(logits: Any, dataset: Dataset, split: str, task: Task, artifact: str) -> EvalReport:
    scores = get_decoder(task.kind).to_scores(logits, task)
    labels = training.labels_of(dataset.split(split), task.labels)
    return evaluate(scores, labels, task.labels, split=split, artifact=artifact)


def _keras_features(
    model: Any, samples: Any, spec: ImageInput, normalisation: Normalisation, watcher: Watcher, batch: int = 32
) -> Any:
    rows = []
    for start in range(0, len(samples), batch):
        some = samples[start : start + batch]
        real = normalisation.to_real(np.stack([model_input(View(sample), spec) for sample in some]))
        rows.append(np.asarray(model(real, training=False)))
        watcher.step(start + len(some), len(samples))
    return np.concatenate(rows)
