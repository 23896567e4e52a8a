"""From data to a run: plan, deploy the backbone, extract features, train the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgetransfer
from edgetransfer.data import TASKS, Dataset, Sample, load_dataset
from edgetransfer.errors import DataError, OutputError
from edgetransfer.export import get_exporter
from edgetransfer.features.cost import KeptCost, kept_cost
from edgetransfer.features.deploy import Calibration, FloatBackbone, calibration, deploy, float_backbone, float_graph
from edgetransfer.features.extract import View, extract
from edgetransfer.features.noise import keep_in_floats, rank_ops
from edgetransfer.models import backbones
from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline.fitting import deploy_to_fit
from edgetransfer.pipeline.forecast import forecast_plan, why_unknown
from edgetransfer.pipeline.gates import labels_sha256
from edgetransfer.pipeline.golden import float_features, own_frames, synthetic_frames
from edgetransfer.pipeline.local import write_local_choice
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.placement import place_plan
from edgetransfer.pipeline.reports import PlanReport, TrainReport
from edgetransfer.pipeline.search import Candidate, Outcome, keep_budget
from edgetransfer.pipeline.trainable import check_budget, check_kind
from edgetransfer.pipeline.versions import versions
from edgetransfer.quantize.plan import make_plan
from edgetransfer.spec.device import load_device
from edgetransfer.spec.preprocess import Fit, ImageInput
from edgetransfer.spec.recipe import Plan, Recipe
from edgetransfer.spec.recipe_file import load_recipe
from edgetransfer.spec.task import Task
from edgetransfer.train.fit import Fit as HeadFit
from edgetransfer.train.fit import HeadOptions, fit
from edgetransfer.transfer.adaptation import Adaptation, fit_adapted

UNFINISHED = "unfinished"  # marks the run of a build that has not ended; the next one may replace it
TEXT_RECIPE = "dynamic_int8"
"""What sentences get where no recipe is named: activations of a transformer do not bear fixed 8-bit ranges."""
RANGE_FEATURES = 512  # training features that set the ranges of the head's activations


def plan_build(options: BuildOptions, *, watcher: Watcher | None = None) -> PlanReport:
    """Return what `build` would do; looks at the data, trains nothing.

    Raises:
        EdgetransferError: what cannot be built, and why.
    """
    watcher = watcher or Silent()
    plan = resolve_plan(options)
    device = None if options.device is None else load_device(options.device)
    given = backbones.input_of(options.backbone)
    watcher.stage("reading the data")
    data_report = read_data(options, options.data, watcher, tasks=TASKS, few=given is not None).report
    takes = None if given is None else given.summary
    if device is None or (why_unknown(device, plan.providers) and not device.accelerators):
        return PlanReport(plan, data_report, takes=takes)
    watcher.stage("predicting the latency")
    predicted = forecast_plan(plan, options.backbone, device)
    placements = place_plan(plan, options.backbone, device)
    return PlanReport(plan, data_report, predicted, device.max_latency_ms, placements, takes)


def resolve_plan(options: BuildOptions) -> Plan:
    """Return the plan for `options`, without looking at the data."""
    device = None if options.device is None else load_device(options.device)
    resolved = backbones.resolve(options.backbone)
    others = [spec for spec in map(backbones.get_spec, backbones.names()) if spec.kind == resolved.spec.kind]
    recipe = options.recipe or (TEXT_RECIPE if resolved.spec.kind == "text" else None)
    return make_plan(
        resolved.spec,
        None if recipe is None else load_recipe(recipe),
        device,
        format=options.format,
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
    if (path / "transfer.toml").is_file():
        raise OutputError(f"output {str(path)!r}: holds the run of a transfer; choose another name")
    if not force:
        raise OutputError(f"output {str(path)!r}: exists already; choose another name or add --force to replace it")
    if not path.is_dir() or (any(path.iterdir()) and not (path / holds).is_file()):
        raise OutputError(f"output {str(path)!r}: has no {holds}, so --force does not replace it; choose another name")


def _dataset(options: BuildOptions, watcher: Watcher) -> Dataset:
    watcher.stage("reading the data")
    return read_data(options, options.data, watcher)


def read_data(options: BuildOptions, path: Path, watcher: Watcher, *, kind: str | None = None, **asked: Any) -> Dataset:
    """Return the data in `path`, of that `kind` of input; None: of what the backbone of `options` looks at.

    `asked` are `tasks`, `few` and `channels` of `load_dataset`; the latter is otherwise the backbone's.

    Raises:
        DataError: it cannot be used, or is not the data that `options` speak of.
    """
    given = backbones.input_of(options.backbone) if kind is None else None
    asked.setdefault("channels", backbones.channels_of(options.backbone))
    found = load_dataset(
        path,
        kind=kind or ("image" if given is None else given.kind),
        seed=options.seed,
        near_duplicates="drop" if options.drop_near_duplicates else "report",
        progress=watcher.step,
        workers=options.workers,
        **asked,
    )
    if path == options.data and options.data_fingerprint not in (None, found.fingerprint):
        raise DataError(
            f"data {str(path)!r}: has fingerprint {found.fingerprint}, that of the run is {options.data_fingerprint}: "
            "other files, labels or splits (--seed makes other splits); tune again, or build without --from"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Shipped:
    """What goes to the device: the recipe as it was carried out, the graph, the head, and how a budget was kept."""

    recipe: Recipe
    deployed: bytes
    fit: HeadFit
    budget: Outcome | None = None
    cost: KeptCost | None = None


def _budget(options: BuildOptions, shipped: _Shipped, float_fit: HeadFit | None) -> dict[str, Any] | None:
    if options.max_drop is None or float_fit is None or shipped.budget is None:
        return None
    return {
        "max_drop": options.max_drop,
        "val_float": float_fit.chosen["val_accuracy"],
        "val_exported": shipped.budget.value,
        "evaluations": shipped.budget.evaluations,
        "kept": list(shipped.budget.kept),
    }


class Training:
    """One training run; the methods are the stages, in order."""

    def __init__(self, options: BuildOptions, watcher: Watcher, adaptation: Adaptation | None = None) -> None:
        """Look at the options; `adaptation` makes heads for another domain than the data's."""
        self.options, self.watcher, self.adaptation = options, watcher, adaptation
        check_kind(options)
        self.plan = resolve_plan(options)
        check_budget(options, self.plan)

    def save(self, trained: TrainedModel, folder: Path, *, unfinished: bool = False) -> None:
        """Write the run; `unfinished` marks it as replaceable until its build has ended."""
        if unfinished:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / UNFINISHED).touch()
        trained.save(folder)
        write_local_choice(folder, self.options.backbone)

    def run(self, folder: Path) -> tuple[TrainedModel, TrainReport, Dataset]:
        """Carry out the stages; `folder` is only named in the report."""
        dataset = _dataset(self.options, self.watcher)
        self.watcher.stage(f"exporting {self.plan.backbone} ({self.plan.format})")
        backbone = float_backbone(self.options.backbone, self.plan.format)
        deployed, spec, fit_accuracy = self._deployed(backbone, dataset)
        floats = float_graph(backbone)
        float_fit = None
        if self.options.float_reference or self.options.max_drop is not None:
            float_fit = self._head(floats, dataset, spec, "float features, for comparison", engine=self._float_engine)
        shipped = _Shipped(self.plan.recipe, deployed, self._shipped_head(deployed, floats, dataset, spec))
        if self.options.max_drop is not None and float_fit is not None:
            shipped = self._within_budget(shipped, backbone, float_fit, dataset, spec)
        frames = {"synthetic": synthetic_frames(spec.channels)} | (
            {"own": own_frames(dataset, spec.channels)} if self.options.golden == "own" else {}
        )
        trained = TrainedModel(
            description=self._description(backbone, dataset, spec, shipped, float_fit),
            head=shipped.fit.head,
            float_head=None if float_fit is None else float_fit.head,
            deployed=shipped.deployed,
            range_features=self._range_features(shipped.deployed, dataset, spec),
            golden={kind: float_features(floats, some, spec, self._float_engine) for kind, some in frames.items()},
        )
        report = TrainReport(
            folder,
            replace(self.plan, recipe=shipped.recipe),
            dataset.report,
            shipped.fit.chosen,
            shipped.fit.candidates,
            spec.fit,
            fit_accuracy,
            shipped.budget,
            shipped.cost,
        )
        return trained, report, dataset

    def _deployed(self, backbone: FloatBackbone, dataset: Dataset) -> tuple[bytes, ImageInput, dict[Fit, float]]:
        """Deploy the backbone; unless the user said how images meet the square, try the ways with that graph."""
        self.watcher.stage(f"quantizing ({self.plan.recipe.name})")
        return deploy_to_fit(backbone, self.plan, self._calibrated_on(dataset), dataset, self.options, self.watcher)

    def _calibrated_on(self, dataset: Dataset) -> tuple[Sample, ...]:
        """Return what ranges are measured on: both domains, where there are two."""
        return (*dataset.split("train"), *(() if self.adaptation is None else self.adaptation.samples))

    def _range_features(self, deployed: bytes, dataset: Dataset, spec: ImageInput) -> NDArray[np.float32]:
        """Return what the deployed graph gives for some training images, whatever the head was trained on."""
        views = train_views(dataset, self.options)
        some = views[:: max(1, len(views) // RANGE_FEATURES)]
        return extract(deployed, some, spec, engine=self.plan.engine, workers=self.options.workers).real

    def _shipped_head(self, deployed: bytes, floats: bytes, dataset: Dataset, spec: ImageInput) -> HeadFit:
        if self.options.head_on == "float":
            return self._head(floats, dataset, spec, "float features", engine=self._float_engine)
        return self._head(deployed, dataset, spec, "features")

    def _within_budget(
        self, plain: _Shipped, backbone: FloatBackbone, float_fit: HeadFit, dataset: Dataset, spec: ImageInput
    ) -> _Shipped:
        """Keep ops in floats until the validation accuracy is within the budget of the float model's."""
        options, recipe = self.options, plain.recipe
        train_samples = self._calibrated_on(dataset)
        tried: dict[tuple[str, ...], _Shipped] = {(): plain}

        @cache
        def measured() -> Calibration:
            return calibration(backbone, train_samples, spec)

        def evaluate(names: tuple[str, ...]) -> float:
            kept = keep_in_floats(recipe, names)
            deployed = deploy(backbone, kept, train_samples, spec, measured())
            found = self._head(deployed, dataset, spec, f"features with {len(names)} ops kept in floats")
            tried[names] = _Shipped(kept, deployed, found)
            return found.chosen["val_accuracy"]

        def rank() -> list[Candidate]:
            self.watcher.stage("ranking ops by their quantization noise")
            ranked = rank_ops(backbone, recipe, measured(), progress=self.watcher.step)
            return [Candidate(op.name, float(op.macs)) for op in ranked]

        outcome = keep_budget(
            plain.fit.chosen["val_accuracy"],
            float_fit.chosen["val_accuracy"] - (options.max_drop or 0.0) / 100,
            rank,
            evaluate,
            most=options.max_evaluations,
        )
        found = tried[outcome.kept]
        cost = kept_cost(plain.deployed, found.deployed, self.plan.engine) if outcome.kept else None
        return replace(found, budget=outcome, cost=cost)

    @property
    def _float_engine(self) -> str:
        return get_exporter(self.plan.format).FLOAT_ENGINE

    def _head(
        self, graph: bytes, dataset: Dataset, spec: ImageInput, title: str, *, engine: str | None = None
    ) -> HeadFit:
        options = self.options
        self.watcher.stage(f"computing {title}")
        train = train_views(dataset, self.options)
        val_views = [View(sample) for sample in dataset.split("val")]
        both = extract(
            graph,
            [*train, *val_views],
            spec,
            engine=engine or self.plan.engine,
            workers=options.workers,
            progress=self.watcher.step,
        ).real
        tables = (both[: len(train)], both[len(train) :])
        labels = [labels_of([view.sample for view in views], dataset.labels) for views in (train, val_views)]
        splits = ((tables[0], labels[0]), (tables[1], labels[1]))
        heads, classes = head_options(options), len(dataset.labels)
        if self.adaptation is None:
            self.watcher.stage("training the head")
            return fit(*splits, classes, heads, progress=self.watcher.step)
        self.watcher.stage("computing features of the target domain")
        views = [View(sample) for sample in self.adaptation.samples]
        target = extract(graph, views, spec, engine=engine or self.plan.engine, workers=options.workers).real
        self.watcher.stage(f"training the head ({self.adaptation.way})")
        return fit_adapted(self.adaptation, *splits, target, classes, heads, progress=self.watcher.step).fit

    def _description(
        self,
        backbone: FloatBackbone,
        dataset: Dataset,
        spec: ImageInput,
        shipped: _Shipped,
        float_fit: HeadFit | None,
    ) -> dict[str, Any]:
        options = self.options
        plan = replace(self.plan, recipe=shipped.recipe)
        device_advice = ("threads", "notes")  # advice for people; not part of what is built
        return {
            "edgetransfer": edgetransfer.__version__,
            "plan": {key: value for key, value in plan.to_json().items() if key not in device_advice},
            "task": Task("single_label", dataset.labels).to_json(),
            "preprocess": spec.to_json(),
            "backbone": dict(backbone.facts),
            "head": {
                "on": options.head_on,
                "augment": options.augment,
                "balance": options.balance,
                "label_smoothing": options.label_smoothing,
                "epochs": options.epochs,
                "loss": options.loss,
                "optimizer": options.optimizer,
                "seed": options.seed,
                "chosen": shipped.fit.chosen,
                **({"ensemble": True} if options.ensemble else {}),
                "labels_sha256": labels_sha256(dataset.labels),
                **({} if self.adaptation is None else {"adaptation": self.adaptation.to_json()}),
            },
            "budget": _budget(options, shipped, float_fit),
            "golden": options.golden,
            "data": {
                "fingerprint": dataset.fingerprint,
                "counts": {name: len(dataset.split(name)) for name in ("train", "val", "test")},
            },
            "versions": versions(),
        }


def train_views(dataset: Dataset, asked: BuildOptions) -> list[View]:
    """Return each training image with its augmented views, as the head learns from them."""
    numbers = range(asked.augment + 1)
    return [View(sample, number, asked.seed) for sample in dataset.split("train") for number in numbers]


def head_options(asked: BuildOptions) -> HeadOptions:
    """Return how heads are trained as `asked`, with the defaults of what was left open."""
    base = HeadOptions(
        label_smoothing=asked.label_smoothing,
        balance=asked.balance,
        ensemble=asked.ensemble,
        epochs=asked.epochs,
        loss=asked.loss,
        optimizer=asked.optimizer,
        seed=asked.seed,
    )
    return replace(
        base,
        hidden=base.hidden if asked.hidden is None else (asked.hidden,),
        dropouts=asked.dropouts or base.dropouts,
        weight_decays=asked.weight_decays or base.weight_decays,
    )


def labels_of(samples: Sequence[Sample], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the label numbers of `samples`, (n,) int64."""
    number = {label: index for index, label in enumerate(labels)}
    return np.array([number[sample.label] for sample in samples], np.int64)
