"""The manifest of a bundle: everything that is known about the artifact, in one frozen value.

Its parts are named tuples: a device reads manifests at every start, and a frozen dataclass takes 0.3 ms to define,
a named tuple 0.05.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from edgetransfer.errors import BundleError, RecipeError
from edgetransfer.spec import json_shape
from edgetransfer.spec.manifest_schema import SCHEMA, check_schema, migrated, shape_problems
from edgetransfer.spec.model_input import input_from_json
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.task import EMBEDDING, Task
from edgetransfer.spec.tensor import TensorSpec

if TYPE_CHECKING:
    from edgetransfer.spec.model_input import ModelInput

MANIFEST_FILE = "manifest.json"
LABELS_FILE = "labels.txt"
FORMATS = ("litert", "onnx", "tflm")


class ModelInfo(NamedTuple):
    """The model file, its one input and output; `scores_in_graph` says that softmax is inside the graph.

    `providers` are those of ONNX Runtime that the device's profile asks for, in order; empty for other engines.
    """

    file: str
    input: TensorSpec
    output: TensorSpec
    scores_in_graph: bool = False
    providers: tuple[str, ...] = ()


class BackboneInfo(NamedTuple):
    """The backbone that the model was built from; `weights_sha256` is the fingerprint of the weights in use."""

    name: str
    alpha: float
    weights_sha256: str
    normalisation: Normalisation
    feature_size: int
    licence: str
    licence_url: str
    pretrained_on: str


class GoldenInfo(NamedTuple):
    """How the golden samples came about, and how far another machine may stray from them.

    `kernels` is what the engine called its kernel set. Outputs may differ by `same_kernels_tolerance_steps`
    where engine, version and kernels are those recorded; else by what `tolerances` says of "ENGINE KERNELS", which
    was measured where the bundle was built; for any other by `tolerance_steps`. A step is one stored integer; of a
    float output, a 256th of the largest absolute recorded output.
    """

    kind: Literal["own", "synthetic"]
    file: str
    samples: int
    engine: str
    engine_version: str
    kernels: str
    tolerance_steps: int
    same_kernels_tolerance_steps: int
    tolerances: Mapping[str, int] = {}


class BudgetInfo(NamedTuple):
    """How an accuracy budget was kept, all on the validation split.

    `max_drop` is in points of the metric; `val_float` and `val_exported` are the metric, 0 to 1, of the float model
    and of the exported one; `kept` are the ops that compute at higher precision for it, after `evaluations` trials.
    """

    max_drop: float
    val_float: float
    val_exported: float
    evaluations: int
    kept: tuple[str, ...]


class FootprintInfo(NamedTuple):
    """What the model takes beside its file: `arena_bytes` of RAM, as its interpreter measured it."""

    arena_bytes: int


class LicenceInfo(NamedTuple):
    """One component's licence; `file` is its text inside the bundle, None if it ships none."""

    component: str
    licence: str
    url: str
    file: str | None = None


class SplitMetric(NamedTuple):
    """Accuracy (0 to 1) of the exported artifact on `samples` examples of one split."""

    accuracy: float
    samples: int


class HeadInfo(NamedTuple):
    """A head that the bundle carries: its name, its file, and what it scored on each split."""

    name: str
    file: str
    metrics: Mapping[str, SplitMetric]


class DataInfo(NamedTuple):
    """The data set by its fingerprint, and how many samples each split had."""

    fingerprint: str
    counts: Mapping[str, int]


