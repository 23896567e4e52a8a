"""Times the runtime beside the least that could be done: ratios of loops measured side by side in one run.

    python tools/benchmarks/runtime.py waste.bundle [--mediapipe-python VENV/bin/python] [--json]

1. `Predictor.run` over a bare LiteRT loop (set_tensor, invoke, get_tensor), p50.
2. `predict` on a 640 x 480 frame beside MediaPipe Tasks' whole call on the same model, p50. MediaPipe needs an
   environment of its own (pip install mediapipe), whose interpreter is given; it refuses int8 outputs, so take a
   bundle that was built with --scores-in-graph.
3. Process start to first prediction over the same in a bare LiteRT script, median.
4. Resident memory of that process beyond the bare script's.
   Both scripts of 3 and 4 get one frame of the model's size; with a 640 x 480 frame, which the bare script could not
   take at all, the figures are given beside.

The two sides of each ratio take turns, so that a machine that drifts moves both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"run_over_bare": 1.05, "predict_over_mediapipe": 1.4, "start_over_bare": 1.25, "extra_resident_mb": 10.0}

BARE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
interpreter.set_tensor(source["index"], np.full(source["shape"], 99, source["dtype"]))
interpreter.invoke()
labels = open(sys.argv[2], encoding="utf-8").read().splitlines()
print(labels[int(interpreter.get_tensor(target["index"]).argmax())])
"""
OURS = """
import sys
import numpy as np
from edgetransfer.runtime import Predictor
predictor = Predictor.load(sys.argv[1])
print(predictor.predict(np.full((int(sys.argv[2]), int(sys.argv[3]), 3), 99, np.uint8)).label)
"""
RESIDENT = """
import resource
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""
MEDIAPIPE = """
import json, sys, time
import numpy as np
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=-1)
frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
with vision.ImageClassifier.create_from_options(options) as classifier:
    def call():
        return classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=frame))
    for _ in range(20):
        call()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        print(json.dumps(times), flush=True)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--mediapipe-python", help="an interpreter that can import mediapipe")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each side (default 20)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    figures = run_over_bare(options.bundle, options.rounds)
    if options.mediapipe_python:
        figures |= predict_over_mediapipe(options.bundle, options.mediapipe_python, options.rounds)
    figures |= start_over_bare(options.bundle, max(5, options.rounds // 2))
    if options.json:
        print(json.dumps(figures, indent=2))
        return 0
    for name, value in figures.items():
        target = f"   (at most {TARGETS[name]})" if name in TARGETS else ""
        print(f"{name:28} {value:10.3f}{target}")
    return 0


def run_over_bare(bundle: Path, rounds: int) -> dict[str, float]:
    from ai_edge_litert.interpreter import Interpreter

    from edgetransfer.runtime import Predictor

    predictor = Predictor.load(bundle)
    bare = Interpreter(model_path=str(predictor.bundle.model_path), num_threads=1)
    bare.allocate_tensors()
    source, target = bare.get_input_details()[0]["index"], bare.get_output_details()[0]["index"]
    x = np.random.default_rng(0).integers(0, 256, predictor.bundle.manifest.model.input.shape, np.uint8)

    def call_bare() -> Any:
        bare.set_tensor(source, x)
        bare.invoke()
        return bare.get_tensor(target)

    ours, theirs = alternate(lambda: predictor.run(x), call_bare, rounds)
    return {"run_ms": 1e3 * ours, "bare_ms": 1e3 * theirs, "run_over_bare": ours / theirs}


def predict_over_mediapipe(bundle: Path, python: str, rounds: int) -> dict[str, float]:
    from edgetransfer.runtime import Predictor

    predictor = Predictor.load(bundle)
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    for _ in range(20):
        predictor.predict(frame)
    command = [python, "-c", MEDIAPIPE, str(predictor.bundle.model_path.resolve())]
    ours: list[float] = []
    theirs: list[float] = []
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        if other.stdout.readline().strip() != "ready":
            log.seek(0)
            raise SystemExit(f"MediaPipe did not start:\n{log.read()[-2000:]}")
        for _ in range(rounds):
            ours += timed(lambda: predictor.predict(frame), 20)
            other.stdin.write("20\n")
            other.stdin.flush()
            theirs += json.loads(other.stdout.readline())
        other.stdin.close()
    mine, its = statistics.median(ours), statistics.median(theirs)
    return {"predict_ms": 1e3 * mine, "mediapipe_ms": 1e3 * its, "predict_over_mediapipe": mine / its}


def start_over_bare(bundle: Path, rounds: int) -> dict[str, float]:
    from edgetransfer.spec.bundle import Bundle

    opened = Bundle.load(bundle)
    model, labels = str(opened.model_path), str(opened.path / "labels.txt")
    with tempfile.TemporaryDirectory() as folder:
        # As installed, so with compiled modules on both sides, whatever this shell says.
        environment = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": str(ROOT)}

        def start(code: str, *arguments: str) -> tuple[float, int]:
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
            )
            return time.perf_counter() - started, int(done.stdout.split()[-1]) if code.endswith(RESIDENT) else 0

        height, width = opened.manifest.preprocess.shape[:2]
        ours = (OURS, str(opened.path), str(height), str(width))  # the frame that the bare script gets
        camera = (OURS, str(opened.path), "480", "640")
        bare = (BARE, model, labels)
        sides = (ours, bare, camera)
        for side in sides:
            start(*side)
        times = [[start(*side)[0] for side in sides] for _ in range(rounds)]
        start_s, bare_s, camera_s = (statistics.median(column) for column in zip(*times, strict=True))
        memory = [statistics.median(start(code + RESIDENT, *rest)[1] for _ in range(3)) for code, *rest in sides]
    return {
        "start_ms": 1e3 * start_s,
        "bare_start_ms": 1e3 * bare_s,
        "start_over_bare": start_s / bare_s,
        "start_640x480_over_bare": camera_s / bare_s,
        "bare_resident_mb": memory[1] / 1e6,
        "extra_resident_mb": (memory[0] - memory[1]) / 1e6,
        "extra_resident_640x480_mb": (memory[2] - memory[1]) / 1e6,
    }


def alternate(one: Callable[[], Any], other: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, in turns of twenty calls."""
    for _ in range(20):
        one()
        other()
    first: list[float] = []
    second: list[float] = []
    for _ in range(rounds):
        first += timed(one, 20)
        second += timed(other, 20)
    return statistics.median(first), statistics.median(second)


def timed(call: Callable[[], Any], times: int) -> list[float]:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
