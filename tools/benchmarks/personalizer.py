"""A class taught on the device beside retraining with it at the desk, and beside nearest class mean.

    tools/bench personalizer --data SPLITS.csv [--shots 5 20] [--seeds 3] [--backbone efficientnet_lite0] [--json]

Each class in turn is left out: a split bundle is built from the others, then the class is taught from a few of its
training photos by the runtime's Personalizer, and the test photos judge. `old` is the change of accuracy on test photos
of the old classes, in points, `new` the accuracy on those of the new one. Retraining has all of its training photos;
nearest class mean has the same few.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a CSV with path,label,split")
    parser.add_argument("--shots", type=int, nargs="+", default=[5, 20])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.disable(logging.WARNING)
    rows = list(csv.DictReader(asked.data.open(encoding="utf-8")))
    labels = sorted({row["label"] for row in rows})
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        for label in labels:
            for key, pair in one_left_out(rows, label, asked, Path(name)):
                found.setdefault(key, []).append(pair)
    report = [summary(way, shots, pairs) for (way, shots), pairs in sorted(found.items())]
    if asked.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{'way':<22}{'shots':>6}{'old, points':>14}{'worst':>8}{'new':>8}")
    for row in report:
        shots = row["shots"] or "all"
        print(
            f"{row['way']:<22}{shots:>6}{row['old_points']:>+14.2f}{row['old_worst_points']:>+8.2f}{row['new']:>8.1%}"
        )


def summary(way: str, shots: int, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    old, new = np.array(pairs).T
    return {
        "way": way,
        "shots": shots,
        "old_points": 100 * float(old.mean()),
        "old_worst_points": 100 * float(old.min()),
        "new": float(new.mean()),
    }


def one_left_out(rows: list[dict[str, str]], label: str, asked: Any, folder: Path) -> Any:
    """Yield ((way, shots), (change of the old classes' accuracy, accuracy on the new one))."""
    from edgetransfer.pipeline.options import BuildOptions
    from edgetransfer.pipeline.split import build_split, train_head
    from edgetransfer.pipeline.split_head import HeadWish
    from edgetransfer.runtime.heads import read_head
    from edgetransfer.spec.backbone import BackboneChoice

    root = asked.data.parent.resolve()
    tables = {"old": [row for row in rows if row["label"] != label], "all": rows}
    for name, some in tables.items():
        lines = [f"{root / row['path']},{row['label']},{row['split']}" for row in some]
        (folder / f"{name}.csv").write_text("\n".join(["path,label,split", *lines]) + "\n", encoding="utf-8")
    options = BuildOptions(
        folder / "old.csv", BackboneChoice(asked.backbone), fit="squash", golden="none", float_reference=False
    )
    output = folder / f"{label}.bundle"
    bundle = build_split(options, [HeadWish("waste", folder / "old.csv")], output, teachable=True).bundle
    retrained = read_head(
        train_head(bundle, HeadWish("waste", folder / "all.csv"), folder / f"{label}.head", options).path
    )
    yield from judged(bundle, retrained, rows, label, root, asked)


def judged(bundle: Any, retrained: Any, rows: list[dict[str, str]], label: str, root: Path, asked: Any) -> Any:
    from edgetransfer.runtime.personalizer import Personalizer
    from edgetransfer.runtime.predictor import Predictor

    with Predictor.load(bundle) as predictor:
        test = [row for row in rows if row["split"] == "test"]
        train = [row for row in rows if row["split"] == "train"]
        features = np.stack([predictor.embed(root / row["path"]) for row in test])
        seen = np.stack([predictor.embed(root / row["path"]) for row in train])
        wanted = np.array([row["label"] for row in test])
        known = np.array([row["label"] for row in train])
        old = wanted != label
        first = predictor.heads[0]
        base = (answers(first, features[old]) == wanted[old]).mean()

        def scored(found: np.ndarray) -> tuple[float, float]:
            right = found == wanted
            return float(right[old].mean() - base), float(right[~old].mean())

        yield ("retrained", 0), scored(answers(retrained, features))
        for shots in asked.shots:
            for seed in range(asked.seeds):
                chosen = np.random.default_rng(seed).choice(np.flatnonzero(known == label), shots, replace=False)
                teacher = Personalizer(predictor)
                teacher.teach_features(label, seen[chosen])
                yield ("personalizer", shots), scored(answers(teacher.head, features))
                teacher.forget_all()
                names = sorted(set(known))
                means = [seen[chosen if one == label else known == one].mean(axis=0) for one in names]
                far = ((features[:, None] - np.stack(means)[None]) ** 2).sum(axis=2)
                yield ("nearest class mean", shots), scored(np.array(names)[far.argmin(axis=1)])


def answers(head: Any, features: np.ndarray) -> np.ndarray:
    return np.array(head.task.labels)[head.logits(features.astype(np.float32)).argmax(axis=1)]


if __name__ == "__main__":
    main()
