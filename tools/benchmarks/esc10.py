"""What int8 costs a sound backbone: linear probes on ESC-10, features of floats and of the LiteRT int8 graph.

    tools/bench esc10 --data FOLDER --weights FILE [--backbone yamnet|yamnet_256] [--json]

FOLDER has a folder for each class with clips named FOLD-*.ogg, as ESC-10 is published. The official five folds: each
is the test fold once. A clip's embedding is the mean of its windows'. The probe is a multinomial logistic regression
on standardised features; its regularisation is chosen by leaving out one training fold after the other, never by the
test fold. Three kinds of features, of the same clips:

  float   the float graph on log-mel as computed
  uint8   the float graph on log-mel rounded to the uint8 that a bundle takes
  int8    the static_int8 graph, calibrated for each test fold on windows of its training folds

Intervals are 95 %: Wilson's for an accuracy; for a difference, which is paired by clip, the normal one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CALIBRATION_WINDOWS = 200
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # sklearn's C, from strong regularisation to weak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder of clips for each class")
    parser.add_argument("--weights", type=Path, help="the backbone's weights; fetched if not given")
    parser.add_argument("--backbone", default="yamnet")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    report = measure(asked.data, asked.backbone, asked.weights)
    print(json.dumps(report) if asked.json else as_text(report))


def measure(data: Path, name: str, weights: Path | None) -> dict:
    from edgetransfer.export import get_exporter
    from edgetransfer.models import backbones
    from edgetransfer.spec.backbone import BackboneChoice

    choice = BackboneChoice(name, weights=weights)
    spec, backbone = backbones.input_of(choice), backbones.load(choice)
    clips = read_clips(data, spec)
    float_graph = get_exporter("litert").convert(backbone.model)
    note(f"{len(clips['label'])} clips read, backbone converted")
    right = {
        "float": probe(clips, embeddings(float_graph, clips["real"])),
        "uint8": probe(
            clips, embeddings(float_graph, [backbone.normalisation.to_real(one) for one in clips["stored"]])
        ),
        "int8": probe_int8(clips, float_graph, backbone.normalisation),
    }
    scores = {kind: accuracy(found) for kind, found in right.items()}
    return {
        "backbone": name,
        "clips": len(clips["label"]),
        "windows": sum(len(one) for one in clips["stored"]),
        "accuracy": scores,
        "folds": {kind: fold_accuracies(found, clips["fold"]) for kind, found in right.items()},
        "int8 minus float": difference(right["int8"], right["float"]),
        "int8 minus uint8": difference(right["int8"], right["uint8"]),
    }


def note(text: str) -> None:
    os.write(2, f"{text}\n".encode())


def read_clips(data: Path, spec) -> dict:
    """Return each clip's label, fold, stored windows and real ones, not rounded."""
    from edgetransfer.runtime.inputs.audio import AudioReader
    from edgetransfer.runtime.log_mel import LogMel

    paths = sorted(path for path in data.glob("*/*") if path.suffix in (".ogg", ".wav", ".flac"))
    if not paths:
        raise SystemExit(f"{data}: expected folders of .ogg, .wav or .flac clips, found none")
    reader, log_mel = AudioReader(spec), LogMel(spec.front_end)
    stored, real = [], []
    for path in paths:
        sound = reader.read(path)
        stored.append(reader.prepare(sound))
        reach = ((len(stored[-1]) - 1) * spec.hop_frames + spec.frames) * log_mel.front_end.hop_samples
        frames = log_mel.frames(np.pad(sound, (0, reach))).astype(np.float32)
        starts = range(0, len(stored[-1]) * spec.hop_frames, spec.hop_frames)
        real.append(np.stack([frames[start : start + spec.frames, :, None] for start in starts]))
    return {
        "label": np.array([path.parent.name for path in paths]),
        "fold": np.array([int(path.name.split("-")[0]) for path in paths]),
        "stored": stored,
        "real": real,
    }


def embeddings(graph: bytes, clips: list) -> np.ndarray:
    """Return (clips, D): the mean over each clip's windows, computed on all cores."""
    from edgetransfer.runtime.cores import available_cores
    from edgetransfer.runtime.engines import open_engine

    def some(part: list) -> list:
        engine = open_engine("litert", graph)
        rows = [np.stack([engine.run(window[None])[0] for window in clip]) for clip in part]
        found = [engine.output.to_real(row).mean(axis=0, dtype=np.float64) for row in rows]
        engine.close()
        return found

    count = available_cores()
    with ThreadPoolExecutor(count) as threads:
        parts = list(threads.map(some, [clips[start::count] for start in range(count)]))
    found = np.zeros((len(clips), len(parts[0][0])))
    for start, part in enumerate(parts):
        found[start::count] = part
    return found


