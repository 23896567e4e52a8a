"""Builds a real bundle for sounds in milliseconds: YAMNet's front end, four means over bands, one head.

It tells low from high sounds and both from quiet. Test files get this by the fixture `tiny_sounds` (tests/conftest.py).
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.bundle import Bundle, ModelInfo, write_bundle
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.head import Head, fingerprint
from edgetransfer.spec.manifest import HeadInfo
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import Quantization, TensorSpec

_spec = importlib.util.spec_from_file_location("tiny_bundle_of_sounds", Path(__file__).with_name("tiny_bundle.py"))
assert _spec is not None
assert _spec.loader is not None
tiny: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)

LABELS = ("high", "low", "quiet")
RATE_HZ = 16_000
INPUT = AudioInput("yamnet", RATE_HZ, 96, 64, 48, scale=0.0625, zero_point=128)
_PARTS = 4  # of the bands, from low to high
_SPANS_HZ = {"low": (200, 500), "high": (4500, 7000)}


def sound(label: str, seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Return a sound of that label, (n,) float32; every sample is one of 16 bits."""
    rng, count = np.random.default_rng(seed), int(seconds * RATE_HZ)
    found = np.zeros(count)
    if label != "quiet":
        times = np.arange(count) / RATE_HZ
        for hertz in rng.uniform(*_SPANS_HZ[label], 8):
            found += 0.08 * np.sin(2 * np.pi * hertz * times + rng.uniform(0, 6))
    return np.rint(found * 32768).astype(np.float32) / np.float32(32768)


def _graph() -> bytes:
    types, ops, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    graph, moved_point = tiny._Graph(), INPUT.zero_point - 128
    windows = graph.tensor("windows", (1, *INPUT.shape), types.UINT8, INPUT.scale, INPUT.zero_point)
    moved = graph.tensor("moved", (1, *INPUT.shape), types.INT8, INPUT.scale, moved_point)
    graph.op(ops.QUANTIZE, [windows], moved, options.QuantizeOptions, schema.QuantizeOptionsT())
    pooled = graph.tensor("pooled", (1, 1, _PARTS, 1), types.INT8, INPUT.scale, moved_point)
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.filterHeight, pool.filterWidth = 1, INPUT.frames, INPUT.bands // _PARTS
    pool.strideH, pool.strideW = INPUT.frames, INPUT.bands // _PARTS
    graph.op(ops.AVERAGE_POOL_2D, [moved], pooled, options.Pool2DOptions, pool)
    flat = graph.tensor("flat", (1, _PARTS), types.INT8, INPUT.scale, moved_point)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, _PARTS]
    shape = graph.tensor("shape", (2,), types.INT32, data=np.array([1, _PARTS], np.int32))
    graph.op(ops.RESHAPE, [pooled, shape], flat, options.ReshapeOptions, reshape)
    content: bytes = graph.content([windows], [flat])
    return content


def make_sound_bundle(path: Path) -> Bundle:
    """Write a bundle with one head, `pitch`."""
    content = _graph()
    # Real log-mel is -6.9 where it is quiet: there "quiet" gets 3.9, and the others, which compare ends, nothing.
    kernel = np.array([[-1, 1, -0.25], [0, 0, -0.25], [0, 0, -0.25], [1, -1, -0.25]], np.float32)
    layer = Dense(kernel, np.array([0, 0, -3], np.float32))
    print_of = fingerprint(hashlib.sha256(content).hexdigest(), INPUT)
    head = Head("pitch", Task("single_label", LABELS), (layer,), print_of).rounded()
    written = tiny.manifest(
        model=ModelInfo(
            "model.tflite",
            TensorSpec("windows", (1, *INPUT.shape), "uint8"),
            TensorSpec("flat", (1, _PARTS), "int8", Quantization(INPUT.scale, INPUT.zero_point - 128)),
        ),
        task=Task("embedding", ()),
        preprocess=INPUT,
        backbone=tiny.manifest().backbone._replace(feature_size=_PARTS),
        heads=(HeadInfo("pitch", "heads/pitch.head", {}),),
        metrics={},
    )
    files = {"model.tflite": content, "LICENSES/tiny.txt": b"A licence.\n", "heads/pitch.head": head.to_bytes()}
    return write_bundle(path, written, files)
