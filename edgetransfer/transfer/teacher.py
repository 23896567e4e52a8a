"""A teacher: a model of any family, format and input size, seen through what its graph gives.

It never runs inside of the student's training. Its engine computes each view of each image once; the outputs are in
the feature cache, so a second run, and another student, find them there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import BundleError, DataError
from edgetransfer.features.extract import View, extract
from edgetransfer.runtime.heads import load_heads
from edgetransfer.runtime.predictor import ENGINE_OF_FORMAT
from edgetransfer.spec.bundle import Bundle
from edgetransfer.spec.dense import Dense, apply_head
from edgetransfer.spec.preprocess import ImageInput

_LEAST_SCORE = 1e-7  # of a softmax, before its logarithm is taken
_ENGINES = ENGINE_OF_FORMAT | {"tflm": "litert"}
"""By a bundle's format: at the desk LiteRT computes what TensorFlow Lite Micro would."""


@dataclass(frozen=True, slots=True)
class TeacherOutputs:
    """What a teacher says of n images: (n, labels) logits, and (n, D) features where its graph gives them."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Teacher:
    """A graph that answers for the labels of the student's data.

    Attributes:
        name: For people.
        graph: (1, H, W, 3) uint8 pixels in; features out where there is a `head`, else logits or scores.
        spec: How an image becomes the graph's input.
        engine: What runs it.
        head: On the graph's features; none where the graph ends in answers.
        columns: Which of its answers are the labels of the student's data, in their order.
        gives_scores: Whether the graph ends in a softmax.
        workers: Threads; None: one a core.
    """

    name: str
    graph: bytes
    spec: ImageInput
    engine: str
    head: tuple[Dense, ...]
    columns: tuple[int, ...]
    gives_scores: bool = False
    workers: int | None = None

    @property
    def fingerprint(self) -> str:
        """The sha256 of all that decides what it says of an image."""
        digest = hashlib.sha256(self.graph)
        about = [self.spec.to_json(), self.engine, self.columns, self.gives_scores]
        digest.update(json.dumps(about, sort_keys=True).encode())
        for layer in self.head:
            digest.update(layer.activation.encode() + layer.kernel.tobytes() + layer.bias.tobytes())
        return digest.hexdigest()

    def outputs(
        self,
        samples: Sequence[Sample],
        *,
        view: int = 0,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> TeacherOutputs:
        """Return what the teacher says of the images as that view: cropped, flipped and recoloured as the student's.

        Raises:
            InputError: an image cannot be read.
        """
        views = [View(sample, view, seed) for sample in samples]
        found = extract(self.graph, views, self.spec, engine=self.engine, workers=self.workers, progress=progress).real
        columns = list(self.columns)
        if self.head:
            return TeacherOutputs(apply_head(self.head, found)[:, columns], found)
        if self.gives_scores:
            found = np.log(np.maximum(found, np.float32(_LEAST_SCORE)))
        return TeacherOutputs(found[:, columns], None)


def teacher_of_bundle(
    path: Path, labels: Sequence[str], *, head: str | None = None, workers: int | None = None
) -> Teacher:
    """Return the bundle in the folder `path` as a teacher for `labels`.

    Args:
        path: The bundle; of any format and input size.
        labels: Of the student's data; the bundle may know more.
        head: Which one, of a bundle with several heads outside of its graph.
        workers: Threads; None: one a core.

    Raises:
        BundleError: no bundle, not of images, or not one that answers with one label of several.
        DataError: it does not know some of the labels.
    """
    bundle = Bundle.load(path)
    bundle.check_model()
    manifest = bundle.manifest
    layers: tuple[Dense, ...] = ()
    task = manifest.task
    if manifest.is_split:
        heads = {one.name: one for one in load_heads(bundle)}
        if head is None and len(heads) == 1:
            head = next(iter(heads))
        if head not in heads:
            got = "none of that name" if head else "no --teacher-head"
            raise BundleError(f"teacher {str(path)!r}: expected one of its heads, {', '.join(heads)}, got {got}")
        layers, task = heads[head].layers, heads[head].task
    if task.kind != "single_label":
        raise BundleError(f"teacher {str(path)!r}: answers a {task.kind} task, expected one label of several")
    unknown = sorted(set(labels) - set(task.labels))
    if unknown:
        raise DataError(
            f"teacher {str(path)!r}: expected it to know all labels of the data; it does not know "
            f"{', '.join(map(repr, unknown))}. It knows {', '.join(map(repr, task.labels))}"
        )
    return Teacher(
        name=manifest.name,
        graph=bundle.model_path.read_bytes(),
        spec=manifest.image,
        engine=_ENGINES[manifest.format],
        head=layers,
        columns=tuple(task.labels.index(label) for label in labels),
        gives_scores=manifest.model.scores_in_graph,
        workers=workers,
    )
