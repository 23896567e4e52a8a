"""Memory predicted from the graph beside what engines really take, each measured in a fresh process.

    tools/bench memory [--models FILE.tflite ...] [--folder FOLDER] [--json]

Without --models: 14 architectures of keras.applications with random weights, as float32 and int8 (made once, in a
quarter of an hour, and kept in --folder). Of each are measured:

  reference  the arena of LiteRT's reference kernels: from the first to the last byte of its tensors
  default    the arenas of LiteRT with XNNPACK: its own, and XNNPACK's workspace, as they are asked of the C library
             (needs a C compiler; left out where there is none)
  heap       the growth of the heap by the interpreter, its arenas and its packed weights: mallinfo2(3)
  resident   the growth of the resident set by engine and model, as `profile` measures it
  tflm       the arena in TensorFlow Lite Micro; of int8 models only, left out where it refuses the model

Linux with glibc only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(tempfile.gettempdir()) / "edgetransfer-bench-memory"
RAW: dict[str, Any] = {"include_preprocessing": False}
MODELS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("MobileNet", 96, {"alpha": 0.25}),
    ("MobileNet", 224, {}),
    ("MobileNetV2", 96, {"alpha": 0.35}),
    ("MobileNetV2", 224, {}),
    ("MobileNetV3Small", 224, RAW),
    ("MobileNetV3Large", 224, RAW),
    ("EfficientNetB0", 224, {}),
    ("EfficientNetV2B0", 224, RAW),
    ("NASNetMobile", 224, {}),
    ("DenseNet121", 224, {}),
    ("ResNet50", 224, {}),
    ("ResNet50V2", 224, {}),
    ("InceptionV3", 299, {}),
    ("Xception", 299, {}),
    ("VGG16", 224, {}),
)
ENDINGS = {"litert": ".tflite", "onnx": ".onnx"}
MEASURES = ("reference", "default", "heap", "resident", "tflm")

HEAP = """
import ctypes, json, sys
import numpy as np
from pathlib import Path
from edgetransfer.profile import resident_bytes
from edgetransfer.runtime.engines import open_engine
class Info(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
def heap():
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd
def step():
    return resident_bytes(), heap()
before = step()
import ai_edge_litert.interpreter
imported = step()
engine = open_engine("litert", Path(sys.argv[1]), threads=1)
opened = step()
image = np.zeros(engine.input.shape, engine.input.dtype)
for _ in range(3):
    engine.run(image)
used = step()
print(json.dumps({"resident": max(opened[0], used[0]) - before[0], "heap": used[1] - imported[1]}))
"""
ARENA = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgetransfer.export._litert_xnnpack import Tensors
from edgetransfer.quantize.flatbuffer import Graph
stored = Tensors(Graph.read(open(sys.argv[1], "rb").read())).stored
interpreter = Interpreter(sys.argv[1], experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1)
interpreter.allocate_tensors()
spans = []
for details in interpreter.get_tensor_details():
    try:
        view = interpreter.tensor(details["index"])()
    except ValueError:
        continue  # it has no memory: constants that were folded away
    if details["index"] not in stored:
        start = view.__array_interface__["data"][0]
        spans.append((start, start + view.nbytes))
print(max(end for _, end in spans) - min(start for start, _ in spans))
"""
ASKED = """
import os, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
os.write(2, b"@ begin\\n")
interpreter.allocate_tensors()
os.write(2, b"@ end\\n")
"""
SHIM = r"""
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
extern void *__libc_memalign(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static void say(const char *what, size_t size) {
  char line[60];
  int length = snprintf(line, sizeof line, "@ %s %zu\n", what, size);
  if (write(2, line, length) < 0) return;
}
int posix_memalign(void **out, size_t alignment, size_t size) {
  say("xnnpack", size);
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}
void *aligned_alloc(size_t alignment, size_t size) { say("arena", size); return __libc_memalign(alignment, size); }
void *realloc(void *old, size_t size) {
  if (!old && size >= 2048) say("table", size);
  return __libc_realloc(old, size);
}
"""
TFLM = """
import sys
from edgetransfer.runtime.engines import open_engine
print(open_engine("tflm", open(sys.argv[1], "rb").read()).arena_bytes)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, metavar="FILE", help=".tflite files to measure instead")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where models are kept (default {FOLDER})")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows = [one(path, asked.folder) for path in asked.models or made(asked.folder)]
    summary = {measure: errors(rows, measure) for measure in MEASURES}
    if asked.json:
        print(json.dumps({"models": rows, "summary": summary}, indent=1))
        return
    print(f"{'bytes, predicted/measured':34}" + "".join(f"{measure:>23}" for measure in MEASURES))
    for row in rows:
        print(f"{row['model']:34}" + "".join(f"{_pair(row, measure):>23}" for measure in MEASURES))
    print(f"\n{'error, %':12} models  exact   median   90th pct   most")
    for measure, found in summary.items():
        if found:
            numbers = "".join(f"{found[key]:9.2f}" for key in ("median", "p90", "most"))
            print(f"{measure:12} {found['models']:6} {found['exact']:6}{numbers}")


def made(folder: Path, engine: str = "litert") -> list[Path]:
    """Return the default models for `engine`, making those that are not there."""
    from edgetransfer.errors import ExportError

    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, pixels, arguments in MODELS:
        pair = [folder / f"{name}_{pixels}.{numbers}{ENDINGS[engine]}" for numbers in ("float32", "int8")]
        if not all(path.exists() for path in pair):
            os.write(2, f"making {name} at {pixels} px\n".encode())
            try:
                make(name, pixels, arguments, pair, engine)
            except ExportError as error:
                os.write(2, f"left out, for it cannot be exported: {error}\n".encode())
                continue
        found += pair
    return found


def make(name: str, pixels: int, arguments: dict[str, Any], pair: list[Path], engine: str = "litert") -> None:
    """Write one architecture as float32 and int8, with random weights."""
    import keras

    from edgetransfer.export import get_exporter
    from edgetransfer.spec.preprocess import Normalisation
    from edgetransfer.spec.recipe import RECIPES

    shape = (pixels, pixels, 3)
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=False, pooling="avg", input_shape=shape, **arguments)
    exporter, pixel = get_exporter(engine), Normalisation(1 / 127.5, 127)
    content = exporter.convert(model)
    recipe = replace(RECIPES["static_int8"], weight_ranges="min_max")
    if engine == "litert":
        ranges = made_up_ranges(content, pixel.span)
    else:
        recipe = replace(recipe, activations="uint8")  # as plans for ONNX have it
        image = np.random.default_rng(0).integers(0, 256, (1, *shape), np.uint8)
        ranges = exporter.calibrate(content, image, pixel)
    pair[0].write_bytes(exporter.carry_out(content, RECIPES["float32"], pixel))
    pair[1].write_bytes(exporter.carry_out(content, recipe, pixel, ranges))
    keras.backend.clear_session()


def made_up_ranges(content: bytes, span: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """Return a range for every activation of a `.tflite`, `span` for its input: neither bytes nor time depend on it."""
    from edgetransfer.quantize.flatbuffer import Graph

    graph = Graph.read(content)
    ranges = {
        graph.name(index): (-6.0, 6.0)
        for index in range(len(graph.subgraph.tensors))
        if graph.dtype(index) == "float32" and graph.constant(index) is None
    }
    return ranges | {graph.name(graph.input): span}


def one(path: Path, folder: Path) -> dict[str, Any]:
    """Return what was predicted and measured of one model."""
    from edgetransfer.estimate.memory import LITERT, arena_bytes, predict
    from edgetransfer.export import _litert_memory, _tflm_memory
    from edgetransfer.export._litert_xnnpack import Tensors
    from edgetransfer.quantize.flatbuffer import Graph

    content = path.read_bytes()
    told = predict(_litert_memory.demand(content))
    tensors = Tensors(Graph.read(content))
    integers = not any(tensors.is_floats(op) for op in tensors.ops)
    predicted = {
        "reference": arena_bytes(_litert_memory.buffers(content), LITERT),
        "default": told.arena_bytes,
        "heap": told.heap_bytes,
        "resident": told.peak_bytes,
        "tflm": _tflm_memory.predicted_arena_bytes(content) if integers else None,
    }
    measured: dict[str, Any] = dict.fromkeys(MEASURES)
    measured |= json.loads(run(HEAP, path) or "{}")
    measured["reference"] = json.loads(run(ARENA, path) or "null")
    measured["default"] = asked_of_library(path, folder)
    measured["tflm"] = json.loads(run(TFLM, path) or "null") if integers else None
    return {"model": path.stem, "predicted": predicted, "measured": measured}


def run(code: str, path: Path) -> str:
    """Return what `code` prints about the model in a process of its own; nothing where an engine refuses it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def asked_of_library(path: Path, folder: Path) -> int | None:
    """Return the bytes of LiteRT's arena and of XNNPACK's workspace; None without a C compiler.

    All weights are packed before the first table of pointers is made, and the workspace comes after it: the largest
    that XNNPACK asks for from then on. What looks like a table first is the list of a part's ops, of one size for all
    parts. Of the arena 64 bytes are for its alignment, and it is rounded up to 64.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    shim = folder / "asked.so"
    if not shim.exists():
        command = [compiler, "-O1", "-shared", "-fPIC", "-x", "c", "-o", str(shim), "-"]
        subprocess.run(command, input=SHIM, text=True, check=True)
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(path)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stderr.split("@ begin\n")[1].split("@ end\n")[0]
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("@ ")]
    tables = [(number, size) for number, (what, size) in enumerate(lines) if what == "table"]
    first = next((number for number, size in tables if size != tables[0][1]), len(lines))
    workspace = max((int(size) for what, size in lines[first:] if what == "xnnpack"), default=0)
    return workspace + max(int(size) for what, size in lines if what == "arena") - 64


def errors(rows: list[dict[str, Any]], measure: str) -> dict[str, float]:
    """Return the distribution of the absolute relative error in per cent."""
    pairs = [(row["predicted"][measure], row["measured"][measure]) for row in rows]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if not known:
        return {}
    found = [100 * abs(one / other - 1) for one, other in known]
    return {
        "models": len(found),
        "exact": sum(one == other for one, other in known),
        "median": statistics.median(found),
        "p90": float(np.percentile(found, 90)),
        "most": max(found),
    }


def _pair(row: dict[str, Any], measure: str) -> str:
    return "/".join(
        "-" if row[side][measure] is None else str(row[side][measure]) for side in ("predicted", "measured")
    )


if __name__ == "__main__":
    main()
