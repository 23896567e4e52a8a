"""Public figures of latency: which are used, what they speak of, and which are left out by what rule.

Left out, in this order: what is of no runtime or precision listed here; what was derived from a throughput; graphs
that another processor than the row's computed a part of; networks that `architectures` cannot build; and platforms (a
device, a runtime, a precision, a count of threads) with fewer than `LEAST_MODELS` networks. `fit` then leaves out what
lies beside everything else by more than a factor of two.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgetransfer.estimate.op import Precision
from edgetransfer.estimate.terms import terms_of
from latency.architectures import UnknownArchitectureError, input_px, ops_of

COLUMNS = ("device", "runtime", "precision", "threads", "model", "input", "latency_ms", "repository", "path")
LEAST_MODELS = 4

# What tables call their software: the runtime it is, and the family whose kernels it shares.
RUNTIMES = {
    "ncnn CPU": ("ncnn", "ncnn"),
    "XNNPACK end2end_bench": ("XNNPACK", "TensorFlow Lite"),
    "TFLite CPU": ("TensorFlow Lite", "TensorFlow Lite"),
    "TFLite CPU large core": ("TensorFlow Lite", "TensorFlow Lite"),
    "TFLite CPU (2019-20)": ("TensorFlow Lite", "TensorFlow Lite"),
    "OpenCV DNN 4.10 DNN_BACKEND_OPENCV/DNN_TARGET_CPU": ("OpenCV", "OpenCV"),
    "Paddle-Lite 2.11 CPU armv8 big core": ("Paddle Lite", "Paddle Lite"),
    "TVM autotuned CPU": ("TVM", "TVM"),
}
ACCELERATORS = {
    "qai-hub tflite [NPU]": ("LiteRT with QNN", "Hexagon"),
    "qai-hub qnn_dlc [NPU]": ("QNN", "Hexagon"),
    "qai-hub onnx [NPU]": ("ONNX Runtime with QNN", "Hexagon"),
    "EdgeTPU": ("Edge TPU", "Edge TPU"),
    "Pixel Neural Core EdgeTPU": ("Pixel Neural Core", "Edge TPU"),
    "ncnn Vulkan GPU": ("ncnn Vulkan", "ncnn Vulkan"),
    "TFLite GPU delegate": ("LiteRT GPU", "LiteRT GPU"),
    "TFLite NNAPI": ("NNAPI", "NNAPI"),
    "Horizon BPU": ("Horizon BPU", "Horizon BPU"),
    "STEdgeAI NPU": ("ST Edge AI", "ST Neural-ART"),
}
"""The same of GPUs and NPUs, whose figures are used and reported apart."""
PRECISIONS: dict[str, Precision] = {
    "fp32": "float32", "fp32/fp16 default": "float32", "int8": "int8", "uint8": "int8", "int8 per-channel": "int8",
    "int8/float per table": "int8",
}  # fmt: skip
ACCELERATOR_PRECISIONS: dict[str, Precision] = {
    "fp32": "float32", "fp32/fp16 default": "float32", "fp16": "float16", "fp16(NPU) from float": "float16",
    "int8": "int8", "uint8": "int8", "w8a8": "int8",
}  # fmt: skip
_ELSEWHERE = (("ncnn Vulkan GPU", "int8"),)  # ncnn computes integers on the CPU, whatever it is asked for


@dataclass(frozen=True, slots=True)
class Figure:
    """One published latency: `threads` as the table writes it ("big cores"), `terms` as estimates count them."""

    device: str
    runtime: str
    family: str
    precision: Precision
    threads: str
    model: str
    px: int
    ms: float
    repository: str
    path: str
    terms: dict[str, float]

    @property
    def platform(self) -> tuple[str, str, str, str]:
        """What coefficients belong to."""
        return (self.device, self.runtime, self.precision, self.threads)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures that are used, and how many rows were left out for which reason."""

    used: tuple[Figure, ...]
    left_out: dict[str, int]


def read_figures(path: Path, *, accelerators: bool = False) -> Figures:
    """Return the figures of CPU engines, or of `accelerators`, in the table at `path`.

    Other columns than `COLUMNS` may be there.
    """
    runtimes = ACCELERATORS if accelerators else RUNTIMES
    precisions = ACCELERATOR_PRECISIONS if accelerators else PRECISIONS
    left_out: dict[str, int] = defaultdict(int)
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            repository = row.get("repository") or row.get("source_repo_or_page", "")
            place = row.get("path") or row.get("source_path_or_url", "")
            if row["runtime"] not in runtimes or row["precision"] not in precisions:
                left_out["of another runtime or precision"] += 1
                continue
            if "throughput" in row.get("note", "") or "FPS" in row.get("note", ""):
                left_out["derived from a throughput"] += 1
                continue
            if (row["runtime"], row["precision"]) in _ELSEWHERE or _is_shared(row.get("note", "")):
                left_out["computed in part by another processor"] += 1
                continue
            try:
                known = (*runtimes[row["runtime"]], precisions[row["precision"]])
                found.append(_figure(row, known, repository, place))
            except UnknownArchitectureError:
                left_out["network that cannot be built"] += 1
    used = of_enough_networks(found)
    left_out["platform with few networks"] = len(found) - len(used)
    return Figures(used, dict(left_out))


def of_enough_networks(figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Return `figures` without those of platforms with fewer than `LEAST_MODELS` networks."""
    models: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in figures:
        models[one.platform].add(one.model)
    return tuple(one for one in figures if len(models[one.platform]) >= LEAST_MODELS)


def write_figures(path: Path, figures: Iterable[Figure]) -> None:
    """Write `figures` as a table that `read_figures` reads."""
    tables = {names: table for table, names in reversed((RUNTIMES | ACCELERATORS).items())}
    words = {precision: word for word, precision in reversed((ACCELERATOR_PRECISIONS | PRECISIONS).items())}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for one in figures:
            runtime = tables[(one.runtime, one.family)]
            known = (one.device, runtime, words[one.precision], one.threads, one.model, f"{one.px}x{one.px}x3")
            writer.writerow((*known, f"{one.ms:g}", one.repository, one.path))


def _is_shared(note: str) -> bool:
    """Return whether a note such as "layers 239 npu 230 gpu 0 cpu 9" says that two processors took part."""
    counts = re.search(r"npu (\d+) gpu (\d+) cpu (\d+)", note)
    return counts is not None and sum(int(count) > 0 for count in counts.groups()) > 1


def _figure(row: dict[str, str], kind: tuple[str, str, Precision], repository: str, place: str) -> Figure:
    runtime, family, precision = kind
    px = input_px(row["model"], row["input"], repository)
    ops = [replace(op, precision=precision) for op in ops_of(row["model"], px, repository)]
    known = (row["device"], runtime, family, precision, row["threads"], row["model"], px, float(row["latency_ms"]))
    return Figure(*known, repository, place, terms_of(ops))
