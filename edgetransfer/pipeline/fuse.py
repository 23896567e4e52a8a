"""Fuses a backbone with what it was tuned to: how far to go is chosen on the validation split, deployed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import DataReport, Dataset
from edgetransfer.errors import BackboneError
from edgetransfer.models import backbones
from edgetransfer.models.backbone_file import BackboneFacts, write_backbone
from edgetransfer.pipeline.backbone_output import check_output, facts_of, tuned_options
from edgetransfer.pipeline.deployed import check_images, deployed_backbone
from edgetransfer.pipeline.finetune_report import reports_json
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.train import read_data, resolve_plan
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.fusion import Weights, averaged, check_alike, interpolated, re_estimate, weights_of
from edgetransfer.transfer.view_batches import ViewBatches

ALPHAS = (0.5, 0.7, 0.8, 0.9, 1.0)
"""How far from the source (0) to the tuned model (1) is tried."""
WITHIN = 0.01
"""Of validation accuracy that may be given up on the new task for the sake of the old one."""
RE_ESTIMATED_ON = 512
"""Training images that batch norm statistics are estimated from again."""
BatchNorm = Literal["keep", "re_estimate", "auto"]


@dataclass(frozen=True, slots=True)
class FuseRow:
    """One model on the line, deployed.

    Attributes:
        alpha: How far it is.
        re_estimated: Whether its batch norm statistics were estimated again.
        reports: Split to how right it is.
        old: The same on the old task, with a head of its own; empty where that is not asked for.
    """

    alpha: float
    re_estimated: bool
    reports: Mapping[str, EvalReport]
    old: Mapping[str, EvalReport] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: accuracy on validation, then honesty of the scores there."""
        return (self.reports["val"].accuracy, -self.reports["val"].log_loss)

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        found = {"alpha": self.alpha, "batch_norm_re_estimated": self.re_estimated, **reports_json(self.reports)}
        return found | ({"old_task": reports_json(self.old)} if self.old else {})


def chosen_of(rows: Sequence[FuseRow]) -> FuseRow:
    """Return the row that does best on validation; where an old task counts, the best on it among nearly as good ones.

    Nearly as good is within `WITHIN` of the best on the new task. Best on the old one is the lowest log loss: of some
    hundred images accuracy moves by a third of a point with each, log loss follows alpha smoothly.
    """
    best = max(rows, key=lambda row: row.rank)
    if not best.old:
        return best
    near = [row for row in rows if row.reports["val"].accuracy >= best.reports["val"].accuracy - WITHIN]
    return max(near, key=lambda row: (-row.old["val"].log_loss, row.rank))


@dataclass(frozen=True, slots=True)
class FuseReport:
    """What fusing gave: every model that was tried, and the one that the validation split chose."""

    output: Path
    source: str
    tuned: tuple[str, ...]
    recipe: str
    data: DataReport
    rows: tuple[FuseRow, ...]
    chosen: FuseRow

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "backbone": str(self.output),
            "source": self.source,
            "tuned": list(self.tuned),
            "recipe": self.recipe,
            "data": self.data.to_json(),
            "alpha": self.chosen.alpha,
            "batch_norm_re_estimated": self.chosen.re_estimated,
            "tried": [row.to_json() for row in self.rows],
        }

    def as_text(self) -> str:
        """Return the report for people; of the test split only what was chosen is told."""
        rows = [["alpha", "batch norm", "validation", *(["old task"] if self.chosen.old else []), ""]]
        for row in self.rows:
            mark = "chosen" if row is self.chosen else ""
            norm = "estimated again" if row.re_estimated else "kept"
            on = [f"{one['val'].accuracy:.1%}" for one in (row.reports, row.old) if one]
            rows.append([f"{row.alpha:g}", norm, *on, mark])
        lines = [f"{self.source} (0) to {' + '.join(self.tuned)} (1), {self.recipe}", *aligned(rows, left=2)]
        for name, reports in (("test", self.chosen.reports), ("test, old task", self.chosen.old)):
            if "test" in reports:
                test = reports["test"]
                low, high = test.accuracy_95
                lines.append(f"{name}: {test.accuracy:.1%} ({low:.1%} to {high:.1%}, {test.samples} images)")
        lines += ["", f"next:  edgetransfer build DATA --backbone keras:{self.output} --output NAME.bundle"]
        return "\n".join(lines)


