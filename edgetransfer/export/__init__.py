"""The seam to the file formats: one file each, of the format's name. Files that begin with an underscore are parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from edgetransfer import registry
from edgetransfer.estimate.op import Op
from edgetransfer.spec.dense import Dense
from edgetransfer.spec.preprocess import ImageInput, Normalisation
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.tensor import Ranges

_LAST_LAYER = "logits_layer"


@dataclass(frozen=True, slots=True)
class Card:
    """What a model file tells clients that know no bundle: its name, its labels in order, how pixels come in."""

    name: str
    labels: tuple[str, ...]
    licence: str
    preprocess: ImageInput
    scores: bool


@dataclass(frozen=True, slots=True)
class OpFact:
    """One op of a graph as the engine will run it.

    Attributes:
        kind: The format's name of the op, e.g. "CONV_2D" or "QLinearConv".
        name: What the op computes, as overrides match it.
        macs: Multiply-adds for one image; 0 for ops that move or convert numbers.
        computes: The dtype of its activations: "int8", "uint8", "int16" or "float32".
        builtin: Whether a plain engine has it; False for flex and custom ops.
        edge: Whether it only converts at the graph's ends (raw pixels in, scores out).
    """

    kind: str
    name: str
    macs: int
    computes: str
    builtin: bool = True
    edge: bool = False

    @property
    def of_head(self) -> bool:
        """Whether it is one that a head brought."""
        return re.match(rf"(head_\d+|{_LAST_LAYER})\b", self.name) is not None


def name_layers(head: Sequence[Dense]) -> list[tuple[str, Dense]]:
    """Return the layers of `head` with the names that their ops have in every format."""
    last = len(head) - 1
    return [(f"head_{number}" if number < last else _LAST_LAYER, layer) for number, layer in enumerate(head)]


class Exporter(Protocol):
    """A format: the functions of its file. Graphs are the content of files of that format."""

    ENGINE: str
    """Name of the engine that the format's features are computed with and its bundles are run with."""
    FLOAT_ENGINE: str
    """Name of the engine that computes the float yardstick of the format: fast, and never shipped."""
    MODEL_FILE: str
    """Name of the model's file in a bundle."""

    def convert(self, model: Any) -> bytes:
        """Return a Keras `model` (None, H, W, 3) -> (None, D) as a float32 graph: (1, H, W, 3) normalised pixels in.

        Raises:
            ExportError: it cannot be converted, or needs ops that a plain engine does not have.
        """

    def calibrate(self, graph: bytes, images: NDArray[np.uint8], normalisation: Normalisation) -> Ranges:
        """Return the range of every activation of a float `graph` over prepared `images` (n, H, W, 3)."""

    def carry_out(
        self,
        graph: bytes,
        recipe: Recipe,
        normalisation: Normalisation,
        ranges: Ranges | None = None,
        images: NDArray[np.uint8] | None = None,
    ) -> bytes:
        """Return the deployed graph: (1, H, W, 3) uint8 raw pixels in, (1, D) features out.

        `ranges` and `images`, those it was calibrated on, are needed exactly when the recipe needs calibration;
        `images` serve to choose between ways of rounding.

        Raises:
            RecipeError: the recipe cannot be carried out for this format.
        """

    def graft(
        self, deployed: bytes, head: Sequence[Dense], features: NDArray[np.float32], *, scores: bool = False
    ) -> bytes:
        """Return the deployed graph with `head` on top: logits, or with `scores` softmax scores, (1, C) out.

        `features` (n, D) are real training features that set the ranges of an integer head.
        """

    def head_alone(self, deployed: bytes, model: bytes) -> bytes:
        """Return the head's part of a grafted `model` by itself: features as `deployed` gives them in, logits out."""

    def step(self, model: bytes) -> float | None:
        """Return the real size of one step of the output's logits; None where they are floats."""

    def finish(self, model: bytes, card: Card) -> bytes:
        """Return `model` with what other clients want to know inside; the same bytes for the same arguments."""

    def labels(self, model: bytes) -> list[str]:
        """Return the labels that `finish` wrote into `model`, in the order of the outputs."""

    def survey(self, model: bytes) -> tuple[OpFact, ...]:
        """Return the ops of `model` as its engine runs them, in order."""

    def costs(self, model: bytes) -> tuple[Op, ...]:
        """Return what each op of `model` costs, in order, without those that cost nothing."""


def get_exporter(format: str) -> Exporter:
    """Return the exporter of `format`.

    Raises:
        UnknownNameError: no such format.
    """
    return cast(Exporter, registry.load(__name__, format, kind="format"))
