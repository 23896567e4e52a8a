"""Makes heads for a target domain of which there are photos without labels, and measures which way helps.

A way is chosen without the labels that its figures are reported on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.data.unlabelled import read_unlabelled
from edgetransfer.errors import DataError, OutputError, RecipeError, UnknownNameError
from edgetransfer.evaluate import evaluate
from edgetransfer.features.deploy import float_backbone
from edgetransfer.features.extract import View, extract
from edgetransfer.models import backbones
from edgetransfer.pipeline.adapt_report import AdaptReport, Against, WayRow
from edgetransfer.pipeline.build import build
from edgetransfer.pipeline.compare import paired
from edgetransfer.pipeline.deployed import check_images
from edgetransfer.pipeline.export import ExportOptions
from edgetransfer.pipeline.fitting import deploy_to_fit
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.train import head_options, labels_of, read_data, refuse_existing, resolve_plan, train_views
from edgetransfer.runtime.decoders import get_decoder
from edgetransfer.spec.atomic import refuse_place, write_atomically
from edgetransfer.spec.dense import apply_head
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.task import Task
from edgetransfer.transfer.adaptation import WAYS, Adaptation, Adapted, AdaptOptions, fit_adapted

COLUMNS = ("path", "label", "split")
Photos = tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class AdaptOutputs:
    """What is written.

    Attributes:
        bundle: NAME.bundle with the head of the chosen way; None for none.
        labels: A CSV file of the source's photos and the pseudo-labelled ones, as `build` takes it; None for none.
        force: Replace what is there.
    """

    bundle: Path | None = None
    labels: Path | None = None
    force: bool = False


def adapt(
    options: BuildOptions,
    target: Path,
    *,
    ways: Sequence[str] = WAYS,
    judge: Path | None = None,
    how: AdaptOptions | None = None,
    outputs: AdaptOutputs | None = None,
    watcher: Watcher | None = None,
) -> AdaptReport:
    """Fit a head in each of `ways` on features of the backbone as it will be deployed, and measure them all.

    The quantized backbone's ranges are measured on photos of both domains. Where `judge` brings a validation split and
    a test split of its own, the way is chosen on the former and reported on the latter. Otherwise it is "none", unless
    a single other way is asked for: what helps on one pair of domains harms on another. On the validation split another
    way than "none" is chosen only where the 95 % interval of the difference lies above 0.

    Args:
        options: The labelled data of the source, backbone, recipe, device, and how heads are trained.
        target: A folder with photos of the target domain, whatever they show.
        ways: Of `WAYS`; "none" is always measured.
        judge: Labelled photos of the target domain, to measure with; None: only the source can be measured on.
        how: Of the ways.
        outputs: What is written; None: nothing.
        watcher: Is told the stages.

    Raises:
        UnknownNameError: no such way.
        EdgetransferError: bad data, labels of the judge that the source lacks, an output that exists.
    """
    watcher, how, outputs = watcher or Silent(), how or AdaptOptions(), outputs or AdaptOutputs()
    _check(ways, outputs)
    check_images(options)
    watcher.stage("reading the data")
    dataset = read_data(options, options.data, watcher)
    check_images(options, dataset)
    known = {sample.sha256 for sample in dataset.samples}
    watcher.stage("reading the photos of the target domain")
    channels = backbones.channels_of(options.backbone)
    photos = read_unlabelled(
        target, known=known, channels=channels, workers=options.workers, progress=watcher.step
    ).samples
    judged = {} if judge is None else _judged(options, judge, dataset, known, watcher)
    work = _Work(options, dataset, photos, judged, watcher)
    fitted = {way: work.fit(Adaptation(way, photos, how)) for way in ("none", *(way for way in ways if way != "none"))}
    rows = work.rows(fitted)
    chosen, because = chosen_way(rows, ways)
    if outputs.labels is not None:
        _write_labels(outputs.labels, dataset, photos, fitted["pseudo"])
    built = None
    if outputs.bundle is not None:
        adaptation = Adaptation(chosen, photos, how)
        wanted = ExportOptions(force=outputs.force)
        built = build(options, outputs.bundle, how=wanted, adaptation=adaptation, watcher=watcher)
    also = len({photo.sha256 for photo in photos} & {one.sha256 for some in judged.values() for one in some})
    recipe = resolve_plan(options).recipe.name
    return AdaptReport(dataset.report, recipe, len(photos), also, rows, chosen, because, outputs.labels, built)


def _check(ways: Sequence[str], outputs: AdaptOutputs) -> None:
    for way in ways:
        if way not in WAYS:
            raise UnknownNameError("way to adapt", way, WAYS)
    if outputs.labels is not None:
        if "pseudo" not in ways:
            raise RecipeError("--labels: pseudo-labels come from the way 'pseudo'; ask for it, or leave --labels out")
        refuse_place(outputs.labels, force=outputs.force, what="labels")
    if outputs.bundle is not None:
        refuse_existing(outputs.bundle, holds="manifest.json", force=outputs.force)


def _judged(
    options: BuildOptions, path: Path, dataset: Dataset, known: set[str], watcher: Watcher
) -> dict[str, Photos]:
    """Return the judge's photos that are none of the source's: "test" to report, "val" to choose on, where given."""
    watcher.stage("reading the labelled photos of the target domain")
    found = read_data(options, path, watcher, for_training=False)
    unknown = sorted(set(found.labels) - set(dataset.labels))
    if unknown:
        raise DataError(
            f"{path}: expected labels of the source ({', '.join(dataset.labels)}), got {', '.join(unknown)}"
        )
    fresh = tuple(sample for sample in found.samples if sample.sha256 not in known)
    if not fresh:
        raise DataError(f"{path}: expected photos that are not in the source's data, got none")
    given = {split: tuple(one for one in fresh if one.split == split) for split in ("val", "test")}
    if found.made_splits or not all(given.values()):
        return {"test": fresh}  # nothing was set apart to choose on
    return given


class _Work:
    """One deployed graph, its features of everybody's photos, and heads on them."""

    def __init__(
        self, options: BuildOptions, dataset: Dataset, photos: Photos, judged: Mapping[str, Photos], watcher: Watcher
    ) -> None:
        self._options, self._labels, self._watcher = options, dataset.labels, watcher
        plan = resolve_plan(options)
        watcher.stage(f"deploying the backbone ({plan.recipe.name})")
        backbone = float_backbone(options.backbone, plan.format)
        both = (*dataset.split("train"), *photos)
        graph, spec, _ = deploy_to_fit(backbone, plan, both, dataset, options, watcher)
        parts: dict[str, Sequence[View]] = {
            "train": train_views(dataset, options),
            "photos": [View(sample) for sample in photos],
            **{split: [View(sample) for sample in dataset.split(split)] for split in ("val", "test")},
            **{f"target {split}": [View(sample) for sample in some] for split, some in judged.items()},
        }
        watcher.stage("computing features")
        views = [view for some in parts.values() for view in some]
        table = extract(graph, views, spec, engine=plan.engine, workers=options.workers, progress=watcher.step).real
        ends = np.cumsum([len(some) for some in parts.values()])[:-1]
        self._features = dict(zip(parts, np.split(table, ends), strict=True))
        self._true = {
            part: labels_of([view.sample for view in some], dataset.labels)
            for part, some in parts.items()
            if part != "photos"
        }

    def fit(self, adaptation: Adaptation) -> Adapted:
        self._watcher.stage(f"training the head ({adaptation.way})")
        splits = [(self._features[split], self._true[split]) for split in ("train", "val")]
        heads, photos = head_options(self._options), self._features["photos"]
        return fit_adapted(
            adaptation, splits[0], splits[1], photos, len(self._labels), heads, progress=self._watcher.step
        )

    def rows(self, fitted: Mapping[str, Adapted]) -> tuple[WayRow, ...]:
        return tuple(
            WayRow(
                way,
                self._report(found, "test", way),
                self._report(found, "target val", way),
                None if way == "none" else self._against(found, fitted["none"], "target val"),
                self._report(found, "target test", way),
                None if way == "none" else self._against(found, fitted["none"], "target test"),
                found.about,
            )
            for way, found in fitted.items()
        )

    def _logits(self, found: Adapted, part: str) -> NDArray[Any]:
        return apply_head(found.fit.head, self._features[part])

    def _report(self, found: Adapted, part: str, way: str) -> EvalReport | None:
        if part not in self._true or not len(self._true[part]):
            return None
        task = Task("single_label", self._labels)
        scores = get_decoder(task.kind).to_scores(self._logits(found, part), task)
        return evaluate(scores, self._true[part], self._labels, split=part, artifact=way)

    def _against(self, found: Adapted, none: Adapted, part: str) -> Against | None:
        if part not in self._true:
            return None
        true = self._true[part]
        one, other = (self._logits(each, part).argmax(axis=1) == true for each in (found, none))
        return Against(*paired(one, other)[2:])


