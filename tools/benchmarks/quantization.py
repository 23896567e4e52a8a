"""What int8 costs over pairs of backbone and data, beside ordinary post-training quantization.

    tools/bench quantization --pair NAME,BACKBONE,DATA ... [--format litert --format onnx] [--seeds 5] [--rows FILE]

BACKBONE is a name or keras:PATH, with =SCALE:ZERO_POINT behind it where the file cannot
say what it expects of a pixel; DATA a folder or CSV (its splits are made here, by seed) or "digits", scikit-learn's.
For every pair, seed and format three models are scored on the test split, everything chosen on training and validation:

  float   the all-float model: float32 graph with a head trained on its features
  int8    the static_int8 bundle, head trained on the deployed graph's features (the default of `build`)
  ptq     the float model's own head on the static_int8 graph: ordinary post-training quantization, as a bundle

Differences are paired by split; 95 % intervals are Student's over the splits of a pair, and over all splits of all
pairs. Beside them: the cosine of deployed to float features on the test photos, and p50 latency of int8 over float32
on one and two threads, measured in turn. --rows keeps each row as it is made; an interrupted run goes on from there.
Without --pair: digits with efficientnet_lite0.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", action="append", metavar="NAME,BACKBONE,DATA")
    parser.add_argument("--format", action="append", choices=["litert", "onnx"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=Path, help="keep rows here, one JSON line each, and go on from those there")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pairs = [pair.split(",") for pair in asked.pair or ["lite0/digits,efficientnet_lite0,digits"]]
    rows = (
        [json.loads(line) for line in asked.rows.read_text().splitlines()] if asked.rows and asked.rows.exists() else []
    )
    done = {(row["pair"], row["seed"], row["format"]) for row in rows}
    for seed in range(asked.seeds):  # seed by seed, so that an early end has something of every pair
        for name, backbone, data in pairs:
            for format in asked.format or ["litert", "onnx"]:
                if (name, seed, format) in done:
                    continue
                rows.append(one(name, backbone, data, seed, format))
                os.write(2, (json.dumps(rows[-1]) + "\n").encode())
                if asked.rows:
                    with asked.rows.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    print(json.dumps(summary(rows), indent=1) if asked.json else as_text(rows))


def one(name: str, backbone: str, data: str, seed: int, format: str) -> dict[str, Any]:
    from edgetransfer.data import load_dataset
    from edgetransfer.evaluate import evaluate_bundle
    from edgetransfer.models.trained import TrainedModel
    from edgetransfer.pipeline.build import build
    from edgetransfer.pipeline.export import ExportOptions, write
    from edgetransfer.pipeline.options import BuildOptions, Silent

    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as text:
        folder = Path(text)
        options = BuildOptions(
            data=data_folder(data), backbone=choice(backbone), recipe="static_int8", format=format, seed=seed,
            golden="synthetic",
        )  # fmt: skip
        how = ExportOptions(allow=("accuracy",))  # the benchmark is there to tell what is lost
        report = build(options, folder / "int8.bundle", how=how)
        trained = TrainedModel.load(report.train.run)
        usual = replace(trained, head=trained.float_head)
        dataset = load_dataset(options.data, seed=seed)
        ptq, _ = write(usual, folder / "ptq.bundle", how, watcher=Silent())
        scores = {
            "float": report.floats["test"].accuracy,
            "int8": report.exported["test"].accuracy,
            "ptq": evaluate_bundle(ptq, dataset, "test", providers=()).accuracy,
        }
        row = {"pair": name, "seed": seed, "format": format, "samples": report.exported["test"].samples}
        row |= {key: 100 * value for key, value in scores.items()}
        row |= {"cosine": cosine(options, trained, dataset), "bytes": report.profiled.model_bytes}
        return row | (latencies(options, trained) if seed == 0 else {})


def choice(text: str) -> Any:
    from edgetransfer.spec.backbone import BackboneChoice
    from edgetransfer.spec.preprocess import Normalisation

    name, _, pixels = text.partition("=")
    if not pixels:
        return BackboneChoice(name)
    scale, zero_point = pixels.split(":")
    above, _, below = scale.partition("/")
    return BackboneChoice(name, normalisation=Normalisation(float(above) / float(below or 1), int(zero_point)))


def data_folder(text: str) -> Path:
    from edgetransfer.pipeline.demo import write_digits

    if text != "digits":
        return Path(text)
    folder = Path(tempfile.gettempdir()) / "edgetransfer-bench-digits"
    write_digits(folder)
    return folder


def cosine(options: Any, trained: Any, dataset: Any) -> float:
    from edgetransfer.features.deploy import float_backbone, float_graph
    from edgetransfer.features.extract import View, extract
    from edgetransfer.spec.preprocess import ImageInput

    views = [View(sample) for sample in dataset.split("test")]
    spec = ImageInput.from_json(trained.description["preprocess"])
    floats = float_graph(float_backbone(options.backbone, options.format))
    one, other = (extract(graph, views, spec, engine=options.format).real for graph in (trained.deployed, floats))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / np.maximum(norms, 1e-12)).mean())


def latencies(options: Any, trained: Any) -> dict[str, float]:
    """Return p50 ms of the float32 and the int8 backbone on one and two threads, all four in turn."""
    from edgetransfer.features.deploy import float_backbone, float_graph
    from edgetransfer.runtime.engines import open_engine

    graphs = {"float": float_graph(float_backbone(options.backbone, options.format)), "int8": trained.deployed}
    found = {}
    for threads in (1, 2):
        engines = {name: open_engine(options.format, graph, threads=threads) for name, graph in graphs.items()}
        pixels = np.random.default_rng(0).integers(0, 256, engines["int8"].input.shape, np.uint8)
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, engine in engines.items():
                started = time.perf_counter()
                engine.run(pixels)
                times[name].append(1e3 * (time.perf_counter() - started))
        found |= {f"{name}_ms_{threads}": float(np.median(values)) for name, values in times.items()}
    return found


def interval(differences: list[float]) -> tuple[float, float, float]:
    from scipy.stats import t

    values = np.array(differences)
    if len(values) < 2:
        return float(values.mean()), float("nan"), float("nan")
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": rows, "table": []}
    for format in dict.fromkeys(row["format"] for row in rows):
        of_format = [row for row in rows if row["format"] == format]
        for pair in [*dict.fromkeys(row["pair"] for row in of_format), "all"]:
            some = [row for row in of_format if pair in ("all", row["pair"])]
            line: dict[str, Any] = {"format": format, "pair": pair, "splits": len(some)}
            for key in ("float", "int8", "ptq", "cosine"):
                line[key] = float(np.mean([row[key] for row in some]))
            for key, other in (("int8", "float"), ("ptq", "float"), ("int8", "ptq")):
                line[f"{key}-{other}"] = interval([row[key] - row[other] for row in some])
            timed = [row for row in some if "float_ms_1" in row] if pair != "all" else []
            for threads in (1, 2):
                line[f"ratio_{threads}"] = (
                    timed[0][f"int8_ms_{threads}"] / timed[0][f"float_ms_{threads}"] if timed else None
                )
            found["table"].append(line)
    return found


def as_text(rows: list[dict[str, Any]]) -> str:
    head = f"{'format':<8}{'pair':<26}{'float':>7}{'int8':>7}{'ptq':>7}  {'int8 - float':<24}{'ptq - float':<24}"
    lines = [head + f"{'int8 - ptq':<24}{'cosine':>7}  int8/float32 ms, 1 and 2 threads"]
    for line in summary(rows)["table"]:
        cells = "".join(f"{line[key]:7.2f}" for key in ("float", "int8", "ptq"))
        spans = "".join(
            "{:+.2f} ({:+.2f} to {:+.2f})".format(*line[key]).ljust(24)
            for key in ("int8-float", "ptq-float", "int8-ptq")
        )
        ratios = "" if line["ratio_1"] is None else f"{line['ratio_1']:.2f}, {line['ratio_2']:.2f}"
        lines.append(f"{line['format']:<8}{line['pair']:<26}{cells}  {spans}{line['cosine']:7.4f}  {ratios}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
