"""Golden samples: a few raw images that a bundle carries, so that any device can be checked against the desk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Dataset, Sample
from edgetransfer.models.trained import GoldenFrames, TrainedModel
from edgetransfer.runtime.cores import available_cores
from edgetransfer.runtime.engines import Kernels, open_engine
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.inputs import InputReader
from edgetransfer.spec.audio import AudioInput
from edgetransfer.spec.dense import apply_head
from edgetransfer.spec.golden import Golden
from edgetransfer.spec.manifest import GoldenInfo
from edgetransfer.spec.model_input import channels_of
from edgetransfer.spec.preprocess import ImageInput

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput

SAMPLES = 8
LONGEST_PX = 320  # golden frames are shrunk to this: they prove arithmetic, not resolution, and go to every device
_TONES = 4
_SENTENCES = (
    "turn on the light in the kitchen",
    "I lost my card, what shall I do?",
    "How much is 12.50 in euros?",
    "\u6211\u7684\u5361\u4e22\u4e86\uff0c\u600e\u4e48\u529e\uff1f",
)
SYNTHETIC_SHAPES_PX = ((96, 128), (128, 96), (224, 224), (240, 320))


def own_frames(dataset: Dataset, channels: int = 3) -> tuple[NDArray[np.uint8], ...]:
    """Return a few of the user's validation images, one label after the other, as (h, w, channels) uint8.

    Only pixels are kept: no EXIF, no names. They are drawn by content hash.
    """
    by_label: dict[str, list[Sample]] = {label: [] for label in dataset.labels}
    for sample in sorted(dataset.split("val"), key=lambda sample: sample.sha256):
        by_label[sample.label].append(sample)
    rounds = range(max(len(samples) for samples in by_label.values()))
    drawn = [samples[turn] for turn in rounds for samples in by_label.values() if turn < len(samples)]
    return tuple(_shrunk(read_image(sample.path, channels=channels)) for sample in drawn[:SAMPLES])


def own_raws(dataset: Dataset, reader: InputReader) -> tuple[NDArray[Any], ...]:
    """Return a few of the user's validation sounds or sentences, raw; of sounds the beginning, one window long.

    Where there are too few to validate on, they are training samples.
    """
    some = sorted(dataset.split("val") or dataset.split("train"), key=lambda sample: sample.sha256)[:SAMPLES]
    return tuple(_one_window(reader.read(sample.source), reader) for sample in some)


def synthetic_raws(spec: ModelInput, reader: InputReader) -> tuple[NDArray[Any], ...]:
    """Return raw inputs that say nothing, the same ones everywhere: colours, tones in noise, or sentences."""
    if spec.kind == "image":
        return synthetic_frames(channels_of(spec))
    if isinstance(spec, AudioInput):
        return tuple(_one_window(one, reader) for one in _tones(spec.sample_rate_hz))
    return tuple(np.frombuffer(text.encode(), np.uint8) for text in _SENTENCES)


def _one_window(raw: NDArray[Any], reader: InputReader) -> NDArray[Any]:
    while len(reader.prepare(raw)) > 1:
        raw = raw[: len(raw) // 2]
    return raw


def _tones(rate_hz: int) -> Iterator[NDArray[np.float32]]:
    rng = np.random.default_rng(20_202)
    seconds = np.arange(rate_hz) / rate_hz
    for number in range(_TONES):
        sound = np.sin(2 * np.pi * 110 * 2**number * seconds) * np.exp(-3 * seconds) + rng.normal(0, 0.05, rate_hz)
        # Whole 16-bit steps, as from a file: they are stored in half the bytes.
        yield (np.rint(sound * 2**13) / 2**15).astype(np.float32)


def synthetic_frames(channels: int = 3) -> tuple[NDArray[np.uint8], ...]:
    """Return frames that show nothing: smooth random colours or greys, the same ones everywhere."""
    rng = np.random.default_rng(20_201)
    frames = []
    for number in range(SAMPLES):
        height, width = SYNTHETIC_SHAPES_PX[number % len(SYNTHETIC_SHAPES_PX)]
        coarse = rng.integers(0, 256, (4 + number, 4 + number, channels), dtype=np.uint8)
        frames.append(prepare(coarse, ImageInput(height, width, channels=channels)))
    return tuple(frames)


def float_features(
    graph: bytes, frames: tuple[NDArray[np.uint8], ...], spec: ImageInput, engine_name: str
) -> GoldenFrames:
    """Return `frames` with the features that the float graph gives for them."""
    engine = open_engine(engine_name, graph, threads=1)
    rows = [engine.run(prepare(frame, spec)[None])[0] for frame in frames]
    engine.close()
    return GoldenFrames(frames, np.stack(rows).astype(np.float32))


def record(
    model: bytes, trained: TrainedModel, kind: str, spec: ImageInput, *, scores: bool, engine_name: str
) -> tuple[Golden, GoldenInfo]:
    """Run `model` on the golden frames of `kind` and return what came out, with how far devices may stray.

    Tolerances are measured: this machine's default kernels against every other kernel set that can run the model
    here, doubled; of kernels that cannot run here (another processor's) the largest of them is assumed, never less
    than two steps.
    """
    golden = trained.golden[kind]
    prepared = [prepare(frame, spec) for frame in golden.frames]
    logits = apply_head(trained.head, golden.float_features)
    return recorded(model, golden.frames, prepared, _softmax(logits) if scores else logits, kind, engine_name)


def recorded(
    model: bytes,
    raws: Sequence[NDArray[Any]],
    prepared: list[NDArray[Any]],
    wanted: NDArray[np.float32],
    kind: str,
    engine_name: str,
) -> tuple[Golden, GoldenInfo]:
    """Return what `model` gives for `prepared`, the model inputs of `raws`, beside what the float model gave."""
    default = open_engine(engine_name, model, threads=1)
    own = np.concatenate([default.run(one[None]) for one in prepared])
    tolerances = _tolerances(model, prepared, own, engine_name)
    info = GoldenInfo(
        kind="own" if kind == "own" else "synthetic",
        file="golden.npz",
        samples=len(prepared),
        engine=default.name,
        engine_version=default.version,
        kernels=default.kernels,
        tolerance_steps=max(2, *tolerances.values()),
        # Integers repeat exactly; float sums may differ in the last bits between processors with one kernel set.
        same_kernels_tolerance_steps=1 if own.dtype == np.float32 else 0,
        tolerances=tolerances,
    )
    hashes = tuple(hashlib.sha256(one.tobytes()).hexdigest() for one in prepared)
    samples = Golden(tuple(raws), hashes, wanted, own)
    default.close()
    return samples, info


_OTHER_KERNELS: dict[str, tuple[tuple[str, Kernels], ...]] = {"tflm": (("litert", "reference"), ("litert", "default"))}
"""Which other kernel sets run an engine's models; where nothing is said, the engine's own reference kernels."""


def _tolerances(model: bytes, prepared: list[NDArray[np.uint8]], own: NDArray[Any], engine_name: str) -> dict[str, int]:
    found = {}
    for name, kernels in _OTHER_KERNELS.get(engine_name, ((engine_name, "reference"),)):
        outputs, kernel_set = _on_other_kernels(model, prepared, name, kernels)
        found[f"{name} {kernel_set}"] = max(1, 2 * _steps_apart(own, outputs))
    return found


def _on_other_kernels(
    model: bytes, prepared: list[NDArray[np.uint8]], engine_name: str, kernels: Kernels
) -> tuple[NDArray[Any], str]:
    """Return the outputs of those kernels and what they are called.

    Plain kernels are 50 times as slow, on one core each, so they run on all cores at once.
    """
    names: list[str] = []

    def share(start: int) -> list[NDArray[Any]]:
        engine = open_engine(engine_name, model, threads=1, kernels=kernels)
        names.append(engine.kernels)
        outputs = [engine.run(one[None]) for one in prepared[start::cores]]
        engine.close()
        return outputs

    cores = min(available_cores(), len(prepared))
    with ThreadPoolExecutor(cores) as threads:
        shares = list(threads.map(share, range(cores)))
    return np.concatenate([shares[number % cores][number // cores] for number in range(len(prepared))]), names[0]


def _steps_apart(one: NDArray[np.generic], other: NDArray[np.generic]) -> int:
    """Return the largest distance in output steps; of floats, a 256th of the largest value is a step."""
    if one.dtype == np.float32:
        step = float(np.abs(one).max()) / 256 or 1.0
        return int(np.ceil(float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max()) / step))
    return int(np.abs(one.astype(np.int64) - other.astype(np.int64)).max())


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return scores


def _shrunk(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    longest = max(height, width)
    if longest <= LONGEST_PX:
        return frame
    shape = ImageInput(
        height_px=max(1, round(height * LONGEST_PX / longest)),
        width_px=max(1, round(width * LONGEST_PX / longest)),
        channels=frame.shape[2],
    )
    return prepare(frame, shape)
