"""scikit-learn's digits, then the new data: tuned plainly, with replay, fused; and what is left of the digits."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset
from edgetransfer.evaluate import Z_95
from edgetransfer.pipeline.backbone_output import tuned_options
from edgetransfer.pipeline.demo import write_digits
from edgetransfer.pipeline.deployed import DeployedBackbone, deployed_backbone
from edgetransfer.pipeline.finetune import Replay, finetune
from edgetransfer.pipeline.fuse import WITHIN, fuse
from edgetransfer.pipeline.options import BuildOptions, Silent
from edgetransfer.pipeline.train import labels_of, read_data
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.text_table import aligned
from edgetransfer.transfer.tuning import TuneOptions
from transfers.rows import Clock, Says

_PLAIN, _REPLAY, _FUSED = "tuned plainly", "with replay", "fused"
_COLUMNS = ("new task", "digits, head fitted anew", "digits, head as it was")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3, help="times that all is tuned anew [default: 3]")
    parser.add_argument(
        "--shares",
        type=float,
        nargs="+",
        default=[0.1, 0.2, 0.3],
        help="of digits among the images, with replay; the first seed's validation chooses [default: 0.1 0.2 0.3]",
    )


@dataclass(frozen=True)
class Remembered:
    """One tuned backbone, deployed: which test images it gets right, in the order of `_COLUMNS`.

    `val_new` is its accuracy on the new task's validation split, `val_old_loss` its log loss on the digits'.
    """

    about: str
    right: tuple[NDArray[np.bool_], ...]
    val_new: float
    val_old_loss: float
    minutes: float


@dataclass(frozen=True)
class Memories:
    """All ways, each once a seed."""

    title: str
    rows: Mapping[str, Sequence[Remembered]]
    tried: Mapping[str, Remembered]

    def as_text(self) -> str:
        """Return the table of means over seeds, and what each way brought beside tuning plainly."""
        table = [["mean over seeds", *_COLUMNS, "validation, new task", "minutes", ""]]
        for name, some in self.rows.items():
            means = [f"{np.mean([one.right[column] for one in some]):.1%}" for column in range(len(_COLUMNS))]
            val, minutes = np.mean([one.val_new for one in some]), np.mean([one.minutes for one in some])
            table.append(
                [name, *means, f"{val:.1%}", f"{minutes:.1f}", ", ".join(one.about for one in some if one.about)]
            )
        lines = [self.title, *aligned(table)]
        for name, some in self.tried.items():
            lines.append(f"{name}: validation {some.val_new:.1%}, log loss on the digits' {some.val_old_loss:.3f}")
        for name in (_REPLAY, _FUSED):
            for column, title in enumerate(_COLUMNS):
                mean, half, each = self._against_plain(name, column)
                seeds = ", ".join(f"{one:+.1f}" for one in each)
                lines.append(f"{name} against {_PLAIN}, {title}: {mean:+.2f} +- {half:.2f} points (seeds: {seeds})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON values."""
        return {
            "rows": {name: [_json(one) for one in some] for name, some in self.rows.items()},
            "tried": {name: _json(one) for name, one in self.tried.items()},
        }

    def _against_plain(self, name: str, column: int) -> tuple[float, float, list[float]]:
        """Return in points how much more is right than without: the mean, its 95 % over images, and each seed's."""
        more = [
            one.right[column].astype(np.float64) - plain.right[column]
            for one, plain in zip(self.rows[name], self.rows[_PLAIN], strict=True)
        ]
        by_image = np.mean(more, axis=0)
        half = Z_95 * by_image.std(ddof=1) / len(by_image) ** 0.5
        return 100 * float(by_image.mean()), 100 * float(half), [100 * float(one.mean()) for one in more]


