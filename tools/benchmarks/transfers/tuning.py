"""Frozen, frozen with augmented views, fine-tuned, fused, and tuned with fake quantization."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from edgetransfer.pipeline.backbone_output import tuned_options
from edgetransfer.pipeline.finetune import finetune
from edgetransfer.pipeline.finetune_report import kept_text
from edgetransfer.pipeline.fuse import fuse
from edgetransfer.pipeline.options import BuildOptions
from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.transfer.tuning import TuneOptions
from transfers.rows import Clock, Rows, Says

_AWARE = {"epochs": 2, "unfreeze": (1.0,), "learning_rate": 5e-5}  # from tuned weights: only the rounding is new


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--epochs", type=int, default=TuneOptions().epochs)
    parser.add_argument("--learning-rate", type=float, default=TuneOptions().learning_rate)
    parser.add_argument("--views", type=int, default=8, help="augmented views of the frozen row [default: 8]")
    parser.add_argument("--only-tuned", action="store_true", help="leave the rows with views out")


def run(asked: argparse.Namespace, folder: Path) -> Rows:
    options = BuildOptions(asked.data, BackboneChoice(asked.backbone, input_px=asked.input_size), golden="none")
    how = TuneOptions(epochs=asked.epochs, learning_rate=asked.learning_rate)
    rows = Rows(f"{asked.backbone}, {asked.data.name}, {asked.epochs} epochs of tuning; minutes from the data on")
    rows.add("frozen", options, folder, Clock())
    if not asked.only_tuned:
        rows.add("frozen with views", replace(options, augment=asked.views), folder, Clock(), f"{asked.views} views")
    clock = Clock()
    tuned, fused, aware = (folder / f"{name}.keras" for name in ("tuned", "fused", "aware"))
    found = finetune(options, how, tuned, force=True, watcher=Says())
    row = rows.add("fine-tuned", tuned_options(options, tuned), folder, clock, kept_text(found.tuned))
    clock = Clock(row.minutes)
    chosen = fuse(options, [tuned], fused, force=True, watcher=Says()).chosen
    norm = ", batch norm estimated again" if chosen.re_estimated else ""
    fused_row = rows.add("fused", tuned_options(options, fused), folder, clock, f"alpha {chosen.alpha:g}{norm}")
    clock = Clock(row.minutes)
    aware_how = replace(how, **_AWARE)
    again = finetune(
        tuned_options(options, tuned), aware_how, aware, quantization_aware=True, force=True, watcher=Says()
    )
    about = f"from the fine-tuned one; {kept_text(again.tuned)}"
    rows.add("quantization-aware", tuned_options(options, aware), folder, clock, about)
    if not asked.only_tuned:
        viewed = replace(tuned_options(options, fused), augment=asked.views)
        rows.add("fused with views", viewed, folder, Clock(fused_row.minutes), f"{asked.views} views")
    rows.compare(options)
    return rows
