"""Every recipe in every format: nearness to the float features, accuracy, latency and bytes relative to float32.

    tools/bench recipes [--data FOLDER_OR_CSV] [--backbone NAME] [--format NAME]... [--recipe NAME_OR_TOML]... [--json]

Each recipe is carried out as a build does it, on photos of the training split. Of the deployed features:

* cosine: to the float32 features of that format, mean over --test photos of the test split;
* drop: accuracy of a ridge classifier on float32 features minus on these, each fitted to features of its own of
  --train photos, in points (one test photo is 100 / --test points);
* time: latency over float32's, p50, at one and two threads, all recipes of a format taking turns;
* bytes: of the backbone's file, over float32's.

A recipe that the format cannot carry out is listed with the reason. Microcontrollers' interpreter takes a second for
an image of 224 px: ask for it with --format tflm and a small --backbone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RIDGE = 0.1  # of the mean square of the features
THREADS = (1, 2)
WARM_UP = 3
SLOW_MS = 100.0
SLOW_ROUNDS = 3  # of a recipe whose image takes longer than that


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photos or a CSV; scikit-learn's digits if not given")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--format", action="append", help="litert and onnx if not given")
    parser.add_argument("--recipe", action="append", help="a name or a .toml file; all known ones if not given")
    parser.add_argument("--train", type=int, default=300, help="photos that the classifier is fitted to (default 300)")
    parser.add_argument("--test", type=int, default=250, help="photos that it is judged on (default 250)")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each recipe at each count of threads")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as folder:
        rows = measure(asked, Path(folder))
    if asked.json:
        print(json.dumps({"backbone": asked.backbone, "rows": rows}))
        return
    print(f"{asked.backbone}, {asked.train} photos to fit, {asked.test} to judge")
    print(f"{'recipe':<24}{'format':<8}{'cosine':>9}{'drop':>7}{'time 1':>8}{'time 2':>8}{'bytes':>7}")
    for row in rows:
        print(as_line(row))


def measure(asked: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    from edgetransfer.data import load_dataset
    from edgetransfer.features.deploy import calibration, float_backbone
    from edgetransfer.features.extract import View, model_input
    from edgetransfer.pipeline.demo import write_digits
    from edgetransfer.spec.backbone import BackboneChoice
    from edgetransfer.spec.preprocess import ImageInput
    from edgetransfer.spec.recipe import RECIPES
    from edgetransfer.spec.recipe_file import load_recipe

    if asked.data is None:
        write_digits(folder / "digits")
    dataset = load_dataset(asked.data or folder / "digits")
    recipes = [load_recipe(text) for text in asked.recipe or RECIPES]
    recipes = [RECIPES["float32"], *(recipe for recipe in recipes if recipe.name != "float32")]
    rows = []
    for format in asked.format or ("litert", "onnx"):
        backbone = float_backbone(BackboneChoice(asked.backbone), format)
        spec = ImageInput(backbone.height_px, backbone.width_px)
        training = dataset.split("train")
        drawn = [first_by_hash(training, asked.train), first_by_hash(dataset.split("test"), asked.test)]
        images = [np.stack([model_input(View(sample), spec) for sample in samples]) for samples in drawn]
        labels = [np.array([sample.label for sample in samples]) for samples in drawn]
        given = calibration(backbone, training, spec)
        made = [carried_out(asked.backbone, format, recipe, backbone, training, spec, given) for recipe in recipes]
        rows += of_format(format, made, images, labels, asked.rounds)
    return rows


def first_by_hash(samples: Sequence[Any], count: int) -> list[Any]:
    """Return `count` samples of all classes, the same each time."""
    return sorted(samples, key=lambda sample: sample.sha256)[:count]


def carried_out(
    backbone_name: str, format: str, recipe: Any, backbone: Any, training: Any, spec: Any, given: Any
) -> tuple[str, bytes | None, str]:
    """Return the recipe's name, the deployed graph or None, and why there is none."""
    from edgetransfer.errors import EdgetransferError
    from edgetransfer.features.deploy import deploy
    from edgetransfer.models import backbones
    from edgetransfer.quantize.plan import make_plan

    try:
        if recipe.name != "float32":  # the yardstick, in formats too that do not ship it
            recipe = make_plan(backbones.get_spec(backbone_name), recipe, format=format).recipe
        return recipe.name, deploy(backbone, recipe, training, spec, given), ""
    except EdgetransferError as refusal:
        return recipe.name, None, str(refusal)