class FileInfo(NamedTuple):
    """What a file of the bundle must be."""

    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, content: bytes) -> FileInfo:
        """Return the description of `content`."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is known about a bundle; `files` is every file but the manifest itself.

    `edgetransfer` is the version that made it, `allowed` the exceptions that the user granted at the build. Where the
    graph ends in features (`task.kind` is "embedding"), `heads` make answers of them.
    """

    edgetransfer: str
    name: str
    model: ModelInfo
    task: Task
    preprocess: ModelInput
    backbone: BackboneInfo
    recipe: Recipe
    data: DataInfo
    device: str | None = None
    golden: GoldenInfo | None = None
    budget: BudgetInfo | None = None
    footprint: FootprintInfo | None = None
    metrics: Mapping[str, SplitMetric] = field(default_factory=dict)
    licences: tuple[LicenceInfo, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    files: Mapping[str, FileInfo] = field(default_factory=dict)
    format: str = "litert"
    heads: tuple[HeadInfo, ...] = ()
    schema: int = SCHEMA

    @property
    def is_split(self) -> bool:
        """Whether the graph ends in features, and answers come from heads outside of it."""
        return self.task.kind == EMBEDDING

    @property
    def image(self) -> ImageInput:
        """How an image becomes input.

        Raises:
            BundleError: the bundle looks at something else.
        """
        if not isinstance(self.preprocess, ImageInput):
            raise BundleError(f"bundle {self.name!r}: expected one that looks at images, got {self.preprocess.kind}")
        return self.preprocess

    def to_json(self) -> dict[str, Any]:
        """Return the form that manifest.json keeps."""
        golden, budget = self.golden, self.budget
        return {
            "schema": self.schema,
            "edgetransfer": self.edgetransfer,
            "name": self.name,
            "format": self.format,
            "model": {
                "file": self.model.file,
                "input": self.model.input.to_json(),
                "output": self.model.output.to_json(),
                "scores_in_graph": self.model.scores_in_graph,
                "providers": list(self.model.providers),
            },
            "task": self.task.to_json(),
            "preprocess": self.preprocess.to_json(),
            "backbone": self.backbone._asdict() | {"normalisation": self.backbone.normalisation.to_json()},
            "recipe": self.recipe.to_json(),
            "device": self.device,
            "golden": None if golden is None else golden._asdict() | {"tolerances": dict(golden.tolerances)},
            "budget": None if budget is None else budget._asdict() | {"kept": list(budget.kept)},
            "footprint": None if self.footprint is None else self.footprint._asdict(),
            "metrics": _metrics_json(self.metrics),
            "licences": [licence._asdict() for licence in self.licences],
            "versions": dict(self.versions),
            "data": {"fingerprint": self.data.fingerprint, "counts": dict(self.data.counts)},
            "allowed": list(self.allowed),
            "heads": [
                {"name": head.name, "file": head.file, "metrics": _metrics_json(head.metrics)} for head in self.heads
            ],
            "files": {name: {"sha256": f.sha256, "bytes": f.size_bytes} for name, f in self.files.items()},
        }

    def to_bytes(self) -> bytes:
        """Return the canonical content of manifest.json."""
        return json_shape.canonical(self.to_json())

    @classmethod
    def from_json(cls, data: Any, where: str = MANIFEST_FILE) -> Manifest:
        """Return the manifest that `to_json` described.

        Raises:
            BundleError: a newer schema, or anything missing, unknown, of the wrong type or out of range; one
                message names every problem.
        """
        check_schema(data, where)
        data = migrated(data)
        problems = shape_problems(data)
        if not problems:
            reader = _Reader(data)
            manifest, problems = reader.manifest, reader.problems
            if manifest is not None and not problems:
                problems = _contradictions(manifest)
                if not problems:
                    return manifest
        raise BundleError(f"{where}: {len(problems)} problem(s): " + "; ".join(problems[:20]))


def _metrics_json(metrics: Mapping[str, SplitMetric]) -> dict[str, Any]:
    return {split: metric._asdict() for split, metric in metrics.items()}


def labels_content(labels: tuple[str, ...]) -> bytes:
    """Return the content of labels.txt: UTF-8, one label per line, in the order of the outputs.

    Raises:
        BundleError: a label is empty or would take more than one line.
    """
    problems = _label_problems(labels)
    if problems:
        raise BundleError("; ".join(problems))
    return ("\n".join(labels) + "\n").encode()


class _Reader:
    """Turns checked JSON into values; what a value's own `__post_init__` refuses is collected."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.problems: list[str] = []
        model, backbone, golden, budget = data["model"], data["backbone"], data["golden"], data["budget"]
        tensor_in = self._build("model.input", lambda: TensorSpec.from_json(model["input"]))
        tensor_out = self._build("model.output", lambda: TensorSpec.from_json(model["output"]))
        task = self._build("task", lambda: Task.from_json(data["task"]))
        preprocess = self._build("preprocess", lambda: input_from_json(data["preprocess"]))
        recipe = self._build("recipe", lambda: Recipe.from_json(data["recipe"]))
        self.manifest: Manifest | None = None
        if self.problems:
            return
        self.manifest = Manifest(
            edgetransfer=data["edgetransfer"],
            name=data["name"],
            model=ModelInfo(model["file"], tensor_in, tensor_out, model["scores_in_graph"], tuple(model["providers"])),
            task=task,
            preprocess=preprocess,
            backbone=BackboneInfo(**backbone | {"normalisation": Normalisation(**backbone["normalisation"])}),
            recipe=recipe,
            data=DataInfo(data["data"]["fingerprint"], dict(data["data"]["counts"])),
            device=data["device"],
            golden=None if golden is None else GoldenInfo(**golden),
            budget=None if budget is None else BudgetInfo(**budget | {"kept": tuple(budget["kept"])}),
            footprint=None if data["footprint"] is None else FootprintInfo(**data["footprint"]),
            metrics=_metrics(data["metrics"]),
            licences=tuple(LicenceInfo(**licence) for licence in data["licences"]),
            versions=dict(data["versions"]),
            allowed=tuple(data["allowed"]),
            files={name: FileInfo(f["sha256"], f["bytes"]) for name, f in data["files"].items()},
            format=data["format"],
            heads=tuple(HeadInfo(one["name"], one["file"], _metrics(one["metrics"])) for one in data["heads"]),
            schema=data["schema"],
        )

    def _build(self, where: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (BundleError, RecipeError, OverflowError) as error:
            self.problems.append(f"manifest.{where}: {error}")
            return None


def _metrics(data: Mapping[str, Any]) -> dict[str, SplitMetric]:
    return {split: SplitMetric(**metric) for split, metric in data.items()}


def _contradictions(manifest: Manifest) -> list[str]:
    model, spec = manifest.model, manifest.preprocess
    found = _label_problems(manifest.task.labels) + _file_problems(manifest)
    if manifest.format not in FORMATS:
        found.append(f"manifest.format: expected one of {FORMATS}, got {manifest.format!r}; upgrade edgetransfer")
    if model.input.shape != (1, *spec.shape) or model.input.dtype != spec.dtype:
        wanted = f"{spec.dtype} {(1, *spec.shape)}"
        found.append(f"manifest.model.input: expected {wanted}, got {model.input.dtype} {model.input.shape}")
    found += _head_problems(manifest)
    classes = manifest.backbone.feature_size if manifest.is_split else len(manifest.task.labels)
    if model.output.shape != (1, classes):
        found.append(
            f"manifest.model.output: expected shape {(1, classes)} for {classes} "
            f"{'features' if manifest.is_split else 'labels'}, got {model.output.shape}"
        )
    if model.output.dtype != "float32" and (model.output.quantization is None or model.scores_in_graph):
        found.append("manifest.model.output: integers need a quantization, scores must be float32")
    golden = manifest.golden
    if golden is not None:
        if golden.kind not in ("own", "synthetic"):
            found.append(f"manifest.golden.kind: expected 'own' or 'synthetic', got {golden.kind!r}")
        steps = (golden.tolerance_steps, golden.same_kernels_tolerance_steps, *golden.tolerances.values())
        if golden.samples < 1 or min(steps) < 0:
            found.append("manifest.golden: expected at least 1 sample and tolerances from 0")
    for split, metric in [
        *manifest.metrics.items(),
        *(pair for head in manifest.heads for pair in head.metrics.items()),
    ]:
        if not 0 <= metric.accuracy <= 1 or metric.samples < 1:
            found.append(
                f"manifest.metrics.{split}: expected an accuracy from 0 to 1 of at least 1 sample, got {metric}"
            )
    return found


def _head_problems(manifest: Manifest) -> list[str]:
    names = [head.name for head in manifest.heads]
    found = [f"manifest.heads: {name!r} stands twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if names and not manifest.is_split:
        found.append(f"manifest.heads: expected none beside a graph that ends in {manifest.task.kind}")
    return found


def _file_problems(manifest: Manifest) -> list[str]:
    found = []
    for name, info in manifest.files.items():
        if why := _unsafe(name):
            found.append(f"manifest.files: {name!r} {why}")
        if not re.fullmatch(r"[0-9a-f]{64}", info.sha256) or info.size_bytes < 0:
            found.append(f"manifest.files.{name}: expected a sha256 in hex and a size from 0 bytes")
    named = [manifest.model.file, LABELS_FILE, *(head.file for head in manifest.heads)]
    named += list(getattr(manifest.preprocess, "files", ()))
    named += [manifest.golden.file] if manifest.golden else []
    named += [licence.file for licence in manifest.licences if licence.file is not None]
    found += [f"manifest.files: {name!r} is named but not listed" for name in named if name not in manifest.files]
    sound = not found and not _label_problems(manifest.task.labels)
    if sound and manifest.files[LABELS_FILE] != FileInfo.of(labels_content(manifest.task.labels)):
        found.append(f"manifest.files: {LABELS_FILE} does not hold the labels of manifest.task")
    return found


def _unsafe(name: str) -> str:
    """Return why `name` is no plain path inside a folder, "" if it is."""
    if "\\" in name or ":" in name or any(ord(c) < 32 for c in name):
        return "has a backslash, colon or control character"
    if name.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "leaves the bundle's folder or is not a plain path"
    return "is the manifest itself" if name == MANIFEST_FILE else ""


def _label_problems(labels: tuple[str, ...]) -> list[str]:
    return [
        f"label {label!r}: expected one line of text (labels.txt keeps one per line)"
        for label in labels
        if label.splitlines() != [label] or not label.strip()
    ]
