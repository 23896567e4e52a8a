"""From data to a run: plan, deploy the backbone, extract features, train the head."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgetransfer
from edgetransfer.data import DataReport, Dataset, Sample, load_dataset
from edgetransfer.errors import BundleError, OutputError
from edgetransfer.features.deploy import FloatBackbone, deploy, float_backbone, float_graph
from edgetransfer.features.extract import View, extract
from edgetransfer.models import backbones
from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline.fitting import choose_fit
from edgetransfer.pipeline.golden import float_features, own_frames, synthetic_frames
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.quantize.plan import make_plan, plan_as_text
from edgetransfer.spec.atomic import write_atomically
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.device import load_device
from edgetransfer.spec.preprocess import Fit, ImageInput, Normalisation
from edgetransfer.spec.recipe import Plan
from edgetransfer.spec.task import Task
from edgetransfer.train.fit import Fit as HeadFit
from edgetransfer.train.fit import HeadOptions, fit

UNFINISHED = "unfinished"  # marks the run of a build that has not ended; the next one may replace it
LOCAL_FILE = "local.json"  # where the backbone lies on this machine; part of no hash
RANGE_FEATURES = 512  # training features that set the ranges of the head's activations


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What would be built from which data."""

    plan: Plan
    data_report: DataReport | None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        data = None if self.data_report is None else self.data_report.to_json()
        return {"plan": self.plan.to_json(), "data": data}

    def as_text(self) -> str:
        """Return the report for people."""
        parts = [plan_as_text(self.plan)]
        if self.data_report is not None:
            parts.append(self.data_report.as_text())
        return "\n\n".join(parts)


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What was trained, and how well it does on the validation split (in floats, before export)."""

    run: Path
    plan: Plan
    data_report: DataReport
    chosen: Mapping[str, float]
    candidates: tuple[Mapping[str, float], ...]
    fit: str
    fit_accuracy: Mapping[Fit, float]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "run": str(self.run),
            "plan": self.plan.to_json(),
            "data": self.data_report.to_json(),
            "chosen": dict(self.chosen),
            "candidates": [dict(row) for row in self.candidates],
            "fit": self.fit,
            "fit_val_accuracy": dict(self.fit_accuracy),
        }

    def as_text(self) -> str:
        """Return the report for people."""
        choice = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.chosen.items())
        tried = ", ".join(f"{name} {value:.1%}" for name, value in self.fit_accuracy.items())
        lines = [
            plan_as_text(self.plan, notes=False),
            f"notes     {len(self.plan.notes)} on why, and on what the device leaves unused: edgetransfer plan",
            "",
            self.data_report.as_text(),
            "",
            f"images meet the square by: {self.fit}"
            + (f" (quick head, each image left out in turn: {tried})" if tried else ""),
            f"head: {choice} (of {len(self.candidates)} tried)",
            f"run: {self.run}",
        ]
        return "\n".join(lines)


def plan_build(options: BuildOptions, *, watcher: Watcher | None = None) -> PlanReport:
    """Return what `build` would do; looks at the data, trains nothing.

    Raises:
        EdgetransferError: what cannot be built, and why.
    """
    plan = resolve_plan(options)
    return PlanReport(plan, _dataset(options, watcher or Silent()).report)


def resolve_plan(options: BuildOptions) -> Plan:
    """Return the plan for `options`, without looking at the data."""
    device = None if options.device is None else load_device(options.device)
    resolved = backbones.resolve(options.backbone)
    others = [backbones.get_spec(name) for name in backbones.names()]
    return make_plan(
        resolved.spec,
        options.recipe,
        device,
        alpha=resolved.alpha,
        input_px=resolved.height_px,
        alternatives=others,
    )


def train(options: BuildOptions, run: Path, *, force: bool = False, watcher: Watcher | None = None) -> TrainReport:
    """Train a head as `options` ask and write the run to the folder `run`.

    Raises:
        EdgetransferError: bad data, a plan that cannot be carried out, an output that exists.
    """
    refuse_existing(run, holds="run.json", force=force)
    training = Training(options, watcher or Silent())
    trained, report, _ = training.run(run)
    training.save(trained, run)
    return report


def refuse_existing(path: Path, *, holds: str, force: bool) -> None:
    """Refuse to write over `path`, before any work is done.

    Args:
        path: The folder to write.
        holds: The file that says what it is: "manifest.json" or "run.json".
        force: Allow it where the folder is of that kind, is empty, or was left by an interrupted build.

    Raises:
        OutputError: something is there.
    """
    if not path.exists() or (path / UNFINISHED).is_file():
        return
    if not force:
        raise OutputError(f"output {str(path)!r}: exists already; choose another name or add --force to replace it")
    if not path.is_dir() or (any(path.iterdir()) and not (path / holds).is_file()):
        raise OutputError(f"output {str(path)!r}: has no {holds}, so --force does not replace it; choose another name")


def _dataset(options: BuildOptions, watcher: Watcher) -> Dataset:
    watcher.stage("reading the data")
    return load_dataset(
        options.data,
        seed=options.seed,
        near_duplicates="drop" if options.drop_near_duplicates else "report",
        progress=watcher.step,
        workers=options.workers,
    )


class Training:
    """One training run; the methods are the stages, in order."""

    def __init__(self, options: BuildOptions, watcher: Watcher) -> None:
        self.options, self.watcher = options, watcher
        self.plan = resolve_plan(options)

    def save(self, trained: TrainedModel, folder: Path, *, unfinished: bool = False) -> None:
        """Write the run; `unfinished` marks it as replaceable until its build has ended."""
        if unfinished:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / UNFINISHED).touch()
        trained.save(folder)
        _write_local_choice(folder, self.options.backbone)

    def run(self, folder: Path) -> tuple[TrainedModel, TrainReport, Dataset]:
        """Carry out the stages; `folder` is only named in the report."""
        dataset = _dataset(self.options, self.watcher)
        self.watcher.stage(f"exporting {self.plan.backbone}")
        backbone = float_backbone(self.options.backbone)
        deployed, spec, fit_accuracy = self._deployed(backbone, dataset)
        floats = float_graph(backbone)
        head_graph = floats if self.options.head_on == "float" else deployed
        result = self._head(head_graph, dataset, spec, "features")
        float_head = None
        if self.options.float_reference:
            float_head = self._head(floats, dataset, spec, "float features, for comparison").head
        frames = {"synthetic": synthetic_frames()} | (
            {"own": own_frames(dataset)} if self.options.golden == "own" else {}
        )
        trained = TrainedModel(
            description=self._description(backbone, dataset, spec, result),
            head=result.head,
            float_head=float_head,
            deployed=deployed,
            range_features=self._range_features(deployed, dataset, spec),
            golden={kind: float_features(floats, some, spec) for kind, some in frames.items()},
        )
        report = TrainReport(
            folder, self.plan, dataset.report, result.chosen, result.candidates, spec.fit, fit_accuracy
        )
        return trained, report, dataset

    def _deployed(self, backbone: FloatBackbone, dataset: Dataset) -> tuple[bytes, ImageInput, dict[Fit, float]]:
        """Deploy the backbone; unless the user said how images meet the square, try the ways with that graph."""
        train_samples = dataset.split("train")
        spec = ImageInput(backbone.height_px, backbone.width_px, self.options.fit or "squash")
        self.watcher.stage(f"quantizing ({self.plan.recipe.name})")
        deployed = deploy(backbone, self.plan.recipe, train_samples, spec)
        if self.options.fit is not None:
            return deployed, spec, {}
        self.watcher.stage("choosing how images meet the square")
        chosen, accuracy = choose_fit(deployed, dataset, spec, workers=self.options.workers, watcher=self.watcher)
        if chosen != spec:
            deployed = deploy(backbone, self.plan.recipe, train_samples, chosen)
        return deployed, chosen, accuracy

    def _range_features(self, deployed: bytes, dataset: Dataset, spec: ImageInput) -> NDArray[np.float32]:
        """Return what the deployed graph gives for some training images, whatever the head was trained on."""
        views = self._train_views(dataset)
        some = views[:: max(1, len(views) // RANGE_FEATURES)]
        return extract(deployed, some, spec, workers=self.options.workers).real

    def _train_views(self, dataset: Dataset) -> list[View]:
        numbers = range(self.options.augment + 1)
        return [View(sample, number, self.options.seed) for sample in dataset.split("train") for number in numbers]

    def _head(self, graph: bytes, dataset: Dataset, spec: ImageInput, title: str) -> HeadFit:
        options = self.options
        self.watcher.stage(f"computing {title}")
        train_views = self._train_views(dataset)
        val_views = [View(sample) for sample in dataset.split("val")]
        both = extract(
            graph, [*train_views, *val_views], spec, workers=options.workers, progress=self.watcher.step
        ).real
        tables = (both[: len(train_views)], both[len(train_views) :])
        labels = [labels_of([view.sample for view in views], dataset.labels) for views in (train_views, val_views)]
        self.watcher.stage("training the head")
        return fit(
            (tables[0], labels[0]),
            (tables[1], labels[1]),
            len(dataset.labels),
            self._head_options(),
            progress=self.watcher.step,
        )

    def _head_options(self) -> HeadOptions:
        asked = self.options
        base = HeadOptions(
            label_smoothing=asked.label_smoothing, balance=asked.balance, epochs=asked.epochs, seed=asked.seed
        )
        return replace(
            base,
            hidden=base.hidden if asked.hidden is None else (asked.hidden,),
            dropouts=asked.dropouts or base.dropouts,
            weight_decays=asked.weight_decays or base.weight_decays,
        )

    def _description(
        self, backbone: FloatBackbone, dataset: Dataset, spec: ImageInput, result: HeadFit
    ) -> dict[str, Any]:
        options = self.options
        device_advice = ("threads", "notes")  # advice for people; not part of what is built
        return {
            "edgetransfer": edgetransfer.__version__,
            "plan": {key: value for key, value in self.plan.to_json().items() if key not in device_advice},
            "task": Task("single_label", dataset.labels).to_json(),
            "preprocess": spec.to_json(),
            "backbone": dict(backbone.facts),
            "head": {
                "on": options.head_on,
                "augment": options.augment,
                "balance": options.balance,
                "label_smoothing": options.label_smoothing,
                "epochs": options.epochs,
                "seed": options.seed,
                "chosen": result.chosen,
            },
            "golden": options.golden,
            "data": {
                "fingerprint": dataset.fingerprint,
                "counts": {name: len(dataset.split(name)) for name in ("train", "val", "test")},
            },
            "versions": versions(),
        }


def local_choice(run: Path) -> BackboneChoice:
    """Return which backbone the run in the folder `run` was trained on, with the paths of this machine.

    Raises:
        BundleError: the run does not say, or says it in a way that cannot be read.
    """
    try:
        kept = json.loads((run / LOCAL_FILE).read_text(encoding="utf-8"))
        weights, normalisation = kept["weights"], kept["normalisation"]
        return BackboneChoice(
            name=kept["name"],
            alpha=kept["alpha"],
            input_px=kept["input_px"],
            weights=None if weights is None else Path(weights),
            normalisation=None if normalisation is None else Normalisation(**normalisation),
        )
    except (OSError, ValueError, KeyError, TypeError) as trouble:
        raise BundleError(f"{run / LOCAL_FILE}: expected the run's backbone ({trouble}); train again") from trouble


def _write_local_choice(run: Path, choice: BackboneChoice) -> None:
    normalisation = None if choice.normalisation is None else choice.normalisation.to_json()
    kept = {
        "name": choice.name,
        "alpha": choice.alpha,
        "input_px": choice.input_px,
        "weights": None if choice.weights is None else str(choice.weights.resolve()),
        "normalisation": normalisation,
    }
    write_atomically(run / LOCAL_FILE, (json.dumps(kept, indent=2) + "\n").encode())


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what is built."""
    names = ("keras", "tensorflow", "tensorflow-cpu", "ai-edge-litert", "ai-edge-quantizer", "numpy", "pillow")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def labels_of(samples: Sequence[Sample], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the label numbers of `samples`, (n,) int64."""
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number[sample.label] for sample in samples], np.int64)
