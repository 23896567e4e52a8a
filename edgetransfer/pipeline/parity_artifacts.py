"""What is compared by `parity`: a run's float Keras model, or a bundle with its engine."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import BundleError
from edgetransfer.runtime.files import read_image
from edgetransfer.runtime.image import prepare
from edgetransfer.runtime.predictor import Predictor
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.manifest import MANIFEST_FILE, Manifest
from edgetransfer.spec.model_input import channels_of
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.task import Task
from edgetransfer.spec.tensor import TensorSpec

if TYPE_CHECKING:
    from edgetransfer.data import Sample

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class About:
    """What is known of an artifact before it computes anything.

    Attributes:
        name: What the reader calls it.
        what: Format, recipe and engine, for the reader.
        task: Its labels in the order of its outputs, and its temperature.
        preprocess: How an image becomes its input.
        output: What its stored outputs mean.
        scores_in_graph: Whether they are scores, not logits.
        data: The fingerprint of the data that it was built from.
        manifest: A bundle's; None for a run.
    """

    name: str
    what: str
    task: Task
    preprocess: ImageInput
    output: TensorSpec
    scores_in_graph: bool
    data: str
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class GoldenPixels:
    """How many golden samples a bundle carries, and which of them become other pixels here than where it was built."""

    samples: int
    differing: tuple[int, ...]


class Artifact(Protocol):
    """One side of the comparison."""

    @property
    def about(self) -> About:
        """What is known of it."""

    def pixels(self, sample: Sample) -> NDArray[np.uint8]:
        """Return the input that this artifact is given for `sample`, (H, W, channels) uint8."""

    def outputs(self, inputs: Sequence[NDArray[np.uint8]], threads: Executor) -> NDArray[Any]:
        """Return the stored outputs of `inputs`, (n, C), in its own labels' order."""

    def golden(self) -> GoldenPixels | None:
        """Return how its golden samples fare in preprocessing here; None where it has none."""

    def close(self) -> None:
        """Free its memory."""


def is_run(path: Path) -> bool:
    """Whether the folder `path` is a run; False says that it is a bundle.

    Raises:
        BundleError: it is neither.
    """
    if (path / RUN_FILE).is_file():
        return True
    if path.exists() and not (path / MANIFEST_FILE).is_file():
        raise BundleError(
            f"{str(path)!r}: expected a bundle (a folder with {MANIFEST_FILE}) or a run (one with {RUN_FILE})"
        )
    return False  # opening the bundle says what is wrong with a path that is not there


def open_artifact(path: Path, name: str, providers: Sequence[str] | None = None) -> Artifact:
    """Return what lies in the folder `path`, to be called `name`.

    `providers` are what ONNX bundles compute with; None takes those that each was built for.

    Raises:
        BundleError: it is neither a bundle nor a run, or damaged.
        EngineError: a bundle's engine is not installed, or refuses the model.
        BackboneError, WeightsError: a run's Keras backbone cannot be built.
    """
    return KerasArtifact(path, name) if is_run(path) else BundleArtifact(Bundle.load(path), name, providers)


def artifact_channels(path: Path) -> int:
    """Return with how many channels what lies in the folder `path` looks at images.

    Raises:
        BundleError: it is neither a bundle nor a run, or damaged.
    """
    if not is_run(path):
        return channels_of(Bundle.load(path).manifest.preprocess)
    from edgetransfer.models.trained import TrainedModel

    return ImageInput.from_json(TrainedModel.load(path).description["preprocess"]).channels


