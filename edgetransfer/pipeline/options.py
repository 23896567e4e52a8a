"""What a user can ask of a build, and how it tells what it is doing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edgetransfer.spec.backbone import BackboneChoice
from edgetransfer.spec.preprocess import Fit

HeadOn = Literal["deployed", "float"]
GoldenKind = Literal["own", "synthetic", "none"]
Pooling = Literal["mean", "attention", "auto"]


class Watcher(Protocol):
    """Is told what is going on; the command line draws it on standard error."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def step(self, done: int, total: int) -> None:
        """So much of the stage is done."""

    def note(self, text: str) -> None:
        """Something that the user should know."""


class Silent:
    """A watcher that keeps quiet."""

    def stage(self, title: str) -> None:
        """Do nothing."""

    def step(self, done: int, total: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """All choices of `build` and `train`; what is None is chosen by the plan or on the validation split.

    Attributes:
        data: A folder of photos or a CSV.
        backbone: Which backbone.
        recipe: Name of the recipe, or a .toml file; None: what the device wants.
        format: "litert", "onnx" or "tflm"; None: that of the device's first engine.
        device: Slug or file of the device the bundle is for; None: any.
        fit: How an image meets the square; None: chosen on training and validation images.
        augment: Augmented views of each training image.
        head_on: Train the head on the deployed graph's features, or on the float backbone's for comparison.
        hidden: Size of the hidden layer; 0: a linear head; None: chosen on the validation split.
        dropouts: Rates to choose from; empty: the defaults.
        weight_decays: Factors to choose from; empty: the defaults.
        label_smoothing: Share of a label's weight that goes to all classes alike.
        balance: Weight rare classes up.
        ensemble: Take the mean of the heads that were tried, as one, where validation gains by it.
        epochs: At most so many.
        loss: A Keras loss by name that fits the task; None: smoothed cross-entropy.
        optimizer: A Keras optimizer by name.
        drop_near_duplicates: Leave training images out that also stand in another split.
        golden: Which raw images the bundle carries to be verified with.
        float_reference: Also train and score an all-float model, to say what quantization cost.
        max_drop: Accuracy that the recipe may cost, in points on the validation split. Where it costs more, ops are
            kept at higher precision until it does not. None: what it costs is only told.
        max_evaluations: How many heads may be trained to find out which ops.
        pooling: How several windows of a sound become one feature vector, of heads outside of the graph; "auto" takes
            attention where it wins by more than a standard error.
        learning_curve: Whether to work out what more data would bring, of heads outside of the graph; None: where that
            takes some seconds at most.
        data_fingerprint: What the data must be, by `Dataset.fingerprint`; None: whatever it is.
        seed: Of splits, views, order and dropout.
        workers: Threads; None: one a core.
    """

    data: Path
    backbone: BackboneChoice
    recipe: str | None = None
    format: str | None = None
    device: str | None = None
    fit: Fit | None = None
    augment: int = 0
    head_on: HeadOn = "deployed"
    hidden: int | None = None
    dropouts: tuple[float, ...] = ()
    weight_decays: tuple[float, ...] = ()
    label_smoothing: float = 0.1
    balance: bool = False
    ensemble: bool = False
    epochs: int = 25
    loss: str | None = None
    optimizer: str = "adam"
    drop_near_duplicates: bool = False
    golden: GoldenKind = "own"
    float_reference: bool = True
    max_drop: float | None = None
    max_evaluations: int = 16
    pooling: Pooling = "mean"
    learning_curve: bool | None = None
    data_fingerprint: str | None = None
    seed: int = 0
    workers: int | None = None
