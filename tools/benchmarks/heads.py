"""Three heads on one backbone beside three bundles, of the same split form and with their heads inside.

    tools/bench heads --data SPLITS.csv [--backbone efficientnet_lite0] [--runs 200] [--json]

The three questions are asked of the same photos: what it is (all labels), whether it is of the first half of the
labels, and which of the last three it is. A fourth head is then trained for the bundle and its bytes are what would be
sent to a device. Latencies are of one thread, in turn, from a frame to all three answers.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a CSV with path,label,split")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        report = compared(asked, Path(name))
    if asked.json:
        print(json.dumps(report, indent=1))
        return
    for key, value in report.items():
        print(f"{key:<42}{value}")


def questions(data: Path, folder: Path) -> dict[str, Path]:
    """Write the questions as tables and return them by name."""
    rows = list(csv.DictReader(data.open(encoding="utf-8")))
    labels = sorted({row["label"] for row in rows})
    half, last = set(labels[: len(labels) // 2]), set(labels[-3:])
    asked = {
        "what": [(row, row["label"]) for row in rows],
        "half": [(row, "first" if row["label"] in half else "second") for row in rows],
        "last": [(row, row["label"]) for row in rows if row["label"] in last],
    }
    found = {}
    for name, pairs in asked.items():
        lines = [f"{data.parent.resolve() / row['path']},{label},{row['split']}" for row, label in pairs]
        found[name] = folder / f"{name}.csv"
        found[name].write_text("\n".join(["path,label,split", *lines]) + "\n", encoding="utf-8")
    return found


def compared(asked: Any, folder: Path) -> dict[str, Any]:
    from edgetransfer.pipeline.build import build
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.split import build_split, train_head
    from edgetransfer.pipeline.split_head import HeadWish
    from edgetransfer.spec.backbone import BackboneChoice

    tables = questions(asked.data, folder)
    choice = BackboneChoice(asked.backbone)
    options = {
        name: BuildOptions(path, choice, fit="squash", hidden=0, golden="none", float_reference=False)
        for name, path in tables.items()
    }
    wishes = [HeadWish(name, path) for name, path in tables.items()]
    together = build_split(options["what"], wishes, folder / "together.bundle")
    alone = {
        name: build_split(one, [HeadWish(name, tables[name])], folder / f"{name}.bundle")
        for name, one in options.items()
    }
    inside = {name: build(one, folder / f"{name}_inside.bundle") for name, one in options.items()}
    fourth = train_head(together.bundle, HeadWish("fourth", tables["half"]), folder / "fourth.head", options["half"])
    rows = {row.trained.head.name: row for row in together.heads}
    accuracy = {}
    for name in tables:
        shared = rows[name].exported["test"].accuracy
        for title, other in (
            ("three bundles", alone[name].heads[0].exported["test"].accuracy),
            ("head inside", inside[name].exported["test"].accuracy),
        ):
            points = 100 * (shared - other)
            accuracy[f"accuracy of {name}, one and {title}"] = f"{shared:.2%} {other:.2%} ({points:+.2f} points)"
    report: dict[str, Any] = {}
    for title, three in (("three bundles", alone), ("heads inside", inside)):
        size_bytes = [total_bytes(together.bundle), sum(total_bytes(one.bundle) for one in three.values())]
        ms = latencies(together.bundle, [one.bundle for one in three.values()], asked.runs)
        report[f"bytes, one and {title}"] = f"{size_bytes[0]:,} {size_bytes[1]:,} ({size_bytes[0] / size_bytes[1]:.3f})"
        report[f"ms a frame, one and {title}"] = f"{ms[0]:.2f} {ms[1]:.2f} ({ms[0] / ms[1]:.3f})"
    return {
        **report,
        **accuracy,
        "bytes of each head": ", ".join(f"{name} {row.size_bytes:,}" for name, row in rows.items()),
        "bytes sent for a fourth head": f"{fourth.row.size_bytes:,}",
    }


def total_bytes(bundle: Any) -> int:
    return sum(file.size_bytes for file in bundle.manifest.files.values())


def latencies(one: Any, three: list[Any], runs: int) -> tuple[float, float]:
    """Return the median ms from a frame to all answers, of one bundle and of three, measured in turn."""
    from edgetransfer.runtime.predictor import Predictor

    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    together, alone = Predictor.load(one), [Predictor.load(bundle) for bundle in three]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for series, predictors in zip(times, ([together], alone), strict=True):
            started = time.perf_counter()
            for predictor in predictors:
                predictor.predict(frame)
            series.append(1e3 * (time.perf_counter() - started))
    return float(np.median(times[0])), float(np.median(times[1]))


if __name__ == "__main__":
    main()
