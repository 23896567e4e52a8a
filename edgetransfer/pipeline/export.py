"""From a run to a bundle: graft the head, check what came out, record golden samples, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import ExportError, RecipeError
from edgetransfer.export import Card, Exporter, get_exporter
from edgetransfer.features.deploy import float_backbone
from edgetransfer.models.trained import TrainedModel
from edgetransfer.pipeline import gates
from edgetransfer.pipeline.golden import record
from edgetransfer.pipeline.local import local_choice
from edgetransfer.pipeline.options import GoldenKind, Silent, Watcher
from edgetransfer.pipeline.train import refuse_existing
from edgetransfer.quantize.support import why_not
from edgetransfer.runtime.engines import open_engine
from edgetransfer.runtime.image import prepare
from edgetransfer.spec.bundle import Bundle, write_bundle
from edgetransfer.spec.dense import apply_head
from edgetransfer.spec.device import Device, device_names, load_device
from edgetransfer.spec.manifest import (
    BackboneInfo,
    BudgetInfo,
    DataInfo,
    FootprintInfo,
    LicenceInfo,
    Manifest,
    ModelInfo,
    SplitMetric,
)
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.task import Task

HEAD_STEPS = 2  # int8 logits may be so many steps from the float head's on the same features


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bundle that is written aside does on real photos.

    Attributes:
        metrics: Its figures, for the manifest.
        outputs: Stored outputs (n, C) on some photos; None if there were none.
        accuracy: On the validation split, 0 to 1: of the float model, and its own; None if not measured.
        val_samples: How many photos that was.
    """

    metrics: Mapping[str, SplitMetric]
    outputs: NDArray[Any] | None = None
    accuracy: tuple[float, float] | None = None
    val_samples: int = 0


Measure = Callable[[Bundle], Measured]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What a user can ask of an export.

    Attributes:
        golden: Which golden samples to carry; None: as the run says.
        scores_in_graph: Put the softmax into the graph, for clients that know no decoder.
        dynamic_batch: Take any number of images at once, where the format can.
        allow: Gates that may fail.
        force: Replace a bundle that is there.
    """

    golden: GoldenKind | None = None
    scores_in_graph: bool = False
    dynamic_batch: bool = False
    allow: tuple[str, ...] = ()
    force: bool = False


def export(
    run: Path,
    output: Path,
    options: ExportOptions | None = None,
    *,
    format: str | None = None,
    watcher: Watcher | None = None,
) -> Bundle:
    """Write the run in the folder `run` as the bundle `output` and return it.

    Args:
        run: What `train` wrote.
        output: NAME.bundle.
        options: How.
        format: Another format than the run's, with the same head; for recipes without fixed ranges only, for others
            must learn from that format's own features.
        watcher: Is told the stages.

    Raises:
        BundleError: `run` is no run.
        OutputError: `output` exists or cannot be written.
        ExportError: the graph does not hold what it promises, or a gate fails.
        RecipeError: the run cannot be written in that format.
    """
    options, watcher = options or ExportOptions(), watcher or Silent()
    gates.check_names(options.allow)
    refuse_existing(output, holds="manifest.json", force=options.force)
    trained = TrainedModel.load(run)
    if format not in (None, trained.description["plan"]["format"]):
        trained = _in_format(trained, run, str(format), watcher)
    return write(trained, output, options, watcher=watcher)[0]


def write(
    trained: TrainedModel,
    output: Path,
    options: ExportOptions,
    *,
    watcher: Watcher,
    measure: Measure | None = None,
    device: Device | None = None,
) -> tuple[Bundle, tuple[gates.Gate, ...]]:
    """Write `trained` as the bundle `output`; `measure` scores it first, and its figures go into the manifest."""
    watcher.stage("exporting the bundle")
    manifest, files = _assemble(trained, output.name.removesuffix(".bundle"), options)
    measured = Measured({})
    if measure is not None:
        aside = output.parent / f".{output.name}.unmeasured"
        try:
            measured = measure(write_bundle(aside, manifest, files, force=True))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    passed = gates.check(_candidate(trained, manifest, files, measured, device), options.allow)
    manifest = replace(manifest, metrics=measured.metrics, allowed=gates.allowed_names(passed))
    return write_bundle(output, manifest, files, force=options.force), passed


def _candidate(
    trained: TrainedModel,
    manifest: Manifest,
    files: Mapping[str, bytes],
    measured: Measured,
    device: Device | None,
) -> gates.Candidate:
    return gates.Candidate(
        model=files[manifest.model.file],
        manifest=manifest,
        labels_sha256=trained.description["head"]["labels_sha256"],
        outputs=measured.outputs,
        accuracy=measured.accuracy,
        val_samples=measured.val_samples,
        max_drop=None if manifest.budget is None else manifest.budget.max_drop,
        device=device or _named_device(manifest.device),
    )


def _named_device(slug: str | None) -> Device | None:
    """Return the device of that name; None where it was a user's own file, which is not here."""
    return load_device(slug) if slug in device_names() else None


