"""Small real bundles that end in features, of photos, sounds and sentences, each with data and strangers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import load_dataset
from edgetransfer.evaluate import real_outputs
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.bundle import Bundle, write_bundle
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.head import Head, features_fingerprint
from edgetransfer.spec.manifest import DataInfo, HeadInfo, ModelInfo, SplitMetric
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.spec.task import Task
from edgetransfer.spec.text import TextInput
from edgetransfer.train.confidence import fit_outliers
from edgetransfer.train.few import fit_few

RATE_HZ = 16_000
WORDS = ["[PAD]", "[UNK]", "my", "the", "card", "money", "lost", "stolen", "send", "transfer", "weather", "song"]
TOKENS = 6


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle and what to measure it on: its first head's data, those of others by name, and strangers."""

    bundle: Bundle
    data: Path
    others: dict[str, Path]
    strangers: Path


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Any) -> Made:
    """Photos: head `colour` turns strangers away and has a temperature, `warm` never does; 96 photos."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {"colour": [], "warm": []}
    (folder / "photos").mkdir()
    for number in range(96):
        channel = number % 3
        pixels = rng.integers(0, 150, (40, 60, 3))
        pixels[..., channel] += int(rng.integers(5, 100))
        name = f"{number:03}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name)
        split = ("train", "train", "val", "test")[number // 3 % 4]
        answer = channel if number % 16 else (channel + 1) % 3  # some are labelled wrongly
        rows["colour"].append(f"{name},{('red', 'green', 'blue')[answer]},{split}")
        rows["warm"].append(f"{name},{('warm', 'cold', 'cold')[channel]},{split}")
    for head, lines in rows.items():
        (folder / "photos" / f"{head}.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    (folder / "others").mkdir()
    for number in range(12):
        grey = rng.integers(0, 250, (40, 60, 1)).repeat(3, axis=2).astype(np.uint8)
        Image.fromarray(grey).save(folder / "others" / f"{number}.png")
    (folder / "others" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "others" / "notes.txt").write_text("no photo")
    content, spec = tiny_bundle.model_content(features=True), ImageInput(16, 16, "squash")
    tables = {head: folder / "photos" / f"{head}.csv" for head in rows}
    bundle = _written(folder / "colours.bundle", tiny_bundle, content, spec, tables, {"colour": 0.1, "warm": None})
    return Made(bundle, tables["colour"], {"warm": tables["warm"]}, folder / "others")


@pytest.fixture(scope="session")
def sentences(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Any) -> Made:
    """Sentences, as mean vectors of a dozen words, some of them labelled wrongly; one head that turns away."""
    pytest.importorskip("tokenizers", reason="sentences need the extra 'text'")
    folder = tmp_path_factory.mktemp("sentences")
    rng = np.random.default_rng(1)
    verbs = {"lost card": ["card", "lost", "stolen"], "send <money>": ["money", "send", "transfer"]}
    lines = ["text,label,split"]
    for number in range(80):
        label = list(verbs)[number % 2]
        words = [*rng.choice(["my", "the"], 2), *rng.choice(verbs[label], int(rng.integers(1, 4)))]
        told = label if number % 14 else list(verbs)[1 - number % 2]
        lines.append(
            f"{' '.join(rng.permutation(words))} {number},{told},{('train', 'val', 'test', 'test')[number // 2 % 4]}"
        )
    (folder / "intents.csv").write_text("\n".join(lines) + "\n")
    (folder / "others.txt").write_text("the weather\n\nsong song the\nweather song\nsong\n", encoding="utf-8")
    files = {"tokenizer.json": _tokenizer()}
    table = {"intent": folder / "intents.csv"}
    bundle = _written(
        folder / "intents.bundle",
        tiny_bundle,
        _embedding(tiny_bundle),
        TextInput(TOKENS),
        table,
        {"intent": 0.1},
        files,
    )
    return Made(bundle, table["intent"], {}, folder / "others.txt")


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Any) -> Made:
    """Sounds, high or low, some of them labelled wrongly; one head that turns noise away."""
    soundfile = pytest.importorskip("soundfile", reason="sounds need the extra 'audio'")
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(2)
    (folder / "others").mkdir()
    lines = ["path,label,split"]
    for number in range(40):
        label = ("high", "low")[number % 2]
        seconds = np.arange(int(rng.uniform(0.3, 1.4) * RATE_HZ)) / RATE_HZ
        hertz = rng.uniform(*{"high": (2000, 4000), "low": (200, 500)}[label])
        wave = 0.3 * np.sin(2 * np.pi * hertz * seconds) + rng.normal(0, 0.01, len(seconds))
        soundfile.write(folder / f"{number:02}.wav", wave, RATE_HZ)
        told = label if number % 9 else ("high", "low")[1 - number % 2]
        lines.append(f"{number:02}.wav,{told},{('train', 'val', 'test', 'test')[number // 2 % 4]}")
        if number < 4:
            soundfile.write(folder / "others" / f"{number}.wav", rng.normal(0, 0.2, RATE_HZ), RATE_HZ)
    (folder / "pitch.csv").write_text("\n".join(lines) + "\n")
    spec = AudioInput("yamnet", RATE_HZ, 96, 64, 48, 0.05, 200)
    table = {"pitch": folder / "pitch.csv"}
    bundle = _written(folder / "pitch.bundle", tiny_bundle, _bands(tiny_bundle, spec), spec, table, {"pitch": 0.2})
    return Made(bundle, table["pitch"], {}, folder / "others")


def _written(
    path: Path,
    tiny: Any,
    content: bytes,
    spec: Any,
    tables: dict[str, Path],
    reject: dict[str, float | None],
    files: dict[str, bytes] | None = None,
) -> Bundle:
    """Write a bundle of that graph with a head trained on each table, as a build would."""
    from edgetransfer.runtime.engines import open_engine

    engine = open_engine("litert", content, threads=1)
    model = ModelInfo("model.tflite", engine.input, engine.output)
    engine.close()
    datasets = {name: load_dataset(table, kind=spec.kind) for name, table in tables.items()}
    prints = "+".join(one.fingerprint for one in datasets.values())
    backbone = tiny.manifest().backbone._replace(feature_size=model.output.shape[-1])
    about = tiny.manifest(
        model=model,
        backbone=backbone,
        task=Task("embedding", ()),
        preprocess=spec,
        data=DataInfo(prints, {"train": 9, "test": 3}),
        metrics={},
        licences=(),
    )
    kept = {"model.tflite": content, **(files or {})}
    bare = write_bundle(path.with_name("bare.bundle"), about, kept)
    heads = {name: _trained(bare, name, dataset, reject[name]) for name, dataset in datasets.items()}
    infos = tuple(HeadInfo(name, f"heads/{name}.head", {"test": SplitMetric(0.75, 20)}) for name in heads)
    kept |= {f"heads/{name}.head": head.to_bytes() for name, head in heads.items()}
    return write_bundle(path, replace(about, heads=infos), kept)


def _trained(bundle: Bundle, name: str, dataset: Any, reject: float | None) -> Head:
    task = Task("single_label", dataset.labels)

    def seen(split: str) -> tuple[np.ndarray, np.ndarray]:
        some = dataset.split(split)
        features = real_outputs(bundle, some, lambda: Predictor.load(bundle, heads=()), 1, None)
        return features, np.array([dataset.labels.index(one.label) for one in some])

    (train, labels), (val, _) = seen("train"), seen("val")
    layer = fit_few(train, labels, len(dataset.labels)).head[0]
    detector = None if reject is None else fit_outliers(train, labels, val, false_reject_rate=reject)
    sharper = Dense(3 * layer.kernel, 3 * layer.bias)  # too sure of itself, which the temperature mends
    head = Head(name, replace(task, temperature=2.5), (sharper,), features_fingerprint(bundle.manifest), detector)
    return head.rounded()


def _bands(tiny: Any, spec: AudioInput) -> bytes:
    """Return a graph from a window of log-mel to the means of 16 groups of bands."""
    schema = tiny.schema
    types, ops, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    graph, zero = tiny._Graph(), spec.zero_point
    window = graph.tensor("window", (1, *spec.shape), types.UINT8, spec.scale, zero)
    moved = graph.tensor("moved", (1, *spec.shape), types.INT8, spec.scale, zero - 128)
    graph.op(ops.QUANTIZE, [window], moved, options.QuantizeOptions, schema.QuantizeOptionsT())
    pooled = graph.tensor("pooled", (1, 1, 16, 1), types.INT8, spec.scale, zero - 128)
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.filterHeight, pool.strideH = 1, spec.frames, spec.frames
    pool.filterWidth = pool.strideW = spec.bands // 16
    graph.op(ops.AVERAGE_POOL_2D, [moved], pooled, options.Pool2DOptions, pool)
    flat = graph.tensor("flat", (1, 16), types.INT8, spec.scale, zero - 128)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [1, 16]
    shape = graph.tensor("shape", (2,), types.INT32, data=np.array([1, 16], np.int32))
    graph.op(ops.RESHAPE, [pooled, shape], flat, options.ReshapeOptions, reshape)
    return bytes(graph.content([window], [flat]))


def _embedding(tiny: Any) -> bytes:
    """Return a graph from ids of tokens to the mean of their vectors."""
    schema = tiny.schema
    types, ops, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    graph, width = tiny._Graph(), 8
    vectors = np.random.default_rng(5).normal(0, 1, (256, width)).astype(np.float32)  # profile tries ids up to 255
    vectors[0] = 0
    ids = graph.tensor("tokens", (1, TOKENS), types.INT32)
    table = graph.tensor("table", vectors.shape, types.FLOAT32, data=vectors)
    looked = graph.tensor("vectors", (1, TOKENS, width), types.FLOAT32)
    graph.op(ops.GATHER, [table, ids], looked, options.GatherOptions, schema.GatherOptionsT())
    axis = graph.tensor("axis", (1,), types.INT32, data=np.array([1], np.int32))
    mean = graph.tensor("mean", (1, width), types.FLOAT32)
    graph.op(ops.MEAN, [looked, axis], mean, options.ReducerOptions, schema.ReducerOptionsT())
    return bytes(graph.content([ids], [mean]))


def _tokenizer() -> bytes:
    model = {"type": "WordLevel", "vocab": {word: n for n, word in enumerate(WORDS)}, "unk_token": "[UNK]"}
    parts = {"added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None}
    about = {"version": "1.0", "truncation": None, "padding": None, "decoder": None, "model": model}
    return json.dumps(about | parts).encode()
