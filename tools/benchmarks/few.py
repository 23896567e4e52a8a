"""Heads from few examples beside nearest class mean, on the features of a deployed int8 backbone.

    tools/bench few [--data FOLDER_OR_CSV] [--shots 1 5 10 20] [--seeds 5] [--backbone NAME] [--curve] [--json]

For every number of shots, so many training and validation images of each class are drawn, once a seed; both classifiers
take the same ones, and the whole test split judges them. Differences are paired by draw, their 95 % interval is
Student's over the draws; it does not tell of other test images. `said` is the few-shot head's own cross-validated
accuracy, which has seen no test image. --curve adds the learning curve of all training and validation images. The
digits if no data are given.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photos or a CSV; the digits if not given")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_95))
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        tables = deployed_features(asked.data, asked.backbone, Path(name))
    report: dict[str, Any] = {"shots": [compared(tables, shots, asked.seeds) for shots in asked.shots]}
    curve = None
    if asked.curve:
        from edgetransfer.train.learning_curve import learning_curve

        curve = learning_curve(*tables["known"], int(tables["known"][1].max()) + 1)
        report["curve"] = curve.to_json()
    if asked.json:
        print(json.dumps(report))
        return
    print(as_text(report["shots"]))
    if curve is not None:
        print(curve.as_text())


def deployed_features(data: Path | None, backbone_name: str, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return features and labels of "known" (training and validation) and "test" images."""
    from edgetransfer.data import load_dataset
    from edgetransfer.features.deploy import deploy, float_backbone
    from edgetransfer.features.extract import View, extract
    from edgetransfer.pipeline.demo import write_digits
    from edgetransfer.pipeline.train import labels_of
    from edgetransfer.spec.backbone import BackboneChoice
    from edgetransfer.spec.preprocess import ImageInput
    from edgetransfer.spec.recipe import RECIPES

    if data is None:
        data = folder / "digits"
        write_digits(data)
    dataset = load_dataset(data)
    backbone = float_backbone(BackboneChoice(backbone_name))
    spec = ImageInput(backbone.height_px, backbone.width_px, "squash")
    graph = deploy(backbone, RECIPES["static_int8"], dataset.split("train"), spec)
    splits = {"known": [*dataset.split("train"), *dataset.split("val")], "test": list(dataset.split("test"))}
    return {
        name: (extract(graph, [View(one) for one in samples], spec).real, labels_of(samples, dataset.labels))
        for name, samples in splits.items()
    }


def compared(tables: dict[str, tuple[np.ndarray, np.ndarray]], shots: int, seeds: int) -> dict[str, Any]:
    from edgetransfer.train.few import fit_few

    (features, labels), (test, true) = tables["known"], tables["test"]
    classes = int(labels.max()) + 1
    found: dict[str, list[float]] = {"few": [], "nearest": [], "said": [], "loss": []}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        some = np.concatenate([rng.permutation(np.flatnonzero(labels == label))[:shots] for label in range(classes)])
        fit = fit_few(features[some], labels[some], classes, seed=seed)
        logits = fit.head[0].apply(test).astype(np.float64)
        log_sums = np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)) + logits.max(axis=1)
        found["loss"].append(float((log_sums - logits[np.arange(len(true)), true]).mean()))
        found["few"].append(100 * float((logits.argmax(axis=1) == true).mean()))
        found["said"].append(100 * (np.nan if fit.accuracy is None else fit.accuracy))
        found["nearest"].append(100 * nearest_class_mean(features[some], labels[some], test, true))
    difference = np.subtract(found["few"], found["nearest"])
    half = T_95[seeds] * float(difference.std(ddof=1)) / np.sqrt(seeds)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    means["said"] = None if np.isnan(means["said"]) else means["said"]  # type: ignore[assignment]
    gain = float(difference.mean())
    return {"shots": shots, "draws": found | {"said": []}, **means, "gain": gain, "gain_95": [gain - half, gain + half]}


def nearest_class_mean(features: np.ndarray, labels: np.ndarray, test: np.ndarray, true: np.ndarray) -> float:
    means = np.stack([features[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
    scores = test @ means.T - (means**2).sum(axis=1) / 2  # the largest is the nearest
    return float((scores.argmax(axis=1) == true).mean())


def as_text(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'shots':>5}{'few':>8}{'nearest':>9}{'gain':>7}  {'95 % of the gain':<18}{'said':>7}{'log loss':>10}"]
    for row in rows:
        low, high = row["gain_95"]
        said = "-" if row["said"] is None else f"{row['said']:.1f}"
        span = f"{low:+.1f} to {high:+.1f}"
        figures = f"{row['few']:8.1f}{row['nearest']:9.1f}{row['gain']:+7.1f}"
        lines.append(f"{row['shots']:5}{figures}  {span:<18}{said:>7}{row['loss']:10.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
