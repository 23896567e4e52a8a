"""Latency predicted from `devices calibrate` beside measured, of networks that the calibration never saw.

    tools/bench latency [--engine litert|onnx] [--device FILE.toml] [--threads N] [--models FILE ...] [--folder FOLDER]
                        [--json]

Without --device this machine is calibrated first, as `edgetransfer devices calibrate` does. Without --models: the
architectures of keras.applications that `tools/bench memory` makes, as float32 and int8 files of the engine. Measured
is what the calibration measures, the tenth percentile of a series of calls: whatever else runs only makes calls slower.
The relative error is predicted over measured, minus one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from memory import ENDINGS, FOLDER, made

SECONDS = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENDINGS, default="litert", help="what runs them [default: litert]")
    parser.add_argument("--device", type=Path, metavar="FILE.toml", help="what `devices calibrate` wrote here")
    parser.add_argument("--threads", type=int, action="append", metavar="N", help="[default: 1]")
    parser.add_argument(
        "--models", type=Path, nargs="+", metavar="FILE", help=".tflite or .onnx files, as the engine takes"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where made models are kept [default: {FOLDER}]")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    threads = asked.threads or [1]
    models = asked.models or made(asked.folder, asked.engine)
    speeds = speeds_of(asked.device, asked.engine, threads)
    rows = [one(path, asked.engine, speeds, count) for count in threads for path in models]
    report = {"rows": rows, "errors": {name: errors(some) for name, some in groups(rows).items()}}
    print(json.dumps(report, indent=1) if asked.json else as_text(report))


def speeds_of(device: Path | None, engine: str, threads: list[int]) -> Any:
    from edgetransfer.pipeline.calibrate import calibrate_here
    from edgetransfer.spec.device import load_device

    if device is not None:
        return load_device(device).speeds
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as folder:
        report = calibrate_here(Path(folder) / "here.toml", engines=[engine], threads=threads)
    print(report.as_text().splitlines()[0], file=sys.stderr)
    return report.speeds


def one(path: Path, engine: str, speeds: Any, threads: int) -> dict[str, Any]:
    from edgetransfer.estimate.latency import predict
    from edgetransfer.export import get_exporter
    from edgetransfer.pipeline.calibrate import time_graph

    graph = path.read_bytes()
    expected = predict(get_exporter(engine).costs(graph), speeds, engine=engine, threads=threads)
    if expected is None or not expected.validated or expected.threads != threads:
        raise SystemExit(
            f"Error: nothing is known of the speed with {threads} threads: calibrate with --engine {engine} "
            f"--threads {threads}"
        )
    measured = time_graph(graph, threads, engine=engine, seconds=SECONDS)
    row = {"model": path.name.removesuffix(ENDINGS[engine]), "threads": threads, "measured_ms": measured}
    row |= {"predicted_ms": expected.ms, "low_ms": expected.low_ms, "high_ms": expected.high_ms}
    print(json.dumps(row), file=sys.stderr)
    return row | {"error": expected.ms / measured - 1, "held": expected.low_ms <= measured <= expected.high_ms}


def groups(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = {"all": rows}
    for name in ("float32", "int8"):
        found[name] = [row for row in rows if row["model"].endswith(name)]
    return {name: some for name, some in found.items() if some}


def errors(rows: list[dict[str, Any]]) -> dict[str, float]:
    sizes = [abs(row["error"]) for row in rows]
    return {
        "models": len(rows),
        "median": statistics.median(sizes),
        "p90": float(np.percentile(sizes, 90)),
        "most": max(sizes),
        "held": statistics.mean(row["held"] for row in rows),
    }


def as_text(report: dict[str, Any]) -> str:
    lines = [f"{'model':<32}{'threads':>8}{'measured ms':>13}{'predicted ms':>14}{'error':>8}  interval"]
    for row in report["rows"]:
        lines.append(
            f"{row['model']:<32}{row['threads']:>8}{row['measured_ms']:>13.2f}{row['predicted_ms']:>14.2f}"
            f"{row['error']:>+8.1%}  {row['low_ms']:.2f} to {row['high_ms']:.2f}{'' if row['held'] else ' NOT HELD'}"
        )
    for name, found in report["errors"].items():
        lines.append(
            f"{name}: {found['models']} models, error median {found['median']:.1%}, p90 {found['p90']:.1%}, most "
            f"{found['most']:.1%}; the interval held for {found['held']:.0%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
