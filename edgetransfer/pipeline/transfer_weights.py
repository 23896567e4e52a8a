"""Puts what a model of any framework has learned into one of our architectures, and writes that as a backbone file.

The same architecture takes the parameters as they are; another width or depth takes the most important channels of
each. With data, both networks look at the same images, and only what agrees is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetransfer import registry
from edgetransfer.errors import BackboneError, UnknownNameError, WeightsError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.pipeline.backbone_output import check_output, facts_of
from edgetransfer.pipeline.options import Silent, Watcher
from edgetransfer.pipeline.transfer_measure import NOT_MEASURED, check, measure, randomise, settle_statistics
from edgetransfer.pipeline.transfer_photos import read_photos
from edgetransfer.pipeline.transfer_report import WeightTransferReport
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Normalisation
from edgetransfer.transfer.alignment import Rename, signature
from edgetransfer.transfer.importance import Importance
from edgetransfer.transfer.keras_graph import KerasGraph, layers_of_graph, source_of
from edgetransfer.transfer.map_weights import map_weights
from edgetransfer.transfer.mapping import WeightMapping
from edgetransfer.transfer.slim import slim_weights
from edgetransfer.transfer.source import SourceModel
from edgetransfer.transfer.sources import open_source


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """What to put where.

    Attributes:
        source: A file of any framework; or `NAME[:ALPHA[:PX]]` of a registered backbone, or "keras:FILE".
        target: `NAME[:ALPHA[:PX]]` or "keras:FILE", whose architecture is taken.
        renames: Rules that turn the source's names of layers into the target's.
        normalisation: What the source expects of a pixel, where it cannot say so itself.
        data: Labelled photos to measure on; None: agreement is not measured.
        least_agreement: Share of the images on which both must say the same, 0 to 1.
        importance: How channels are ranked where some must go; None: by "bn" where photos tell what the gammas mean,
            else by "l1". From MobileNetV2 1.0 to 0.5, "bn" led by ten points of a linear probe's accuracy on TrashNet.
        seed: Of splits, and of what is initialised at random.
        workers: Threads; None: one a core.
    """

    source: str
    target: str
    renames: tuple[str, ...] = ()
    normalisation: Normalisation | None = None
    data: Path | None = None
    least_agreement: float | None = None
    importance: Importance | None = None
    seed: int = 0
    workers: int | None = None


def transfer_weights(
    options: TransferOptions, output: Path | None, *, force: bool = False, watcher: Watcher | None = None
) -> WeightTransferReport:
    """Put the source's weights into the target's architecture and write it to the file `output`.

    Args:
        options: What to put where.
        output: NAME.keras; None: only say what would be done.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: source or target cannot be read, they do not correspond, or they do not agree on the data.
    """
    watcher = watcher or Silent()
    if output is not None:
        check_output(output, force=force)
    renames = tuple(Rename.parse(text) for text in options.renames)
    watcher.stage("reading the source")
    source = _open(options)
    if options.data is None and options.least_agreement is not None:
        raise WeightsError("--least-agreement: is measured on photos; give --data")
    if source.loaded is None and options.least_agreement is not None:
        raise WeightsError(
            f"source {options.source}: has weights alone and cannot be run, so that agreement cannot be measured; "
            "leave --least-agreement out"
        )
    watcher.stage("reading the target")
    target = _open_target(options, source)
    photos = None
    if options.data is not None:
        normalisation = source.normalisation or target.normalisation
        photos = read_photos(options.data, normalisation, options.seed, options.workers, watcher)
        if source.graph is not None and not _alike(source.graph, target.graph):
            settle_statistics(source.model, source.graph, photos, watcher)
    watcher.stage("mapping the weights")
    mapping = _mapping(source, target, options, renames)
    measured = NOT_MEASURED
    if photos is None:
        mapping.apply(target.graph.variables())
    else:
        measured = measure(
            source.model, target.model, target.graph, mapping, photos, seed=options.seed, watcher=watcher
        )
        check(measured, mapping, options.least_agreement)
    report = WeightTransferReport(output, mapping, measured)
    if output is not None:
        write_backbone(output, target.model, _facts(source, target, report, options))
    return report


@dataclass(frozen=True, slots=True)
class _Source:
    """The source's parameters; and the model itself, where it is one of Keras that can be run."""

    weights: SourceModel
    loaded: backbones.Backbone | None
    graph: KerasGraph | None
    known: BackboneFacts | None
    normalisation: Normalisation | None

    @property
    def model(self) -> Any:
        """The Keras model, None where there is none."""
        return None if self.loaded is None else self.loaded.model

    def facts(self, target: _Target) -> BackboneFacts:
        """Return what is known of the weights; of weights alone that is the target's name and what it expects."""
        normalisation = self.normalisation or target.normalisation
        if self.known is not None:
            return replace(self.known, normalisation=normalisation)
        return BackboneFacts(target.name, normalisation, backbones.NOT_STATED, "", backbones.NOT_STATED)


