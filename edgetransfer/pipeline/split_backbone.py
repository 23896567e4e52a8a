"""The backbone of a split bundle: deployed once, its features learned from by any number of heads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.errors import BundleError, RecipeError
from edgetransfer.export import get_exporter
from edgetransfer.features.deploy import FloatBackbone, deploy, float_backbone, float_graph
from edgetransfer.features.extract import View, extract
from edgetransfer.features.windows import extract_windows
from edgetransfer.models import backbones
from edgetransfer.pipeline.fitting import deploy_to_fit
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import resolve_plan
from edgetransfer.runtime.inputs import InputReader, open_reader
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.head import features_fingerprint, fingerprint
from edgetransfer.spec.preprocess import Fit
from edgetransfer.spec.recipe import Plan

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput


@dataclass(frozen=True, slots=True)
class SplitBackbone:
    """A deployed backbone, and all that computing features with it takes.

    Attributes:
        graph: Raw inputs in, features out, as the device will run it.
        spec: How a sample becomes its input.
        reader: Does that.
        engine: That runs it.
        fingerprint: What its heads are tied to.
        floats: The float graph and its engine; None where only the deployed one is at hand.
    """

    graph: bytes
    spec: ModelInput
    reader: InputReader
    engine: str
    fingerprint: str
    floats: tuple[bytes, str] | None = None

    def features(
        self,
        samples: Sequence[Sample],
        watcher: Watcher,
        *,
        views: Sequence[View] | None = None,
        workers: int | None = None,
        floats: bool = False,
    ) -> NDArray[np.float32]:
        """Return real features (n, D) of `samples`, or of `views`, by the deployed graph or by the float one."""
        graph, engine = self._graph(floats=floats)
        looked = _views(samples, views)
        return extract(
            graph, looked, self.spec, engine=engine, reader=self.reader, workers=workers, progress=watcher.step
        ).real

    def windows(
        self,
        samples: Sequence[Sample],
        watcher: Watcher,
        *,
        views: Sequence[View] | None = None,
        workers: int | None = None,
        floats: bool = False,
    ) -> NDArray[np.float32]:
        """Return the real features (n, W, D) of the windows of `samples`, or of `views`; rows of NaN are none."""
        graph, engine = self._graph(floats=floats)
        looked = _views(samples, views)
        return extract_windows(
            graph, looked, self.spec, engine=engine, reader=self.reader, workers=workers, progress=watcher.step
        )

    def _graph(self, *, floats: bool) -> tuple[bytes, str]:
        return self.floats if floats and self.floats is not None else (self.graph, self.engine)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What `deploy_for` made: the backbone, its plan, what is known of it, and files that the bundle carries."""

    backbone: SplitBackbone
    plan: Plan
    facts: Mapping[str, Any]
    assets: Mapping[str, bytes]
    fit_accuracy: Mapping[Fit, float]


def check_options(options: BuildOptions) -> None:
    """Refuse what a split bundle cannot have.

    Raises:
        RecipeError: --max-drop, which keeps ops of a graph that has its head inside, or a head on float features.
    """
    if options.head_on == "float":
        raise RecipeError("--head-on float is for bundles with their head inside the graph: leave it or --split out")
    if options.max_drop is not None:
        raise RecipeError("--max-drop is for bundles with their head inside the graph: leave it or --split out")


def deploy_for(options: BuildOptions, datasets: Sequence[Dataset], watcher: Watcher) -> Deployed:
    """Return the backbone that `options` name, deployed; calibrated on training samples of all `datasets`.

    Where the user did not say how images meet the square, the first data set decides.
    """
    plan = resolve_plan(options)
    watcher.stage(f"exporting {plan.backbone} ({plan.format})")
    loaded = float_backbone(options.backbone, plan.format)
    assets = backbones.assets(options.backbone)
    fixed = backbones.input_of(options.backbone)
    samples = [sample for dataset in datasets for sample in dataset.split("train")]
    watcher.stage(f"quantizing ({plan.recipe.name})")
    spec: ModelInput
    accuracy: Mapping[Fit, float] = {}
    if fixed is None:
        graph, spec, accuracy = deploy_to_fit(loaded, plan, samples, datasets[0], options, watcher)
        reader = open_reader(spec, lambda name: assets[name])
    else:
        spec, reader = fixed, open_reader(fixed, lambda name: assets[name])
        graph = deploy(loaded, plan.recipe, samples, spec, reader=reader)
    backbone = _backbone(graph, spec, reader, plan, loaded)
    return Deployed(backbone, plan, loaded.facts, assets, accuracy)


def backbone_of(bundle: Bundle) -> SplitBackbone:
    """Return the backbone that is inside a split bundle, ready to learn on: no weights and no Keras are needed.

    Raises:
        BundleError: the bundle has its head inside the graph.
        IntegrityError: the model was changed.
    """
    manifest = bundle.manifest
    if not manifest.is_split:
        raise BundleError(
            f"bundle {bundle.folder!r}: its head is inside the graph; heads are trained for bundles built with --split"
        )
    reader = open_reader(manifest.preprocess, bundle.content)
    graph = bundle.content(manifest.model.file)
    engine = ENGINE_OF_FORMAT[manifest.format]
    return SplitBackbone(graph, manifest.preprocess, reader, engine, features_fingerprint(manifest))


def _views(samples: Sequence[Sample], views: Sequence[View] | None) -> list[View]:
    return [View(sample) for sample in samples] if views is None else list(views)


def _backbone(graph: bytes, spec: ModelInput, reader: InputReader, plan: Plan, loaded: FloatBackbone) -> SplitBackbone:
    exporter = get_exporter(plan.format)
    return SplitBackbone(
        graph=graph,
        spec=spec,
        reader=reader,
        engine=plan.engine,
        fingerprint=fingerprint(hashlib.sha256(graph).hexdigest(), spec),
        floats=(float_graph(loaded), exporter.FLOAT_ENGINE),
    )
