"""What quantization costs on intents of customer service: a probe on float features and one on the deployed graph's.

    tools/bench intents --data BANKING77 [--backbone minilm|wordllama|use_multilingual] [--shots 10] [--json]

BANKING77 is a folder with train.csv and test.csv, each with a column "text" and a column "label" or "category"
(https://github.com/PolyAI-LDN/task-specific-datasets). Features are computed twice, by the float Keras model and by
the LiteRT graph of --recipe as it is deployed, and a logistic regression is fitted on each; how strongly it is
regularised is chosen by cross-validation among training sentences. Accuracies are of the test file, with Wilson's
95 % interval; their difference is paired by sentence. With --shots only so many training sentences of each class are
drawn, with five seeds, and the interval of the mean is Student's over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

STRENGTHS = tuple(10.0**power for power in np.arange(-4, 1.1, 0.5))  # of scikit-learn's C, on features of mean square 1
SEEDS = 5
T_95 = 2.776  # Student's, 4 degrees of freedom
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with train.csv and test.csv")
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--recipe", default="dynamic_int8")
    parser.add_argument("--shots", type=int, help="training sentences of each class; all if not given")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    report = measure(asked)
    print(json.dumps(report) if asked.json else as_text(report))


def measure(asked: argparse.Namespace) -> dict:
    texts, labels = {}, {}
    for split in ("train", "test"):
        texts[split], labels[split] = read(asked.data / f"{split}.csv")
    sentences = Sentences(asked.backbone, asked.recipe, texts)
    floats = {split: sentences.float_features(split) for split in texts}
    deployed = {split: sentences.deployed_features(split) for split in texts}
    report = {"backbone": asked.backbone, "recipe": asked.recipe, "shots": asked.shots, **sentences.costs()}
    report["cosine"] = cosine(floats["test"], deployed["test"])
    rows = []
    for chosen in drawn(labels["train"], asked.shots):
        correct = {
            name: probe(x["train"][chosen], labels["train"][chosen], x["test"], labels["test"])
            for name, x in (("float", floats), ("deployed", deployed))
        }
        rows.append(correct)
        say(", ".join(f"{name} {100 * one[0].mean():.2f} (C {one[1]:g})" for name, one in correct.items()))
    return report | summary(rows)


def read(path: Path) -> tuple[list[str], np.ndarray]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    name = "label" if "label" in rows[0] else "category"
    return [row["text"] for row in rows], np.array([row[name] for row in rows])


class Sentences:
    """A backbone, and the ids of all sentences."""

    def __init__(self, backbone: str, recipe: str, texts: dict[str, list[str]]) -> None:
        from edgetransfer.export import get_exporter
        from edgetransfer.features.deploy import float_backbone, load_keras
        from edgetransfer.models import backbones, weights
        from edgetransfer.runtime.inputs import open_reader
        from edgetransfer.spec.backbone import BackboneChoice
        from edgetransfer.spec.recipe import RECIPES

        choice, wanted, exporter = BackboneChoice(backbone), RECIPES[recipe], get_exporter("litert")
        weights.fetch(backbone)
        self.files = backbones.assets(choice)
        self.reader = open_reader(backbones.input_of(choice), self.files.__getitem__)
        self.texts = texts
        self.ids = {split: np.concatenate([self.reader.prepare(self.reader.read(t)) for t in texts[split]])
                    for split in texts}  # fmt: skip
        graph = float_backbone(choice)
        some = self.ids["train"][:: max(1, len(texts["train"]) // 100)][:100]
        ranges = exporter.calibrate(graph.graph, some, graph.normalisation) if wanted.needs_calibration else None
        self.model = exporter.carry_out(graph.graph, wanted, graph.normalisation, ranges, some)
        self.keras = load_keras(choice)
        say(f"{backbone}: {len(self.model)} bytes as {recipe}")

    def float_features(self, split: str) -> np.ndarray:
        ids = self.ids[split]
        return np.concatenate([np.asarray(self.keras(ids[i : i + BATCH])) for i in range(0, len(ids), BATCH)])

    def deployed_features(self, split: str) -> np.ndarray:
        from edgetransfer.runtime.engines import open_engine

        def run(part: np.ndarray) -> np.ndarray:
            engine = open_engine("litert", self.model)
            return np.concatenate([engine.output.to_real(engine.run(one[None])) for one in part])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate(list(pool.map(run, np.array_split(self.ids[split], os.cpu_count() or 1))))

    def costs(self) -> dict:
        """Bytes of what a bundle holds, and milliseconds on one thread: the least of five means over 20 sentences."""
        from edgetransfer.runtime.engines import open_engine

        engine, some = open_engine("litert", self.model), self.texts["test"][::100][:20]
        rows = [self.ids["test"][::100][number][None] for number in range(len(some))]
        return {
            "graph_bytes": len(self.model),
            "tokenizer_bytes": sum(map(len, self.files.values())),
            "graph_ms": least(lambda: [engine.run(row) for row in rows]) / len(rows),
            "tokenizer_ms": least(lambda: [self.reader.prepare(self.reader.read(t)) for t in some]) / len(some),
        }


def least(work) -> float:
    found = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return min(found)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).mean())


def drawn(labels: np.ndarray, shots: int | None) -> list[np.ndarray]:
    if shots is None:
        return [np.arange(len(labels))]
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        found.append(np.concatenate([rng.choice(np.flatnonzero(labels == label), shots, replace=False)
                                     for label in np.unique(labels)]))  # fmt: skip
    return found


def probe(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> tuple[np.ndarray, float]:
    """Which test sentences a logistic regression gets right, and the strength that cross-validation chose."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    mean, size = x.mean(axis=0), np.sqrt(((x - x.mean(axis=0)) ** 2).mean())
    x, test_x = (x - mean) / size, (test_x - mean) / size
    folds, best, scores = StratifiedKFold(3, shuffle=True, random_state=0), 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so many steps were not enough: they are for every strength alike
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=200)
            scores.append(cross_val_score(model, x, y, cv=folds, n_jobs=2).mean())
            best = int(np.argmax(scores))
            if len(scores) - best > 2:  # two strengths on, and no better
                break
        model = LogisticRegression(C=STRENGTHS[best], max_iter=500).fit(x, y)
    return model.predict(test_x) == test_y, STRENGTHS[best]