@dataclass(frozen=True, slots=True)
class _Target:
    """The network to fill."""

    name: str
    model: Any
    graph: KerasGraph
    normalisation: Normalisation


def _facts(source: _Source, target: _Target, report: WeightTransferReport, options: TransferOptions) -> BackboneFacts:
    """Return what the file says of its weights, with this step."""
    return source.facts(target).then(
        "transfer_weights",
        source=source.weights.name,
        sha256=source.weights.sha256,
        target=target.name,
        coverage=round(report.mapping.coverage, 6),
        same_function=report.mapping.same,
        importance=None if report.mapping.same or source.graph is None else _importance(source.graph, options),
        repair=report.measured.repaired.taken,
        agreement=None if report.measured.agreed is None else round(report.measured.agreed.read_out, 6),
    )


# === Source and target ===


def _open(options: TransferOptions) -> _Source:
    choice = _choice(options.source)
    if choice is None:
        weights = open_source(Path(options.source))
        return _Source(weights, None, None, None, options.normalisation)
    if choice.name.startswith(backbones.OWN):
        choice = replace(choice, normalisation=options.normalisation)
    _check_images(choice)
    loaded = backbones.load(choice)
    graph = KerasGraph.of(loaded.model)
    weights = source_of(graph, loaded.name, loaded.weights_sha256)
    return _Source(weights, loaded, graph, facts_of(loaded, choice), loaded.normalisation)


def _open_target(options: TransferOptions, source: _Source) -> _Target:
    choice = _choice(options.target)
    if choice is None:
        known = backbones.names()
        raise UnknownNameError("backbone", options.target, known, hint=f"Your own Keras model: {backbones.OWN}PATH.")
    _check_images(choice)
    if choice.name.startswith(backbones.OWN):
        try:
            loaded = backbones.load(choice)
        except BackboneError:
            if source.normalisation is None:
                raise
            loaded = backbones.load(replace(choice, normalisation=source.normalisation))
        return _Target(loaded.name, loaded.model, KerasGraph.of(loaded.model), loaded.normalisation)
    resolved = backbones.resolve(choice)
    plugin: Any = registry.load(backbones.__name__, choice.name, kind="backbone")
    model = plugin.build(resolved.alpha, resolved.height_px, resolved.width_px)
    graph = KerasGraph.of(model)
    randomise(graph, options.seed)
    return _Target(resolved.spec.name, model, graph, resolved.spec.normalisation)


def _choice(text: str) -> BackboneChoice | None:
    """Return the backbone that NAME[:ALPHA[:PX]] or keras:FILE names; None of what is neither.

    Raises:
        BackboneError: alpha or pixels are no numbers.
    """
    if text.startswith(backbones.OWN):
        return BackboneChoice(text)
    name, *rest = text.split(":")
    if name not in backbones.names():
        return None
    try:
        alpha = float(rest[0]) if rest and rest[0] else None
        px = int(rest[1]) if len(rest) > 1 else None
    except ValueError:
        rest = ["", "", ""]
    if len(rest) > 2:
        raise BackboneError(f"backbone {text!r}: expected NAME:ALPHA:PX, such as mobilenet_v2:0.5:160")
    return BackboneChoice(name, alpha, px)


def _check_images(choice: BackboneChoice) -> None:
    given = backbones.input_of(choice)
    if given is not None:
        raise BackboneError(
            f"backbone {choice.name!r}: looks at {given.kind}; so far weights are transferred between backbones of "
            "images only"
        )


# === Mapping ===


def _mapping(source: _Source, target: _Target, options: TransferOptions, renames: Sequence[Rename]) -> WeightMapping:
    names = (source.weights.name, target.name)
    if source.graph is None or renames or _alike(source.graph, target.graph):
        norms = None if source.graph is None else source.graph.norms()
        found = map_weights(source.weights, target.graph, target.name, renames=renames, source_norms=norms)
        if source.normalisation is None:
            said = target.normalisation
            note = (
                f"the source does not say what it expects of a pixel: {said.scale:.6g} * (pixel - {said.zero_point}), "
            )
            found = replace(found, notes=(*found.notes, f"{note}as the target, unless --normalise says otherwise"))
        return found
    return slim_weights(
        source.graph, target.graph, names, importance=_importance(source.graph, options), seed=options.seed
    )


def _importance(graph: KerasGraph, options: TransferOptions) -> Importance:
    if options.importance is not None:
        return options.importance
    return "bn" if options.data is not None and graph.norms() else "l1"


def _alike(source: KerasGraph, target: KerasGraph) -> bool:
    """Say whether two networks have layers of the same shapes in the same order."""
    shapes = [[signature(layer) for layer in layers_of_graph(graph)] for graph in (source, target)]
    return shapes[0] == shapes[1]