def probe(clips: dict, features: np.ndarray) -> np.ndarray:
    """Return which clips are answered rightly when their fold is the test fold."""
    right = np.zeros(len(features), bool)
    for fold in sorted(set(clips["fold"])):
        right |= probe_fold(clips, features, fold)
    return right


def probe_int8(clips: dict, graph: bytes, normalisation) -> np.ndarray:
    right = np.zeros(len(clips["label"]), bool)
    for fold in sorted(set(clips["fold"])):
        deployed = quantized(graph, normalisation, clips, fold)
        right |= probe_fold(clips, embeddings(deployed, clips["stored"]), fold)
        note(f"int8, fold {fold} done")
    return right


def quantized(graph: bytes, normalisation, clips: dict, test_fold: int) -> bytes:
    """Return the int8 graph, calibrated on windows of all folds but `test_fold`."""
    from edgetransfer.export import get_exporter
    from edgetransfer.spec.recipe import RECIPES

    exporter = get_exporter("litert")
    windows = np.concatenate([clips["stored"][i] for i in np.flatnonzero(clips["fold"] != test_fold)])
    chosen = np.random.default_rng(0).choice(len(windows), CALIBRATION_WINDOWS, replace=False)
    windows = windows[np.sort(chosen)]
    ranges = exporter.calibrate(graph, windows, normalisation)
    return exporter.carry_out(graph, RECIPES["static_int8"], normalisation, ranges, windows)


def probe_fold(clips: dict, features: np.ndarray, test_fold: int) -> np.ndarray:
    """Return which clips of `test_fold` a probe of the other folds answers rightly; False for all others."""
    train = clips["fold"] != test_fold
    strength = chosen_strength(features[train], clips["label"][train], clips["fold"][train])
    right = np.zeros(len(features), bool)
    right[~train] = fitted(features[train], clips["label"][train], strength, features[~train]) == clips["label"][~train]
    return right


def chosen_strength(features: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> float:
    """Return the strongest regularisation among those that answer most clips of left-out training folds rightly."""
    counts = []
    for strength in STRENGTHS:
        count = 0
        for fold in sorted(set(folds)):
            inside = folds != fold
            count += (fitted(features[inside], labels[inside], strength, features[~inside]) == labels[~inside]).sum()
        counts.append(count)
    return STRENGTHS[int(np.argmax(counts))]


def fitted(features: np.ndarray, labels: np.ndarray, strength: float, others: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    features, others = (features - mean) / spread, (others - mean) / spread
    # The weights lie in the span of the features: turned into it, the answers are the same and there is less to fit.
    turn = np.linalg.svd(features, full_matrices=False)[2].T
    return LogisticRegression(C=strength, max_iter=2000).fit(features @ turn, labels).predict(others @ turn)


def accuracy(right: np.ndarray) -> dict:
    from edgetransfer.evaluate import wilson_interval

    low, high = wilson_interval(int(right.sum()), len(right))
    return {"percent": 100 * float(right.mean()), "interval": [100 * low, 100 * high], "right": int(right.sum())}


def fold_accuracies(right: np.ndarray, folds: np.ndarray) -> list[float]:
    return [100 * float(right[folds == fold].mean()) for fold in sorted(set(folds))]


def difference(one: np.ndarray, other: np.ndarray) -> dict:
    gaps = 100.0 * (one.astype(int) - other.astype(int))
    half = 1.96 * gaps.std(ddof=1) / math.sqrt(len(gaps))
    return {"points": gaps.mean(), "interval": [gaps.mean() - half, gaps.mean() + half]}


def as_text(report: dict) -> str:
    lines = [f"{report['backbone']}, {report['clips']} clips, {report['windows']} windows", ""]
    lines.append(f"{'features':<10}{'accuracy %':>11}   95 %            by fold")
    for kind, found in report["accuracy"].items():
        low, high = found["interval"]
        folds = "  ".join(f"{one:.1f}" for one in report["folds"][kind])
        lines.append(f"{kind:<10}{found['percent']:>11.2f}   {low:.1f} to {high:.1f}    {folds}")
    lines.append("")
    for name in ("int8 minus float", "int8 minus uint8"):
        found = report[name]
        low, high = found["interval"]
        lines.append(f"{name}: {found['points']:+.2f} points, {low:+.2f} to {high:+.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