def summary(rows: list[dict]) -> dict:
    correct = {name: np.stack([row[name][0] for row in rows]) for name in ("float", "deployed")}
    difference = 100 * (correct["deployed"].astype(float) - correct["float"])
    means = difference.mean(axis=1)
    if len(rows) > 1:
        half = T_95 * means.std(ddof=1) / np.sqrt(len(means))
    else:
        half = 1.96 * difference[0].std(ddof=1) / np.sqrt(difference.shape[1])
    found = {name: accuracy(one) for name, one in correct.items()}
    mean = float(means.mean())
    return {"probes": found, "difference": {"mean": mean, "low": mean - half, "high": mean + half}}


def accuracy(correct: np.ndarray) -> dict:
    scores = correct.mean(axis=1)
    if len(scores) > 1:
        half = T_95 * scores.std(ddof=1) / np.sqrt(len(scores))
        low, high = scores.mean() - half, scores.mean() + half
    else:
        n, p, z = correct.shape[1], float(scores[0]), 1.96
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    return {"accuracy": 100 * float(scores.mean()), "low": 100 * float(low), "high": 100 * float(high)}


def say(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def as_text(report: dict) -> str:
    shots = "all training sentences" if report["shots"] is None else f"{report['shots']} of each class, {SEEDS} seeds"
    lines = [f"{report['backbone']} as {report['recipe']}, {shots}"]
    for name, one in report["probes"].items():
        lines.append(f"{name:<10}{one['accuracy']:6.2f} (95 % {one['low']:.2f} to {one['high']:.2f})")
    one = report["difference"]
    lines.append(f"deployed minus float: {one['mean']:+.2f} points (95 % {one['low']:+.2f} to {one['high']:+.2f})")
    lines.append(f"cosine of features, test sentences: {report['cosine']:.5f}")
    lines.append(f"graph {report['graph_bytes']:,} bytes, tokenizer {report['tokenizer_bytes']:,} bytes")
    lines.append(
        f"graph {report['graph_ms']:.2f} ms a sentence on one thread, tokenizer {report['tokenizer_ms']:.3f} ms"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