def _in_format(trained: TrainedModel, run: Path, format: str, watcher: Watcher) -> TrainedModel:
    """Return the run with its backbone deployed in another format, under the same head."""
    plan = trained.description["plan"]
    recipe = Recipe.from_json(plan["recipe"])
    if recipe.needs_calibration:
        raise RecipeError(
            f"run {str(run)!r}: its head learned from {plan['format']} features as {recipe.name}, {format} computes "
            f"others; train for it: edgetransfer build --format {format}"
        )
    reason = why_not(format, recipe)
    if reason is not None:
        raise RecipeError(f"recipe {recipe.name!r} cannot be written as {format!r}: {reason}")
    watcher.stage(f"exporting the backbone as {format}")
    backbone = float_backbone(local_choice(run), format)
    exporter = get_exporter(format)
    deployed = exporter.carry_out(backbone.graph, recipe, backbone.normalisation)
    about = {**trained.description, "plan": {**plan, "format": format, "engine": exporter.ENGINE, "providers": []}}
    return replace(trained, description=about, deployed=deployed)


def _assemble(trained: TrainedModel, name: str, options: ExportOptions) -> tuple[Manifest, dict[str, bytes]]:
    about, scores = trained.description, options.scores_in_graph
    task, spec = Task.from_json(about["task"]), ImageInput.from_json(about["preprocess"])
    recipe = Recipe.from_json(about["plan"]["recipe"])
    exporter = get_exporter(about["plan"]["format"])
    model = exporter.graft(trained.deployed, trained.head, trained.range_features, scores=scores)
    check_head(trained, model)
    backbone = about["backbone"]
    model = exporter.finish(model, Card(name, task.labels, backbone["licence"], spec, scores))
    if options.dynamic_batch:
        model = _with_dynamic_batch(exporter, model, about["plan"]["format"])
    files = {exporter.MODEL_FILE: model}
    kind = options.golden or about["golden"]
    info = None
    if kind != "none":
        if kind not in trained.golden:
            raise RecipeError(
                f"golden samples {kind!r}: the run was trained with --golden {about['golden']}; train again"
            )
        samples, info = record(model, trained, kind, spec, scores=scores, engine_name=exporter.ENGINE)
        files[info.file] = samples.to_bytes()
    stated, texts = licences(backbone)
    extra, footprint = _extra(exporter, model, name, task, trained, spec)
    manifest = Manifest(
        edgetransfer=about["edgetransfer"],
        name=name,
        model=model_info(exporter, model, about["plan"]["providers"], scores=scores),
        task=task,
        preprocess=spec,
        backbone=BackboneInfo(**{**backbone, "normalisation": Normalisation(**backbone["normalisation"])}),
        recipe=recipe,
        data=DataInfo(about["data"]["fingerprint"], about["data"]["counts"]),
        device=about["plan"]["device"],
        golden=info,
        budget=_budget(about["budget"]),
        footprint=footprint,
        licences=stated,
        versions=about["versions"],
        format=about["plan"]["format"],
    )
    return manifest, files | texts | extra


def _budget(kept: Mapping[str, Any] | None) -> BudgetInfo | None:
    return None if kept is None else BudgetInfo(**{**kept, "kept": tuple(kept["kept"])})


