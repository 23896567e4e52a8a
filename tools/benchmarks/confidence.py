"""How honest scores are before and after their temperature, and how well strangers are told from test photos.

    tools/bench confidence --data FOLDER_OR_CSV --strangers FOLDER [--backbone efficientnet_lite0] [--seed 0] [--json]

The head is trained as `build` trains it, on the deployed graph's features; its kernels are rounded to float16, as a
bundle keeps them. Temperature and detector are fitted on training and validation alone. Strangers are the photos of
FOLDER and these of scikit-image, the photographs in RGB that its package has itself: astronaut, chelsea, coffee,
hubble_deep_field, immunohistochemistry, retina, rocket, and the left one of stereo_motorcycle.

Intervals are 95 %: of the difference between two AUROCs DeLong's, of shares Wilson's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
    "stereo_motorcycle",
)
RATE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder of photos or a CSV")
    parser.add_argument("--strangers", type=Path, required=True, help="a folder of photos of anything else")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        report = measure(asked, Path(name))
    print(json.dumps(report) if asked.json else as_text(report))


def measure(asked: argparse.Namespace, folder: Path) -> dict:
    from edgetransfer.train.confidence import fit_outliers, fit_temperature

    features, truth, head, labels = trained(asked, folder)
    features["strangers"], names = strangers(asked, folder)
    logits = {name: head(rows) for name, rows in features.items()}
    temperature = fit_temperature(logits["val"], truth["val"])
    detector = fit_outliers(features["train"], truth["train"], features["val"], false_reject_rate=RATE)
    return {
        "temperature": temperature,
        "before": honesty(logits["test"], truth["test"], labels, 1.0),
        "after": honesty(logits["test"], truth["test"], labels, temperature),
        "strangers": names,
        "detector": {
            "bytes": detector.size_bytes,
            "centres": len(detector.steps),
            "ambiguity": detector.ambiguity,
            "threshold": detector.threshold,
        },
        "separation": separation(detector, features, logits, labels, temperature),
        "rejected": {name: share(detector.rejects(features[name])) for name in ("test", "strangers")},
        "missed": [
            name for name, found in zip(names, detector.rejects(features["strangers"]), strict=True) if not found
        ],
    }


def trained(asked: argparse.Namespace, folder: Path):
    """Return the deployed features and label numbers of each split, the head as a function, and the labels."""
    from edgetransfer.data import load_dataset
    from edgetransfer.features.extract import View, extract
    from edgetransfer.models.trained import TrainedModel
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.train import labels_of, train
    from edgetransfer.spec.backbone import BackboneChoice
    from edgetransfer.spec.dense import Dense, apply_head
    from edgetransfer.spec.preprocess import ImageInput

    choice = BackboneChoice(asked.backbone, weights=asked.weights)
    options = BuildOptions(data=asked.data, backbone=choice, float_reference=False, golden="none", seed=asked.seed)
    train(options, folder / "run")
    run = TrainedModel.load(folder / "run")
    layers = [Dense(one.kernel.astype(np.float16).astype(np.float32), one.bias, one.activation) for one in run.head]
    dataset = load_dataset(asked.data, seed=asked.seed)
    features, truth = {}, {}
    asked.graph, asked.spec = run.deployed, ImageInput.from_json(run.description["preprocess"])
    for split in ("train", "val", "test"):
        samples = dataset.split(split)
        features[split] = extract(asked.graph, [View(sample) for sample in samples], asked.spec).real
        truth[split] = labels_of(samples, dataset.labels)
    return features, truth, lambda rows: apply_head(layers, rows), dataset.labels


def strangers(asked: argparse.Namespace, folder: Path):
    """Return the deployed features of photos that show something else, and the photos' names."""
    import PIL.Image
    import skimage.data

    from edgetransfer.data import Sample
    from edgetransfer.features.extract import View, extract

    suffixes = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
    paths = sorted(path for path in asked.strangers.iterdir() if path.suffix.lower() in suffixes)
    for name in PHOTOGRAPHS:
        found = getattr(skimage.data, name)()
        paths.append(folder / f"{name}.png")
        PIL.Image.fromarray(found[0] if isinstance(found, tuple) else found).save(paths[-1])
    samples = [Sample(path, "", "test", hashlib.sha256(path.read_bytes()).hexdigest(), 0, 0) for path in paths]
    return extract(asked.graph, [View(sample) for sample in samples], asked.spec).real, [path.stem for path in paths]


def scores_of(logits, labels, temperature: float):
    from edgetransfer.runtime.decoders.single_label import to_scores
    from edgetransfer.spec.task import Task

    return to_scores(logits, replace(Task("single_label", labels), temperature=temperature))


def honesty(logits, truth, labels, temperature: float) -> dict:
    from edgetransfer.evaluate import evaluate

    report = evaluate(scores_of(logits, labels, temperature), truth, labels, split="test", artifact="head")
    return {"ece": report.expected_calibration_error, "nll": report.log_loss, "accuracy": report.accuracy}


def separation(detector, features, logits, labels, temperature: float) -> dict:
    """Return the detector beside the largest score: AUROC of strangers against test photos, and recall."""
    from edgetransfer.estimate.separation import compare_aurocs, recall_at

    ours = tuple(detector.score(features[name]) for name in ("test", "strangers"))
    softmax = tuple(-scores_of(logits[name], labels, temperature).max(axis=1) for name in ("test", "strangers"))
    found = compare_aurocs(ours, softmax)
    return {
        "auroc": found.first,
        "softmax_auroc": found.second,
        "difference": [found.difference, found.low, found.high],
        "recall": recall_at(*ours, RATE),
        "softmax_recall": recall_at(*softmax, RATE),
    }


def share(rejected) -> dict:
    from edgetransfer.evaluate import wilson_interval

    return {
        "share": float(rejected.mean()),
        "of": len(rejected),
        "interval": wilson_interval(int(rejected.sum()), len(rejected)),
    }


def as_text(report: dict) -> str:
    before, after, apart, one = (report[name] for name in ("before", "after", "separation", "detector"))
    lines = [
        f"temperature {report['temperature']:.3f}, fitted on validation; test accuracy {before['accuracy']:.2%}",
        f"{'test':<30}{'at 1':>9}{'with it':>9}",
        f"{'expected calibration error':<30}{before['ece']:9.4f}{after['ece']:9.4f}",
        f"{'negative log-likelihood':<30}{before['nll']:9.4f}{after['nll']:9.4f}",
        f"detector: {one['centres']} centres, ambiguity {one['ambiguity']:g}, {one['bytes']:,} bytes, "
        f"threshold {one['threshold']:.4g} for {RATE:.0%} false rejects",
        f"{'strangers against test':<30}{'detector':>9}{'softmax':>9}",
        f"{'AUROC':<30}{apart['auroc']:9.4f}{apart['softmax_auroc']:9.4f}",
        f"{f'recall at {RATE:.0%} false rejects':<30}{apart['recall']:9.4f}{apart['softmax_recall']:9.4f}",
        "difference of AUROC {:+.4f} (95 % interval {:+.4f} to {:+.4f})".format(*apart["difference"]),
    ]
    for name, found in report["rejected"].items():
        low, high = found["interval"]
        lines.append(f"rejected of {name}: {found['share']:.1%} of {found['of']} (95 % {low:.1%} to {high:.1%})")
    return "\n".join([*lines, f"strangers: {', '.join(report['strangers'])}", f"missed: {report['missed']}"])


if __name__ == "__main__":
    main()