def fuse(
    options: BuildOptions,
    tuned: Sequence[Path],
    output: Path,
    *,
    alphas: Sequence[float] = ALPHAS,
    batch_norm: BatchNorm = "auto",
    old: Path | None = None,
    force: bool = False,
    watcher: Watcher | None = None,
) -> FuseReport:
    """Write the model between the backbone of `options` and the mean of the `tuned` ones that does best on validation.

    Each candidate is deployed as the recipe says, and gets a head of its own on what the deployed graph computes.

    Args:
        options: The source backbone, data, recipe, device.
        tuned: `.keras` files that `finetune` or `distill` wrote from that backbone; of several the mean is taken.
        output: NAME.keras.
        alphas: From 0, the source, to 1, the tuned mean; beyond 1 goes further than tuning did.
        batch_norm: Keep the interpolated statistics, estimate them again on training images, or let validation choose.
        old: Images of the task that the source knew: of models that are within a point of the best on the new task's
            validation split, the one is taken that does best on the old one's. None: only the new task counts.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: models of different architectures, bad data, an output that exists.
    """
    watcher = watcher or Silent()
    check_output(output, force=force)
    check_images(options)
    if not tuned or not alphas:
        raise BackboneError("fuse: expected at least one tuned model and one alpha, got none")
    watcher.stage("reading the data")
    dataset = read_data(options, options.data, watcher)
    check_images(options, dataset)
    line = _Line(options, tuned)
    with tempfile.TemporaryDirectory(prefix="edgetransfer-") as folder:
        work = _Work(line, options, dataset, Path(folder), watcher, old)
        rows = [work.source()]
        rows += [work.row(alpha, re_estimated=batch_norm == "re_estimate") for alpha in alphas]
        best = chosen_of(rows)
        if batch_norm == "auto" and best.alpha:
            rows.append(work.row(best.alpha, re_estimated=True))
        best = chosen_of(rows)
        work.set_to(best.alpha, re_estimated=best.re_estimated)
    write_backbone(output, line.model, line.facts(best.alpha, re_estimated=best.re_estimated, data=dataset.fingerprint))
    names = tuple(path.name for path in tuned)
    return FuseReport(output, line.name, names, work.recipe, dataset.report, tuple(rows), best)


class _Line:
    """The models from the source to the tuned mean; `model` is one of them at a time."""

    def __init__(self, options: BuildOptions, tuned: Sequence[Path]) -> None:
        source = backbones.load(options.backbone)
        choices = [BackboneChoice(f"{backbones.OWN}{path}") for path in tuned]
        others = [backbones.load(choice) for choice in choices]
        names = [source.name, *(str(path) for path in tuned)]
        check_alike([source.model, *(other.model for other in others)], names)
        for other, name in zip(others, names[1:], strict=True):
            if other.normalisation != source.normalisation:
                raise BackboneError(f"{name}: expects other pixels than {source.name}; fuse models of one kind")
        self.model, self.name, self.normalisation = source.model, source.name, source.normalisation
        self._facts = facts_of(source, options.backbone)
        self._tuned = [path.name for path in tuned]
        self._ends: tuple[Weights, Weights] = (
            weights_of(source.model),
            averaged([weights_of(other.model) for other in others]),
        )

    def set_to(self, alpha: float) -> None:
        """Give `model` the weights at `alpha`."""
        for weight, value in zip(self.model.weights, interpolated(*self._ends, alpha), strict=True):
            weight.assign(value)

    def facts(self, alpha: float, *, re_estimated: bool, data: str) -> BackboneFacts:
        """Return what is known of the model at `alpha`."""
        return self._facts.then(
            "fuse", tuned=", ".join(self._tuned), alpha=alpha, batch_norm_re_estimated=re_estimated, data=data
        )


class _Work:
    """Judges models on the line, each deployed."""

    def __init__(
        self,
        line: _Line,
        options: BuildOptions,
        dataset: Dataset,
        folder: Path,
        watcher: Watcher,
        old: Path | None,
    ) -> None:
        self._line, self._options, self._dataset = line, options, dataset
        self._folder, self._watcher = folder, watcher
        self._old = None
        if old is not None:
            watcher.stage("reading the data of the old task")
            self._old = read_data(options, old, watcher)
            check_images(options, self._old)
        self._as_it_came = deployed_backbone(options, dataset, "alpha 0", watcher)
        self.recipe = resolve_plan(options).recipe.name

    def source(self) -> FuseRow:
        return FuseRow(0.0, False, self._as_it_came.reports, self._on_old_task(self._options, "alpha 0"))

    def row(self, alpha: float, *, re_estimated: bool) -> FuseRow:
        self.set_to(alpha, re_estimated=re_estimated)
        path = self._folder / "candidate.keras"
        write_backbone(path, self._line.model, self._line.facts(alpha, re_estimated=re_estimated, data=""))
        options = tuned_options(self._options, path)
        spec = self._as_it_came.spec
        found = deployed_backbone(options, self._dataset, f"alpha {alpha:g}", self._watcher, spec=spec)
        return FuseRow(alpha, re_estimated, found.reports, self._on_old_task(options, f"alpha {alpha:g}"))

    def _on_old_task(self, options: BuildOptions, title: str) -> Mapping[str, EvalReport]:
        if self._old is None:
            return {}
        # Ranges are measured on the new task, which the device will see: it is the same graph.
        how: dict[str, Any] = {"spec": self._as_it_came.spec, "calibrated_on": self._dataset}
        return deployed_backbone(options, self._old, f"{title} on the old task", self._watcher, **how).reports

    def set_to(self, alpha: float, *, re_estimated: bool) -> None:
        self._line.set_to(alpha)
        if re_estimated:
            re_estimate(self._line.model, self._batches())

    def _batches(self) -> Iterator[NDArray[np.float32]]:
        some = sorted(self._dataset.split("train"), key=lambda sample: sample.sha256)[:RE_ESTIMATED_ON]
        batches = ViewBatches(
            some,
            self._as_it_came.spec,
            self._line.normalisation,
            batch_size=64,
            views=0,
            workers=self._options.workers,
        )
        return batches.plain_pixels()