def _extra(
    exporter: Exporter, model: bytes, name: str, task: Task, trained: TrainedModel, spec: ImageInput
) -> tuple[dict[str, bytes], FootprintInfo | None]:
    """Return the files that a format ships beside its model, and what its interpreter says of memory.

    A format that does so also proves on images that its interpreter computes what the reference kernels do.
    """
    make: Any = getattr(exporter, "extra_files", None)
    if make is None:
        return {}, None
    checked: Any = exporter
    frames = trained.golden["own" if "own" in trained.golden else "synthetic"].frames
    proof = checked.checked(model, np.stack([prepare(frame, spec) for frame in frames]))
    return make(model, name, temperature=task.temperature), FootprintInfo(proof.arena_bytes)


def _with_dynamic_batch(exporter: Exporter, model: bytes, format: str) -> bytes:
    make: Any = getattr(exporter, "with_dynamic_batch", None)
    if make is None:
        raise RecipeError(f"--dynamic-batch: the format {format!r} has a fixed batch of 1; --format onnx can")
    content: bytes = make(model)
    return content


def model_info(exporter: Exporter, model: bytes, providers: Sequence[str], *, scores: bool = False) -> ModelInfo:
    """Return what the manifest says of `model`."""
    engine = open_engine(exporter.ENGINE, model, threads=1)
    # Raw pixels go in as they are: what the graph makes of them is its own affair.
    ends = replace(engine.input, quantization=None), engine.output
    engine.close()
    return ModelInfo(exporter.MODEL_FILE, *ends, scores, tuple(providers))


def check_head(trained: TrainedModel, model: bytes) -> int:
    """Return how many steps the deployed head's logits are from the float head's, at most, on training features.

    The head's ops in the grafted `model` are run by themselves, on the features that the head was trained on.

    Raises:
        ExportError: more than HEAD_STEPS, or another first answer where the float logits are no tie.
    """
    exporter = get_exporter(trained.description["plan"]["format"])
    step = exporter.step(model)
    if step is None:
        return 0
    if Recipe.from_json(trained.description["plan"]["recipe"]).activations == "int16":
        step *= 256  # its steps are a 256th of int8's, its weights are as coarse: the same distance in reals is allowed
    wanted = apply_head(trained.head, trained.range_features)
    got = _head_logits(exporter, trained, model)
    steps = int(np.ceil(np.abs(got - wanted).max() / step - 1e-3))
    rows = np.arange(len(wanted))
    lost = wanted.max(axis=1) - wanted[rows, got.argmax(axis=1)]  # 0 where the first answer is the same
    if steps > HEAD_STEPS or float(lost.max()) > 2 * HEAD_STEPS * step:
        raise ExportError(
            f"int8 head: {steps} steps from the float head on the same features, expected at most {HEAD_STEPS}; "
            "train with more --weight-decay, or use recipe float16"
        )
    return steps


def _head_logits(exporter: Exporter, trained: TrainedModel, model: bytes) -> NDArray[np.float32]:
    """Return the deployed head's real logits for the run's range features, (n, classes)."""
    engine = open_engine(exporter.ENGINE, exporter.head_alone(trained.deployed, model), threads=1)
    given, features = engine.input.quantization, trained.range_features
    stored = features if given is None else given.quantize(features, engine.input.dtype)
    real = engine.output.to_real(np.concatenate([engine.run(row[None]) for row in stored]))
    engine.close()
    return real


def licences(backbone: Mapping[str, str]) -> tuple[tuple[LicenceInfo, ...], dict[str, bytes]]:
    """Return what the weights' licence asks to travel with them; the text where we have it."""
    licence, component = backbone["licence"], f"weights of {backbone['name']}"
    text = resources.files("edgetransfer.export").joinpath("licences", f"{licence}.txt")
    if not text.is_file():
        return (LicenceInfo(component, licence, backbone["licence_url"]),), {}
    file = f"LICENSES/{licence}.txt"
    return (LicenceInfo(component, licence, backbone["licence_url"], file),), {file: text.read_bytes()}
