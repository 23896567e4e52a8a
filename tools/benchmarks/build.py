"""Wall seconds from a folder to a verified int8 bundle, beside the usual way, in one run.

    tools/bench build [--data FOLDER_OR_CSV] [--epochs-measured 3] [--json]

The usual way: Keras `fit` with the frozen backbone for 10 epochs, then the TensorFlow converter's post-training int8.
The first epoch and --epochs-measured more are timed and the rest is extrapolated from these; 9 times all of them. Every
figure is of a whole process, imports included. (An epoch takes twice as long when tf.data's tuning thread, whose
sleep doubles each time, is waited for at its end: seen at 10.2 and 20.47 s.) Ours is timed

  cold       with an empty cache;
  backbone   with the backbone exported before for other data;
  head       with another head (a hidden layer of 64) on the same data;

and cold once more with the all-float model that `build` trains by default for comparison (`with float`).
Without --data, scikit-learn's 1,797 digits are used.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 10
TARGETS = {"cold": 8.0, "backbone": 14.0, "head": 25.0}

USUAL = """
import json, sys, time
started = time.perf_counter()
import numpy as np
import keras, tensorflow as tf
from edgetransfer.data import load_dataset
from edgetransfer.models import backbones
from edgetransfer.spec.backbone import BackboneChoice
data, epochs = load_dataset(sys.argv[1]), int(sys.argv[2])
backbone = backbones.load(BackboneChoice("efficientnet_lite0")).model
backbone.trainable = False
number = {label: i for i, label in enumerate(data.labels)}
def table(split, shuffle):
    samples = data.split(split)
    paths = tf.data.Dataset.from_tensor_slices(
        ([str(s.path) for s in samples], [number[s.label] for s in samples]))
    if shuffle:
        paths = paths.shuffle(len(samples), seed=0)
    def read(path, label):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.resize(tf.cast(image, tf.float32), (224, 224))
        return (image - 127.0) / 128.0, label
    return paths.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)
inputs = keras.Input((224, 224, 3))
x = keras.layers.Dropout(0.2)(backbone(inputs, training=False))
model = keras.Model(inputs, keras.layers.Dense(len(data.labels), activation="softmax")(x))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
train, val = table("train", True), table("val", False)
ends = [time.perf_counter()]
timer = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
model.fit(train, validation_data=val, epochs=epochs + 1, verbose=0, callbacks=[timer])
seconds = np.diff(ends).tolist()   # the first also traces the graph, so it is told apart
begun = time.perf_counter()
import tempfile
folder = tempfile.mkdtemp()
model.export(folder, verbose=False)
converter = tf.lite.TFLiteConverter.from_saved_model(folder)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
def representative():
    for image, _ in train.unbatch().batch(1).take(100):
        yield [image]
converter.representative_dataset = representative
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = tf.uint8
content = converter.convert()
converted = time.perf_counter() - begun
whole = time.perf_counter() - started
print(json.dumps({"measured": whole, "first_epoch": seconds[0], "epoch": float(np.mean(seconds[1:])),
                  "convert": converted, "bytes": len(content)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of photos or a CSV; the digits if not given")
    parser.add_argument("--epochs-measured", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgetransfer-bench-") as name:
        folder = Path(name)
        data = asked.data.resolve() if asked.data else digits(folder / "digits")
        others = digits(folder / "others", every=20)
        usual = usual_way(data, asked.epochs_measured)
        ours = our_way(folder, data, others)
    report = {"usual": usual, "ours_s": ours, "ratios": {key: usual["whole_s"] / ours[key] for key in ours}}
    print(json.dumps(report) if asked.json else as_text(report))


def digits(folder: Path, every: int = 1) -> Path:
    from edgetransfer.pipeline.demo import write_digits

    write_digits(folder)
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        if number % every:
            path.unlink()
    return folder


def usual_way(data: Path, epochs: int) -> dict[str, float]:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", USUAL, str(data), str(epochs)], check=True, capture_output=True, text=True, env=quiet()
    )
    process_s = time.perf_counter() - begun
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {
        "whole_s": process_s + (EPOCHS - epochs - 1) * found["epoch"],
        "process_s": process_s,
        "epochs_measured": epochs + 1,
        "epoch_s": found["epoch"],
        "convert_s": found["convert"],
    }


def our_way(folder: Path, data: Path, others: Path) -> dict[str, float]:
    cold, warm = folder / "cold", folder / "warm"
    build(others, folder / "others.bundle", warm, "--no-float-reference", "--fit", "squash")
    return {
        "cold": build(data, folder / "cold.bundle", cold, "--no-float-reference"),
        "backbone": build(data, folder / "backbone.bundle", warm, "--no-float-reference"),
        "head": build(data, folder / "head.bundle", warm, "--no-float-reference", "--seed", "0", "--hidden", "64"),
        "with float": build(data, folder / "float.bundle", folder / "cold2"),
    }


def build(data: Path, output: Path, cache: Path, *options: str) -> float:
    """Return the seconds of one `edgetransfer build` and, in a process of its own, one `edgetransfer verify`."""
    environment = quiet() | {"EDGETRANSFER_CACHE": str(cache)}
    tool = [sys.executable, "-m", "edgetransfer"]
    begun = time.perf_counter()
    for command in (["build", str(data), "--output", str(output), *options], ["verify", str(output)]):
        subprocess.run([*tool, *command], check=True, capture_output=True, env=environment, cwd=ROOT)
    return time.perf_counter() - begun


def quiet() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def as_text(report: dict) -> str:
    usual = report["usual"]
    lines = [
        f"usual way   {usual['whole_s']:7.1f} s   ({usual['epochs_measured']} of {EPOCHS} epochs measured at "
        f"{usual['epoch_s']:.1f} s, converter {usual['convert_s']:.1f} s)"
    ]
    for key, seconds in report["ours_s"].items():
        target = f"   (target {TARGETS[key]:g})" if key in TARGETS else ""
        lines.append(f"{key:<12}{seconds:7.1f} s   {report['ratios'][key]:5.1f} times as fast{target}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