def chosen_way(rows: Sequence[WayRow], asked: Sequence[str]) -> tuple[str, str]:
    """Return the way and why, for people; the labels that figures are reported on have no say.

    Args:
        rows: Of all ways, "none" first.
        asked: The ways that the user named.
    """
    accuracies = {row.way: row.target_val.accuracy for row in rows if row.target_val is not None}
    if accuracies:
        # Four ways on a few hundred photos: the luckiest is ahead by points, and behind on others (TrashNet).
        ahead = [row for row in rows if row.val_against_none is not None and row.val_against_none.difference_95[0] > 0]
        best = max((row.way for row in ahead), key=lambda way: accuracies[way], default="none")
        told = ", ".join(f"{way} {accuracy:.1%}" for way, accuracy in accuracies.items())
        clearly = "clearly ahead of none" if ahead else "no way is clearly ahead of none"
        return best, f"{clearly} on the target's validation photos: {told}"
    others = [way for way in asked if way != "none"]
    if len(others) == 1 and "none" not in asked:
        return others[0], "for it was asked for"
    return "none", "for no labelled photos of the target were set apart to choose by (folders val and test)"


def _write_labels(path: Path, dataset: Dataset, photos: Photos, found: Adapted) -> None:
    """Write the source's photos with their splits, and the pseudo-labelled ones as training photos."""
    assert found.pseudo is not None  # of this way there always are
    rows = [(sample.path, sample.label, sample.split) for sample in dataset.samples]
    for row, label in zip(found.pseudo.rows, found.pseudo.labels, strict=True):
        rows.append((photos[row].path, dataset.labels[label], "train"))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *((place.resolve(), *rest) for place, *rest in rows)])
    try:
        write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as trouble:
        raise OutputError(f"labels {str(path)!r}: cannot be written ({trouble.strerror})") from trouble
