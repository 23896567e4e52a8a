"""Keras, LiteRT and ONNX in float32, one backbone under one head: do they give the same answers?

    tools/bench parity --data SPLITS.csv [--backbone efficientnet_lite0] [--int8] [--json]

A run is built with recipe float32 for LiteRT, and written as an ONNX bundle too, with the very same head; then
`edgetransfer parity` compares the Keras model and both bundles on the whole test split. Target: 0 disagreements in
top-1. --int8 also builds static_int8 bundles for both formats, each with a head of its own, beside their float Keras
models: what quantization costs, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photos or a CSV; the digits if not given")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        reports = measure(asked, Path(name))
    if asked.json:
        print(json.dumps({name: report.to_json() for name, report in reports.items()}))
        return
    for name, report in reports.items():
        print(f"=== {name} ===\n{report.as_text()}\n")
    print(summary(reports["float32"]))


def measure(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from edgetransfer.data import load_dataset
    from edgetransfer.pipeline.build import build, export
    from edgetransfer.pipeline.demo import write_digits
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.parity import parity
    from edgetransfer.spec.backbone import BackboneChoice

    data = asked.data
    if data is None:
        data = folder / "digits"
        write_digits(data)
    choice = BackboneChoice(asked.backbone, weights=asked.weights)
    dataset = load_dataset(data)

    def options(recipe: str, **changes: Any) -> BuildOptions:
        return BuildOptions(data=data, backbone=choice, recipe=recipe, float_reference=False, **changes)

    litert, run, onnx = folder / "litert.bundle", folder / "litert.run", folder / "onnx.bundle"
    build(options("float32"), litert)
    export(run, onnx, format="onnx")
    reports = {"float32": parity([run, litert, onnx], dataset)}
    if asked.int8:
        for format in ("litert", "onnx"):
            bundle = folder / f"{format}_int8.bundle"
            build(options("static_int8", format=format), bundle)
            reports[f"static_int8, {format}"] = parity([bundle.with_suffix(".run"), bundle], dataset)
    return reports


def summary(report: Any) -> str:
    counts = ", ".join(f"{one.artifact} {len(one.disagreements)}" for one in report.outputs)
    bits = sum(one.bits for one in report.pixels)
    return f"disagreements with Keras in top-1 on {report.samples} images: {counts} (target 0); {bits} bits of pixels"


if __name__ == "__main__":
    main()
