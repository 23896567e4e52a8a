"""Looks for wrong labels and odd images in the user's data, and measures what leaving them out brings."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import DataReport, Dataset, Sample
from edgetransfer.errors import OutputError
from edgetransfer.pipeline.deployed import DeployedBackbone, check_images, deployed_backbone, fitted
from edgetransfer.pipeline.finetune_report import report_row, reports_json
from edgetransfer.pipeline.options import BuildOptions, Silent, Watcher
from edgetransfer.pipeline.train import labels_of, read_data, resolve_plan
from edgetransfer.spec.atomic import refuse_place, write_atomically
from edgetransfer.spec.report import EvalReport
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.label_errors import check_labels, find_outliers

COLUMNS = ("path", "split", "label", "issue", "suggested", "amount")
_SPLITS = ("train", "val", "test")
_SHOWN = 10  # issues that the text names; the file and the JSON have all


@dataclass(frozen=True, slots=True)
class Issue:
    """Something to look at.

    Attributes:
        sample: Which image.
        kind: "label": another label is likelier; "outlier": it is like no other image.
        suggested: The likelier label; "" of an outlier.
        amount: How much likelier, in probability; of an outlier its mean cosine distance to its nearest neighbours.
    """

    sample: Sample
    kind: str
    suggested: str
    amount: float

    @property
    def row(self) -> tuple[str, ...]:
        """The issue as a line of the table, under `COLUMNS`."""
        sample = self.sample
        return (str(sample.path), sample.split, sample.label, self.kind, self.suggested, f"{self.amount:.4f}")


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What was found, the clearest first, and how right heads are that learn with and without it.

    Attributes:
        issues: Wrong labels, then outliers.
        rows: What a head learned from, to how right it then was on validation and test, which stay as they are.
        output: The table of all issues; None where none was asked for.
    """

    data: DataReport
    recipe: str
    issues: tuple[Issue, ...]
    rows: Mapping[str, Mapping[str, EvalReport]]
    output: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "data": self.data.to_json(),
            "recipe": self.recipe,
            "issues": [dict(zip(COLUMNS, (*one.row[:-1], one.amount), strict=True)) for one in self.issues],
            "heads": {name: reports_json(reports) for name, reports in self.rows.items()},
            "output": None if self.output is None else str(self.output),
        }

    def as_text(self) -> str:
        """Return the report for people: the clearest issues, and what leaving them out brings."""
        labels = [one for one in self.issues if one.kind == "label"]
        outliers = [one for one in self.issues if one.kind == "outlier"]
        lines = [self.data.as_text(), "", f"labels that are probably wrong: {len(labels)}"]
        lines += [f"  {one.sample.path}  {one.sample.label}: {one.suggested}?" for one in labels[:_SHOWN]]
        lines.append(f"images that are like no others: {len(outliers)}")
        lines += [f"  {one.sample.path}  {one.sample.label}" for one in outliers[:_SHOWN]]
        heading = [f"{self.recipe}, head trained on", "validation", "test", "95 % interval of test"]
        lines += ["", *aligned([heading, *(report_row(name, one) for name, one in self.rows.items())])]
        lines.append("Validation and test keep all of their images and labels, wrong ones too.")
        if self.output is not None:
            lines += ["", f"all of them: {self.output}; look at each before you take it out"]
        return "\n".join(lines)


def clean(
    options: BuildOptions, output: Path | None = None, *, force: bool = False, watcher: Watcher | None = None
) -> CleanReport:
    """Look for wrong labels and outliers in all splits of the data of `options`; nothing in the data is changed.

    Args:
        options: Data, backbone and recipe; how heads are trained.
        output: A CSV file for all issues; None for none.
        force: Replace what is there.
        watcher: Is told the stages.

    Raises:
        EdgetransferError: bad data, a label with a single image, an output that exists.
    """
    watcher = watcher or Silent()
    if output is not None:
        refuse_place(output, force=force)
    check_images(options)
    watcher.stage("reading the data")
    dataset = read_data(options, options.data, watcher)
    check_images(options, dataset)
    deployed = deployed_backbone(options, dataset, "the backbone", watcher)
    watcher.stage("judging each image by the others")
    samples = [sample for split in _SPLITS for sample in dataset.split(split)]
    table = np.concatenate([deployed.features[split] for split in _SPLITS if split in deployed.features])
    labels = labels_of(samples, dataset.labels)
    checked = check_labels(table, labels, len(dataset.labels), seed=options.seed)
    odd, distances = find_outliers(table)
    issues = [
        Issue(samples[row], "label", dataset.labels[checked.suggested[row]], float(checked.margin[row]))
        for row in np.flatnonzero(checked.suspected)
    ]
    outliers = [Issue(samples[row], "outlier", "", float(distances[row])) for row in np.flatnonzero(odd)]
    found = tuple(sorted(issues, key=_clearest) + sorted(outliers, key=_clearest))
    train = slice(0, len(dataset.split("train")))
    rows = _compared(options, dataset, deployed, (checked.suspected[train], odd[train]), watcher)
    if output is not None:
        _write(output, found)
    return CleanReport(dataset.report, resolve_plan(options).recipe.name, found, rows, output)


def _compared(
    options: BuildOptions,
    dataset: Dataset,
    deployed: DeployedBackbone,
    marked: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    watcher: Watcher,
) -> dict[str, Mapping[str, EvalReport]]:
    """Return how right heads are on the same validation and test images, by what of the training split they saw."""
    rows: dict[str, Mapping[str, EvalReport]] = {"all training images": deployed.reports}
    labels = {split: labels_of(dataset.split(split), dataset.labels) for split in deployed.features}
    suspected, odd = marked
    for name, out in (("without suspected labels", suspected), ("without outliers either", suspected | odd)):
        kept = labels["train"][~out]
        if out.any() and len(np.unique(kept)) == len(dataset.labels):
            watcher.stage(f"training the head {name}")
            tables = {**deployed.features, "train": deployed.features["train"][~out]}
            title = f"{name} ({int(out.sum())} left out)"
            _, rows[title] = fitted(tables, {**labels, "train": kept}, dataset.labels, title, options, watcher)
    return rows


def _clearest(issue: Issue) -> tuple[float, str]:
    return (-issue.amount, issue.sample.sha256)


def _write(path: Path, issues: tuple[Issue, ...]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(one.row for one in issues)])
    try:
        write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
    except OSError as trouble:
        raise OutputError(f"output {str(path)!r}: cannot be written ({trouble.strerror})") from trouble
