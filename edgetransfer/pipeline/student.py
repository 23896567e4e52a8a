"""What a lesson trains: the backbone as it is, or one that computes in training as the integer graph will."""

from __future__ import annotations

from typing import Any, Protocol

from edgetransfer.data import Dataset
from edgetransfer.errors import RecipeError
from edgetransfer.features.deploy import drawn_for_calibration
from edgetransfer.models import backbones
from edgetransfer.pipeline.options import BuildOptions, Watcher
from edgetransfer.pipeline.train import resolve_plan
from edgetransfer.spec.preprocess import ImageInput
from edgetransfer.transfer.quantization_aware import QuantizationAware
from edgetransfer.transfer.tuning import TuneOptions
from edgetransfer.transfer.view_batches import ViewBatches

_CALIBRATION_BATCH = 16


class Student(Protocol):
    """A backbone that is to learn."""

    @property
    def backbone(self) -> Any:
        """The Keras model that is trained."""

    def plain(self) -> Any:
        """Return the float Keras model to be written, with the weights of `backbone` as they are now."""


def student_of(
    loaded: backbones.Backbone,
    dataset: Dataset,
    spec: ImageInput,
    options: BuildOptions,
    watcher: Watcher,
    *,
    quantization_aware: bool,
) -> Student:
    """Return the student; for a quantization-aware one ranges are measured on the images that export measures on."""
    if not quantization_aware:
        return _AsItIs(loaded.model)
    watcher.stage(f"measuring the ranges of {loaded.name}")
    drawn = drawn_for_calibration(dataset.split("train"))
    batches = ViewBatches(drawn, spec, loaded.normalisation, _CALIBRATION_BATCH, views=0, workers=options.workers)
    return QuantizationAware(loaded.model, batches.plain_pixels())


def check_quantization_aware(options: BuildOptions, how: TuneOptions) -> None:
    """Refuse what fake quantization cannot imitate, before any work is done.

    Raises:
        RecipeError: a recipe other than 8-bit integers throughout, or batch norms that are to learn.
    """
    recipe = resolve_plan(options).recipe
    imitated = recipe.weights == "int8" and recipe.activations in ("int8", "uint8")
    if not imitated or recipe.granularity != "per_channel" or recipe.overrides:
        raise RecipeError(
            f"--quantization-aware imitates static_int8, 8-bit integers throughout and one scale a channel; got recipe "
            f"{recipe.name!r}. Leave it out, or take --recipe static_int8"
        )
    if how.batch_norm == "train":
        raise RecipeError(
            "--batch-norm train: with --quantization-aware batch norms are folded into the weights and do not learn; "
            "leave one of the two out"
        )


class _AsItIs:
    """The backbone itself."""

    def __init__(self, model: Any) -> None:
        self.backbone = model

    def plain(self) -> Any:
        return self.backbone