def run(asked: argparse.Namespace, folder: Path) -> Memories:
    write_digits(folder / "digits")
    choice = BackboneChoice(asked.backbone, input_px=asked.input_size)
    old_options = BuildOptions(folder / "digits", choice, fit="squash")
    knows = folder / "knows_digits.keras"
    clock = Clock()
    finetune(old_options, TuneOptions(epochs=asked.epochs), knows, force=True, watcher=Says())
    options = tuned_options(replace(old_options, data=asked.data), knows)
    watch = _Watch(options, folder / "digits", knows)
    ways = _Ways(options, folder, watch, asked.epochs)
    rows: dict[str, list[Remembered]] = {"before the new task": [watch.row("", knows, clock)]}
    rows |= {_PLAIN: [], _REPLAY: [], _FUSED: []}
    tried: dict[str, Remembered] = {}
    for seed in range(asked.seeds):
        rows[_PLAIN].append(ways.tuned(seed, None))
        if not tried:
            tried = {f"replay share {share:g}": ways.tuned(seed, share) for share in asked.shares}
            share = asked.shares[_chosen(list(tried.values()), rows[_PLAIN][0])]
            rows[_REPLAY].append(tried[f"replay share {share:g}"])
        else:
            rows[_REPLAY].append(ways.tuned(seed, share))
        rows[_FUSED].append(ways.fused(seed, rows[_PLAIN][-1].minutes))
    title = f"{asked.backbone}, {asked.input_size} px, int8; digits, then {asked.data.name}, {asked.epochs} epochs each"
    return Memories(title, rows, tried)


def _chosen(some: Sequence[Remembered], plain: Remembered) -> int:
    """Return which of them remembers best on validation among those as good on the new task, as `fuse` chooses."""
    near = [one for one in some if one.val_new >= plain.val_new - WITHIN] or [max(some, key=lambda one: one.val_new)]
    return some.index(min(near, key=lambda one: one.val_old_loss))


class _Ways:
    """The ways from the backbone that knows the digits to one that knows the new task."""

    def __init__(self, options: BuildOptions, folder: Path, watch: _Watch, epochs: int) -> None:
        self._options, self._folder, self._watch, self._epochs = options, folder, watch, epochs
        self._digits = folder / "digits"

    def tuned(self, seed: int, share: float | None) -> Remembered:
        replay = None if share is None else Replay(self._digits, share)
        clock, path = Clock(), self._path(seed, share)
        how = TuneOptions(epochs=self._epochs, seed=seed)
        finetune(self._options, how, path, replay=replay, force=True, watcher=Says())
        return self._watch.row("" if share is None else f"share {share:g}", path, clock)

    def fused(self, seed: int, minutes: float) -> Remembered:
        clock, path = Clock((minutes, 0.0)), self._folder / f"fused_{seed}.keras"
        plain = [self._path(seed, None)]
        found = fuse(self._options, plain, path, old=self._digits, force=True, watcher=Says()).chosen
        return self._watch.row(f"alpha {found.alpha:g}", path, clock)

    def _path(self, seed: int, share: float | None) -> Path:
        return self._folder / f"tuned_{seed}_{'plainly' if share is None else f'{share:g}'}.keras"


class _Watch:
    """Measures backbones on both tasks, deployed; ranges are measured on the new task, as the device will see it."""

    def __init__(self, options: BuildOptions, digits: Path, knows: Path) -> None:
        self._options = options
        self._new = read_data(options, options.data, Silent())
        self._old = read_data(options, digits, Silent())
        self._before = self._on(self._old, knows).head

    def row(self, about: str, path: Path, clock: Clock) -> Remembered:
        """Return what the backbone in `path` gets right; its minutes are those of `clock` until now."""
        minutes = clock.minutes()[0]
        new, old = self._on(self._new, path), self._on(self._old, path)
        right = (
            self._right(new, self._new, new.head),
            self._right(old, self._old, old.head),
            self._right(old, self._old, self._before),
        )
        return Remembered(about, right, new.reports["val"].accuracy, old.reports["val"].log_loss, minutes)

    def _on(self, dataset: Dataset, path: Path) -> DeployedBackbone:
        options = tuned_options(self._options, path)
        return deployed_backbone(options, dataset, path.stem, Says(), calibrated_on=self._new)

    @staticmethod
    def _right(found: DeployedBackbone, dataset: Dataset, head: tuple[Dense, ...]) -> NDArray[np.bool_]:
        """Return which images of the test split `head` gets right on what the graph computes of them."""
        said = apply_head(head, found.features["test"]).argmax(axis=1)
        return np.asarray(said == labels_of(dataset.split("test"), dataset.labels))


def _json(one: Remembered) -> dict[str, Any]:
    accuracies = {title: float(right.mean()) for title, right in zip(_COLUMNS, one.right, strict=True)}
    figures = {"validation": one.val_new, "digits_validation_log_loss": one.val_old_loss, "minutes": one.minutes}
    return {"about": one.about, "images": [len(right) for right in one.right], **accuracies, **figures}