def of_format(
    format: str, made: Sequence[tuple[str, bytes | None, str]], images: Any, labels: Any, rounds: int
) -> list[dict[str, Any]]:
    from edgetransfer.export import get_exporter

    exporter = get_exporter(format)
    graphs = {name: graph for name, graph, _ in made if graph is not None}
    engines = {name: exporter.FLOAT_ENGINE if name == "float32" else exporter.ENGINE for name in graphs}
    times = [latencies(graphs, engines, threads, rounds, images[1][0]) for threads in THREADS]
    found = {name: [features(engines[name], graph, part) for part in images] for name, graph in graphs.items()}
    accuracy = {name: accuracy_of(*parts, *labels) for name, parts in found.items()}
    rows = []
    for name, graph, reason in made:
        row: dict[str, Any] = {"recipe": name, "format": format}
        if graph is None:
            rows.append(row | {"refused": reason})
            continue
        row["cosine"] = mean_cosine(found[name][1], found["float32"][1])
        row["accuracy"] = accuracy[name]
        row["drop_points"] = 100 * (accuracy["float32"] - accuracy[name])
        for threads, measured in zip(THREADS, times, strict=True):
            row[f"ms_{threads}"] = measured[name]
            row[f"time_{threads}"] = measured[name] / measured["float32"]
        row["bytes"] = len(graph)
        row["relative_bytes"] = len(graph) / len(graphs["float32"])
        rows.append(row)
    return rows


def latencies(
    graphs: dict[str, bytes], engines: dict[str, str], threads: int, rounds: int, image: Any
) -> dict[str, float]:
    """Return the p50 of each graph in ms, all taking turns."""
    from edgetransfer.runtime.engines import open_engine

    opened = {name: open_engine(engines[name], graph, threads=threads) for name, graph in graphs.items()}
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for number in range(-WARM_UP, rounds):
        for name, engine in opened.items():
            if len(times[name]) >= SLOW_ROUNDS and statistics.median(times[name]) > SLOW_MS:
                continue
            begun = time.perf_counter()
            engine.run(image[None])
            if number >= 0:
                times[name].append(1e3 * (time.perf_counter() - begun))
    for engine in opened.values():
        engine.close()
    return {name: statistics.median(measured) for name, measured in times.items()}


def features(engine_name: str, graph: bytes, images: Any) -> Any:
    from edgetransfer.runtime.cores import available_cores
    from edgetransfer.runtime.engines import open_engine

    def part(share: Any) -> Any:
        engine = open_engine(engine_name, graph)
        rows = [engine.output.to_real(engine.run(image[None])) for image in share]
        engine.close()
        return np.concatenate(rows).astype(np.float64)

    with ThreadPoolExecutor(available_cores()) as threads:
        return np.concatenate(list(threads.map(part, np.array_split(images, available_cores()))))


def mean_cosine(got: Any, wanted: Any) -> float:
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((got * wanted).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())


def accuracy_of(train: Any, test: Any, train_labels: Any, test_labels: Any) -> float:
    """Return the accuracy on `test` of one-against-all ridge regression on `train`."""
    classes, numbers = np.unique(train_labels, return_inverse=True)
    mean = train.mean(axis=0)
    seen, new = train - mean, test - mean
    wanted = np.eye(len(classes))[numbers]
    kernel = seen @ seen.T
    damped = kernel + RIDGE * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    scores = new @ seen.T @ np.linalg.solve(damped, wanted - wanted.mean(axis=0)) + wanted.mean(axis=0)
    return float((classes[scores.argmax(axis=1)] == test_labels).mean())


def as_line(row: dict[str, Any]) -> str:
    head = f"{row['recipe']:<24}{row['format']:<8}"
    if "refused" in row:
        return f"{head}refused: {row['refused']}"
    return (
        f"{head}{row['cosine']:9.5f}{row['drop_points']:+7.1f}{row['time_1']:8.2f}{row['time_2']:8.2f}"
        f"{row['relative_bytes']:7.3f}"
    )


if __name__ == "__main__":
    main()
