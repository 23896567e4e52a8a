"""MLPerf Tiny's image models, quantized by us and by their authors: bytes, and agreement with the float model.

    tools/bench whole_models --models FOLDER --data FOLDER_OR_CSV [--images 200] [--json]

FOLDER holds pretrainedResnet.h5, pretrainedResnet_quant.tflite, vww_96.h5 and vww_96_int8.tflite, as in
mlcommons/tiny (benchmark/training/*/trained_models). The float Keras model is quantized whole, up to its logits, with
`static_int8`; ranges come from photos of the training split. Then our file and theirs are run on --images photos of
the test split, in LiteRT, and compared with the float model's softmax: how often the first answer is the same, and the
mean distance of a score. The photos are not what these models were trained on: that is alike for both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CALIBRATION_IMAGES = 100


class Published(NamedTuple):
    """A float model, its authors' int8 file, and the factor that makes pixels of 0 to 255 its input."""

    float_file: str
    int8_file: str
    scale: float


MODELS = {
    "resnet8": Published("pretrainedResnet.h5", "pretrainedResnet_quant.tflite", 1.0),
    "vww": Published("vww_96.h5", "vww_96_int8.tflite", 1 / 255),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="photos, as for build")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--weight-ranges", default="best", choices=("best", "min_max", "mse"))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    report = {name: measure(asked, asked.models, published) for name, published in MODELS.items()}
    print(json.dumps(report) if asked.json else as_text(report))


def measure(asked: argparse.Namespace, folder: Path, published: Published) -> dict[str, Any]:
    from dataclasses import replace

    from edgetransfer.data import load_dataset
    from edgetransfer.export import Card, get_exporter
    from edgetransfer.spec.preprocess import ImageInput, Normalisation
    from edgetransfer.spec.recipe import RECIPES

    model = load_keras(folder / published.float_file)
    height, width = model.input_shape[1:3]
    spec = ImageInput(height, width)
    dataset = load_dataset(asked.data)
    train = sorted(dataset.split("train"), key=lambda sample: sample.sha256)[:CALIBRATION_IMAGES]
    test = sorted(dataset.split("test"), key=lambda sample: sample.sha256)[: asked.images]
    seen, pixels = prepared(train, spec), prepared(test, spec)
    normalisation = Normalisation(published.scale, 0)
    exporter = get_exporter("litert")
    graph = exporter.convert(model)
    recipe = replace(RECIPES["static_int8"], weight_ranges=asked.weight_ranges)
    ours = exporter.carry_out(graph, recipe, normalisation, exporter.calibrate(graph, seen, normalisation), seen)
    labels = tuple(f"class {number}" for number in range(model.output_shape[1]))
    shipped = exporter.finish(ours, Card("model", labels, "Apache-2.0", spec, scores=False))
    theirs = (folder / published.int8_file).read_bytes()
    wanted = softmax(np.asarray(model([pixels.astype(np.float32) * np.float32(published.scale)], training=False)))
    answers = np.bincount(wanted.argmax(axis=1), minlength=len(labels))
    return {
        "images": len(test),
        "float_answers": answers.tolist(),
        "ours": anatomy(ours) | agreement(softmax(run(ours, pixels, published.scale)), wanted),
        "theirs": anatomy(theirs) | agreement(run(theirs, pixels, published.scale), wanted),
        "with_metadata_bytes": len(shipped),
    }


def load_keras(path: Path) -> Any:
    """Return the model without its last softmax."""
    import keras

    from edgetransfer.models import legacy_h5

    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as folder:
        config = legacy_h5.read_config(path)
        legacy_h5.drop_groups(config, str(path))
        copy = legacy_h5.write_copy(path, Path(folder) / "model.h5", config)
        model = keras.models.load_model(copy, compile=False)
    last = model.layers[-1]
    if last.activation is not keras.activations.softmax:
        raise SystemExit(f"{path}: expected a dense layer with softmax at the end, got {last.name}")
    last.activation = keras.activations.linear
    return model


def prepared(samples: Any, spec: Any) -> np.ndarray:
    from edgetransfer.features.extract import View, model_input

    return np.stack([model_input(View(sample), spec) for sample in samples])


def run(content: bytes, pixels: np.ndarray, scale: float) -> np.ndarray:
    """Return the real outputs, (n, C); raw pixels go in where the model takes them, else what they stand for."""
    from edgetransfer.runtime.engines import open_engine

    engine = open_engine("litert", content)
    given = engine.input
    rows = []
    for one in pixels:
        stored = one if given.dtype == "uint8" else given.quantization.quantize(one * scale, given.dtype)
        rows.append(engine.output.to_real(engine.run(stored[None]))[0])
    engine.close()
    return np.stack(rows)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def agreement(scores: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    same = scores.argmax(axis=1) == wanted.argmax(axis=1)
    return {"agreement": float(same.mean()), "score_distance": float(np.abs(scores - wanted).mean())}


def anatomy(content: bytes) -> dict[str, int]:
    """Return what the bytes of a `.tflite` are spent on."""
    from edgetransfer.quantize.flatbuffer import Graph

    graph = Graph.read(content)
    tensors = range(len(graph.subgraph.tensors))
    constants = [graph.constant(index) for index in tensors]
    known = {
        "constant_bytes": sum(one.nbytes for one in constants if one is not None),
        "name_bytes": sum(len(graph.name(index).encode()) for index in tensors),
        "scale_bytes": sum(scale_bytes(graph.tensor(index).quantization) for index in tensors),
    }
    counts = {"bytes": len(content), "ops": len(graph.ops()), "tensors": len(tensors)}
    return counts | known | {"other_bytes": len(content) - sum(known.values())}


def scale_bytes(quantization: Any) -> int:
    """Return the bytes of scales (float32) and zero points (int64)."""
    if quantization is None:
        return 0
    return sum(
        size * (0 if one is None else len(one)) for size, one in ((4, quantization.scale), (8, quantization.zeroPoint))
    )


def as_text(report: dict[str, Any]) -> str:
    lines = []
    for name, found in report.items():
        ours, theirs = found["ours"], found["theirs"]
        lines.append(f"{name}, {found['images']} photos; the float model's answers by class: {found['float_answers']}")
        lines.append(f"  {'':<24}{'ours':>12}{'theirs':>12}")
        for key in ("bytes", "constant_bytes", "name_bytes", "scale_bytes", "other_bytes", "ops", "tensors"):
            lines.append(f"  {key.replace('_', ' '):<24}{ours[key]:>12,}{theirs[key]:>12,}")
        lines.append(f"  {'top-1 as float':<24}{ours['agreement']:>12.1%}{theirs['agreement']:>12.1%}")
        lines.append(f"  {'score distance, mean':<24}{ours['score_distance']:>12.5f}{theirs['score_distance']:>12.5f}")
        lines.append(f"  ours over theirs: {ours['bytes'] / theirs['bytes']:.3f} of the bytes")
        lines.append(f"  as shipped, with labels and metadata inside: {found['with_metadata_bytes']:,} bytes")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