class KerasArtifact:
    """The float Keras backbone of a run, with the very head that its bundles ship."""

    def __init__(self, run: Path, name: str) -> None:
        # Bundles are compared where there is no Keras, so what needs it is imported here.
        from edgetransfer.models import backbones
        from edgetransfer.models.heads.single_label import keras_head
        from edgetransfer.models.trained import TrainedModel
        from edgetransfer.pipeline.local import local_choice

        trained = TrainedModel.load(run)
        about = trained.description
        loaded = backbones.load(local_choice(run))
        if loaded.weights_sha256 != about["backbone"]["weights_sha256"]:
            raise BundleError(
                f"{run}: was trained on backbone weights {about['backbone']['weights_sha256'][:12]}, those found now "
                f"are {loaded.weights_sha256[:12]}; bring the old file back, or train again"
            )
        task = Task.from_json(about["task"])
        self._backbone, self._head = loaded.model, keras_head(trained.head)
        self._normalisation = Normalisation(**about["backbone"]["normalisation"])
        self.about = About(
            name=name,
            what="Keras float32",
            task=task,
            preprocess=ImageInput.from_json(about["preprocess"]),
            output=TensorSpec("logits", (1, len(task.labels)), "float32"),
            scores_in_graph=False,
            data=about["data"]["fingerprint"],
            manifest=None,
        )

    def pixels(self, sample: Sample) -> NDArray[np.uint8]:
        """Return what training was given for `sample`: the code path of the feature pass."""
        from edgetransfer.features.extract import View, model_input

        return model_input(View(sample), self.about.preprocess)

    def outputs(self, inputs: Sequence[NDArray[np.uint8]], threads: Executor) -> NDArray[Any]:
        """Return float32 logits; TensorFlow has threads of its own."""
        real = self._normalisation.to_real(np.stack(inputs))
        return np.asarray(self._head(self._backbone(real, training=False)), np.float32)

    def golden(self) -> GoldenPixels | None:
        """Return None: a run's golden frames have no recorded pixels."""
        return None

    def close(self) -> None:
        """Do nothing: Python frees Keras models."""


class BundleArtifact:
    """A bundle with as many predictors as threads ask at once."""

    def __init__(self, bundle: Bundle, name: str, providers: Sequence[str] | None = None) -> None:
        manifest = bundle.manifest
        self._bundle = bundle
        self._providers = providers if manifest.format == "onnx" else None
        self._idle: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
        predictor = Predictor.load(bundle, providers=self._providers, threads=1)
        self._idle.put(predictor)
        engine = predictor.engine
        self.about = About(
            name=name,
            what=f"{manifest.format} {manifest.recipe.name} ({engine.name} {engine.version}, {engine.kernels})",
            task=manifest.task,
            preprocess=manifest.image,
            output=manifest.model.output,
            scores_in_graph=manifest.model.scores_in_graph,
            data=manifest.data.fingerprint,
            manifest=manifest,
        )

    def pixels(self, sample: Sample) -> NDArray[np.uint8]:
        """Return what the device gives the model for `sample`."""
        spec = self.about.preprocess
        return prepare(read_image(sample.path, channels=spec.channels), spec)

    def outputs(self, inputs: Sequence[NDArray[np.uint8]], threads: Executor) -> NDArray[Any]:
        """Return the engine's outputs; each image is one inference, as on the device."""
        return np.stack(list(threads.map(self._output, inputs)))

    def golden(self) -> GoldenPixels | None:
        """Prepare the golden frames again and compare with the hashes that the bundle carries."""
        samples = self._bundle.golden()
        if samples is None:
            return None
        now = [hashlib.sha256(prepare(frame, self.about.preprocess).tobytes()).hexdigest() for frame in samples.raw]
        pairs = enumerate(zip(now, samples.input_sha256, strict=True))
        return GoldenPixels(len(now), tuple(number for number, (here, there) in pairs if here != there))

    def close(self) -> None:
        """Close all predictors."""
        while not self._idle.empty():
            self._idle.get().close()

    def _output(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        try:
            predictor = self._idle.get_nowait()
        except queue.Empty:
            predictor = Predictor.load(self._bundle, providers=self._providers, threads=1)
        try:
            stored: NDArray[Any] = predictor.run(pixels)[0]
            return stored
        finally:
            self._idle.put(predictor)
