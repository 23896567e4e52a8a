"""What quantization and the deployed-features head do to test accuracy, over several seeded splits, in one run.

    tools/bench accuracy --data FOLDER [--given SPLITS.csv] [--seeds 5] [--backbone efficientnet_lite0] [--json]

For every split three models are built, each with everything chosen on its own train and validation splits:

  int8       static_int8 bundle, head trained on the deployed graph's features (the default of `build`)
  float      all-float model: float32 graph, head trained on its features
  float-head static_int8 bundle, head trained on float features (`--head-on float`)

and scored on the test split; int8 and float-head as exported bundles. Differences are paired by split; their 95 %
interval is Student's over the splits. --given is a CSV with splits of its own, scored once, with Wilson intervals.
Without --data, scikit-learn's digits are used.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with a folder for each class; the digits if not given")
    parser.add_argument("--given", type=Path, help="a CSV with splits, scored besides")
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_95))
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--augment", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        report = measure(asked, Path(name))
    print(json.dumps(report) if asked.json else as_text(report))


def measure(asked: argparse.Namespace, folder: Path) -> dict:
    from edgetransfer.pipeline.demo import write_digits
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.spec.backbone import BackboneChoice

    data = asked.data
    if data is None:
        data = folder / "digits"
        write_digits(data)
    options = BuildOptions(
        data=data, backbone=BackboneChoice(asked.backbone, weights=asked.weights), augment=asked.augment
    )
    rows = [three(replace(options, seed=seed), folder / f"seed{seed}") for seed in range(asked.seeds)]
    report = {"seeds": rows, "differences": {}}
    for name, other in (("int8 minus float", "float"), ("int8 minus float-head", "float-head")):
        report["differences"][name] = interval([row["int8"]["accuracy"] - row[other]["accuracy"] for row in rows])
    if asked.given:
        report["given"] = three(replace(options, data=asked.given), folder / "given")
    return report


def three(options, folder: Path) -> dict:
    from edgetransfer.pipeline.build import build

    report = build(options, folder / "int8.bundle")
    other = build(replace(options, head_on="float", float_reference=False), folder / "float_head.bundle")
    scores = {
        "int8": report.exported["test"],
        "float": report.floats["test"],
        "float-head": other.exported["test"],
    }
    found = {
        name: {"accuracy": 100 * one.accuracy, "interval": [100 * end for end in one.accuracy_95], "n": one.samples}
        for name, one in scores.items()
    }
    progress = ", ".join(f"{name} {one['accuracy']:.2f}" for name, one in found.items())
    os.write(2, f"{options.data.name} seed {options.seed}: {progress} ({report.train.fit})\n".encode())
    return found | {"fit": report.train.fit, "chosen": dict(report.train.chosen)}


def interval(differences: list[float]) -> dict[str, float]:
    values = np.array(differences)
    half = T_95[len(values)] * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}


def as_text(report: dict) -> str:
    lines = [f"{'split':<10}{'int8':>8}{'float':>8}{'float-head':>12}"]
    for seed, row in enumerate(report["seeds"]):
        cells = [row[name]["accuracy"] for name in ("int8", "float", "float-head")]
        lines.append(f"seed {seed:<5}{cells[0]:8.2f}{cells[1]:8.2f}{cells[2]:12.2f}")
    for name, one in report["differences"].items():
        lines.append(f"{name}: {one['mean']:+.2f} points (95 % interval {one['low']:+.2f} to {one['high']:+.2f})")
    if "given" in report:
        for name in ("int8", "float", "float-head"):
            one = report["given"][name]
            low, high = one["interval"]
            lines.append(
                f"given split, {name}: {one['accuracy']:.2f} (95 % {low:.1f} to {high:.1f}, {one['n']} images)"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
