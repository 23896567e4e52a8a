"""scikit-learn's digits, then the new data: tuned plainly, with replay, fused; and what is left of the digits."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgetransfer.data import Dataset
from edgetransfer.evaluate import wilson_interval
from edgetransfer.features.extract import View, extract
from edgetransfer.pipeline.backbone_output import tuned_options
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.deployed import DeployedBackbone, deployed_backbone
from edgetransfer.pipeline.finetune import Replay, finetune
from edgetransfer.pipeline.fuse import fuse
from edgetransfer.pipeline.options import BuildOptions, Silent
from edgetransfer.pipeline.train import labels_of, read_data
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.dense import apply_head
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.tuning import TuneOptions
from transfers.rows import Clock, Says


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.3, help="of digits among the images, with replay")


@dataclass(frozen=True)
class Remembered:
    """One way: how right its graph is on the new task, and on the old one with a new head and with the head it had."""

    name: str
    new: float
    refitted: float
    kept: float
    minutes: float


@dataclass(frozen=True)
class Memories:
    """All ways; `images` are those of the two test splits."""

    title: str
    rows: tuple[Remembered, ...]
    images: tuple[int, int]

    def as_text(self) -> str:
        """Return the table."""
        heading = ["", "new task", "digits, head fitted anew", "digits, head as it was", "minutes"]
        table = [heading]
        for row in self.rows:
            cells = [_cell(row.new, self.images[0]), _cell(row.refitted, self.images[1])]
            table.append([row.name, *cells, _cell(row.kept, self.images[1]), f"{row.minutes:.1f}"])
        return "\n".join([self.title, *aligned(table)])

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "images": list(self.images),
            "rows": [
                {
                    "name": row.name,
                    "new": row.new,
                    "digits_refitted": row.refitted,
                    "digits_kept": row.kept,
                    "minutes": row.minutes,
                }
                for row in self.rows
            ],
        }


def run(asked: argparse.Namespace, folder: Path) -> Memories:
    write_digits(folder / "digits")
    how = TuneOptions(epochs=asked.epochs)
    choice = BackboneChoice(asked.backbone, input_px=asked.input_size)
    old_options = BuildOptions(folder / "digits", choice, fit="squash")
    knows = folder / "knows_digits.keras"
    clock = Clock()
    finetune(old_options, how, knows, force=True, watcher=Says())
    options = tuned_options(replace(old_options, data=asked.data), knows)
    watch = _Watch(options, folder / "digits", knows)
    rows = [watch.row("before the new task", knows, clock.minutes()[0])]
    for name, replay in (("tuned plainly", None), ("with replay", Replay(folder / "digits", asked.share))):
        clock, path = Clock(), folder / f"{name.replace(' ', '_')}.keras"
        finetune(options, how, path, replay=replay, force=True, watcher=Says())
        rows.append(watch.row(name, path, clock.minutes()[0]))
    clock, path = Clock((rows[1].minutes, 0.0)), folder / "fused.keras"
    plain = folder / "tuned_plainly.keras"
    found = fuse(options, [plain], path, old=folder / "digits", force=True, watcher=Says())
    rows.append(watch.row(f"fused, alpha {found.chosen.alpha:g}", path, clock.minutes()[0]))
    title = f"{asked.backbone}, {asked.input_size} px, int8; digits, then {asked.data.name}, {asked.epochs} epochs each"
    return Memories(title, tuple(rows), watch.images)


class _Watch:
    """Measures backbones on both tasks, deployed; ranges are measured on the new task, as the device will see it."""

    def __init__(self, options: BuildOptions, digits: Path, knows: Path) -> None:
        self._options = options
        self._new = read_data(options, options.data, Silent())
        self._old = read_data(options, digits, Silent())
        self._before = self._on(self._old, knows)

    @property
    def images(self) -> tuple[int, int]:
        return len(self._new.split("test")), len(self._old.split("test"))

    def row(self, name: str, path: Path, minutes: float) -> Remembered:
        new, old = self._on(self._new, path), self._on(self._old, path)
        return Remembered(name, new.reports["test"].accuracy, old.reports["test"].accuracy, self._kept(old), minutes)

    def _on(self, dataset: Dataset, path: Path) -> DeployedBackbone:
        options = tuned_options(self._options, path)
        return deployed_backbone(options, dataset, path.stem, Says(), calibrated_on=self._new)

    def _kept(self, old: DeployedBackbone) -> float:
        """Return how right the head is that the digits had before, on what the graph computes of them now."""
        samples = self._old.split("test")
        features = extract(old.graph, [View(sample) for sample in samples], old.spec, engine="litert").real
        said = apply_head(self._before.head, features).argmax(axis=1)
        return float((said == labels_of(samples, self._old.labels)).mean())


def _cell(share: float, images: int) -> str:
    """Return a share with its 95 % interval."""
    low, high = wilson_interval(round(share * images), images)
    return f"{share:.1%} ({low:.1%} to {high:.1%})"
