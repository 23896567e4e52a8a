"""From a run to a bundle: graft the head, check what came out, record golden samples, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import ExportError, RecipeError
from edgetransfer.export.graft import graft
from edgetransfer.export.litert import check_builtin_ops, float_islands
from edgetransfer.export.metadata import add_metadata
from edgetransfer.models.trained import TrainedModel, apply_head
from edgetransfer.pipeline.golden import record
from edgetransfer.pipeline.options import GoldenKind, Silent, Watcher
from edgetransfer.pipeline.train import refuse_existing
from edgetransfer.quantize.flatbuffer import Graph
from edgetransfer.runtime.engines import open_engine
from edgetransfer.spec.bundle import MODEL_FILE, Bundle, write_bundle
from edgetransfer.spec.manifest import BackboneInfo, DataInfo, LicenceInfo, Manifest, ModelInfo, SplitMetric
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import get_recipe
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import TensorSpec

HEAD_STEPS = 2  # int8 logits may be so many steps from the float head's on the same features

Metrics = Mapping[str, SplitMetric]
Measure = Callable[[Bundle], Metrics]
"""Scores a bundle that is written aside, so that its own figures can go into its manifest."""


def export(
    run: Path,
    output: Path,
    *,
    golden: GoldenKind | None = None,
    scores_in_graph: bool = False,
    force: bool = False,
    watcher: Watcher | None = None,
) -> Bundle:
    """Write the run in the folder `run` as the bundle `output` and return it.

    Args:
        run: What `train` wrote.
        output: NAME.bundle.
        golden: Which golden samples to carry; None: as the run says.
        scores_in_graph: Put the softmax into the graph, for clients that know no decoder.
        force: Replace a bundle that is there.
        watcher: Is told the stages.

    Raises:
        BundleError: `run` is no run.
        OutputError: `output` exists or cannot be written.
        ExportError: the graph does not hold what it promises.
    """
    refuse_existing(output, holds="manifest.json", force=force)
    trained = TrainedModel.load(run)
    return write(
        trained, output, golden=golden, scores_in_graph=scores_in_graph, force=force, watcher=watcher or Silent()
    )


def write(
    trained: TrainedModel,
    output: Path,
    *,
    golden: GoldenKind | None,
    scores_in_graph: bool,
    force: bool,
    watcher: Watcher,
    measure: Measure | None = None,
) -> Bundle:
    """Write `trained` as the bundle `output`; `measure` scores it first, and its figures go into the manifest."""
    watcher.stage("exporting the bundle")
    manifest, files = _assemble(trained, output.name.removesuffix(".bundle"), golden, scores=scores_in_graph)
    if measure is not None:
        aside = output.parent / f".{output.name}.unmeasured"
        try:
            manifest = replace(manifest, metrics=measure(write_bundle(aside, manifest, files, force=True)))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return write_bundle(output, manifest, files, force=force)


def _assemble(
    trained: TrainedModel, name: str, golden: GoldenKind | None, *, scores: bool
) -> tuple[Manifest, dict[str, bytes]]:
    about = trained.description
    task, spec = Task.from_json(about["task"]), ImageInput.from_json(about["preprocess"])
    recipe = get_recipe(about["plan"]["recipe"]["name"])
    model = graft(trained.deployed, trained.head, trained.range_features, scores=scores)
    check_head(trained, model)
    check_builtin_ops(model, name)
    islands = float_islands(model) if recipe.needs_calibration else []
    if islands:
        raise ExportError(
            f"recipe {recipe.name!r} left ops in floats: {', '.join(islands)}; this backbone cannot be int8 "
            "throughout, try recipe float16 or dynamic_int8"
        )
    backbone = about["backbone"]
    model = add_metadata(model, name=name, labels=task.labels, licence=backbone["licence"])
    files = {MODEL_FILE: model}
    kind = golden or about["golden"]
    info = None
    if kind != "none":
        if kind not in trained.golden:
            raise RecipeError(
                f"golden samples {kind!r}: the run was trained with --golden {about['golden']}; train again"
            )
        samples, info = record(model, trained, kind, spec, scores=scores)
        files[info.file] = samples.to_bytes()
    licences, texts = _licences(backbone)
    graph = Graph.read(model)
    manifest = Manifest(
        edgetransfer=about["edgetransfer"],
        name=name,
        model=ModelInfo(MODEL_FILE, _tensor(graph, graph.input), _tensor(graph, graph.output), scores),
        task=task,
        preprocess=spec,
        backbone=BackboneInfo(**{**backbone, "normalisation": Normalisation(**backbone["normalisation"])}),
        recipe=recipe,
        data=DataInfo(about["data"]["fingerprint"], about["data"]["counts"]),
        device=about["plan"]["device"],
        golden=info,
        licences=licences,
        versions=about["versions"],
    )
    return manifest, files | texts


def check_head(trained: TrainedModel, model: bytes) -> int:
    """Return how many steps the deployed head's logits are from the float head's, at most, on training features.

    The head's ops in the grafted `model` are run by themselves, on the features that the head was trained on.

    Raises:
        ExportError: more than HEAD_STEPS, or another first answer where the float logits are no tie.
    """
    features = trained.range_features
    graph = Graph.read(trained.deployed)
    if graph.quantization(graph.output) is None:
        return 0
    wanted = apply_head(trained.head, features)
    got, step = _head_logits(trained, model)
    steps = int(np.ceil(np.abs(got - wanted).max() / step - 1e-3))
    rows = np.arange(len(wanted))
    lost = wanted.max(axis=1) - wanted[rows, got.argmax(axis=1)]  # 0 where the first answer is the same
    if steps > HEAD_STEPS or float(lost.max()) > 2 * HEAD_STEPS * step:
        raise ExportError(
            f"int8 head: {steps} steps from the float head on the same features, expected at most {HEAD_STEPS}; "
            "train with more --weight-decay, or use recipe float16"
        )
    return steps


def _head_logits(trained: TrainedModel, model: bytes) -> tuple[NDArray[np.float32], float]:
    """Return the deployed head's real logits for the run's range features, (n, classes), and one step's size."""
    deployed, head = Graph.read(trained.deployed), Graph.read(model)
    features, names = deployed.output, [head.name(index) for index in range(len(head.subgraph.tensors))]
    head.subgraph.operators = head.subgraph.operators[len(deployed.ops()) :]
    if "logits_real" in names:  # scores in the graph: what follows the logits is left out
        head.subgraph.operators = head.subgraph.operators[:-2]
    head.set_ends(input_index=features, input_name="features", output_index=names.index("logits"), output_name="logits")
    engine = open_engine("litert", head.to_bytes(), threads=1)
    given, result = deployed.quantization(features), engine.output.quantization
    if given is None or result is None:
        raise RecipeError("the head's features or logits are floats; steps are of int8 heads")
    stored = given.quantize(trained.range_features, "int8")
    real = engine.output.to_real(np.concatenate([engine.run(row[None]) for row in stored]))
    engine.close()
    return real, result.scale


def _tensor(graph: Graph, index: int) -> TensorSpec:
    dtype = graph.dtype(index)
    # Raw pixels go in as they are: what the graph makes of them is its own affair.
    quantization = None if index == graph.input else graph.quantization(index)
    return TensorSpec(graph.name(index), graph.shape(index), dtype, quantization)


def _licences(backbone: Mapping[str, str]) -> tuple[tuple[LicenceInfo, ...], dict[str, bytes]]:
    """Return what the weights' licence asks to travel with them; the text where we have it."""
    licence, component = backbone["licence"], f"weights of {backbone['name']}"
    text = resources.files("edgetransfer.export").joinpath("licences", f"{licence}.txt")
    if not text.is_file():
        return (LicenceInfo(component, licence, backbone["licence_url"]),), {}
    file = f"LICENSES/{licence}.txt"
    return (LicenceInfo(component, licence, backbone["licence_url"], file),), {file: text.read_bytes()}
