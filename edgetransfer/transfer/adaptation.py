"""Heads for a target domain of which there are photos and no labels, by one of several ways; see `align`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.data import Sample
from edgetransfer.errors import UnknownNameError
from edgetransfer.train.fit import Fit, HeadOptions, fit
from edgetransfer.train.search import Progress
from edgetransfer.transfer.align import coral, importance_weights
from edgetransfer.transfer.pseudo_labels import RATE, ROUNDS, SelfTrained, Split, self_train

WAYS = ("none", "coral", "importance", "pseudo")
"""Nothing; source features moved; source examples weighted; target photos labelled by the head itself."""


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How ways are carried out.

    Attributes:
        rate: How often a pseudo-label is to be right, judged on the validation split; 0 to 1.
        rounds: Of labelling and training anew.
        most_each: Pseudo-labels of one class at most; None: an even share.
    """

    rate: float = RATE
    rounds: int = ROUNDS
    most_each: int | None = None


@dataclass(frozen=True, slots=True)
class Adapted:
    """A head, and what its way has to say.

    Attributes:
        fit: The head.
        about: Figures by name: how far apart the domains are, how many examples say as much as the weighted ones, how
            many pseudo-labels there are and the confidence that was asked for.
        pseudo: Which target photos were learned from; None for the other ways.
    """

    fit: Fit
    about: Mapping[str, float]
    pseudo: SelfTrained | None = None


@dataclass(frozen=True, slots=True)
class Adaptation:
    """A way, and the photos of the target domain that it looks at.

    Attributes:
        way: One of WAYS.
        samples: Photos of the target domain; what labels they may have is never looked at.
        options: How.
    """

    way: str
    samples: tuple[Sample, ...]
    options: AdaptOptions = field(default_factory=AdaptOptions)

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UnknownNameError("way to adapt", self.way, WAYS)

    def to_json(self) -> dict[str, Any]:
        """Return what decides the head, for a run to remember: no path, and photos by their content."""
        photos = hashlib.sha256("\n".join(sorted(one.sha256 for one in self.samples)).encode()).hexdigest()
        return {"way": self.way, "target": photos, **asdict(self.options)}


def fit_adapted(
    adaptation: Adaptation,
    train: Split,
    val: Split,
    target: NDArray[np.float32],
    classes: int,
    head: HeadOptions,
    *,
    progress: Progress | None = None,
) -> Adapted:
    """Return the head that `adaptation` asks for.

    Args:
        adaptation: The way.
        train: Features and label numbers of the source's training split.
        val: Of its validation split: chooses the head among the candidates and, of pseudo-labels, the threshold.
        target: (m, D) features of the target's photos.
        classes: How many labels there are.
        head: How heads are trained.
        progress: Called with (epochs done, epochs at most) of each head.

    Raises:
        DataError: too few photos of a domain.
        RecipeError: options that cannot be.
    """
    how = adaptation.options
    if adaptation.way == "coral":
        aligned = coral(train[0], target)
        moved = [(aligned.apply(features), labels) for features, labels in (train, val)]
        return Adapted(fit(moved[0], moved[1], classes, head, progress=progress), {})
    if adaptation.way == "importance":
        found = importance_weights(train[0], target, seed=head.seed)
        about = {"effective_examples": found.effective, "domains_told_apart": found.told_apart}
        return Adapted(fit(train, val, classes, head, weights=found.weights, progress=progress), about)
    if adaptation.way == "pseudo":

        def fit_head(split: Split) -> Fit:
            return fit(split, val, classes, head, progress=progress)

        trained = self_train(
            train, val, target, classes, fit_head, rate=how.rate, rounds=how.rounds, most_each=how.most_each
        )
        last = trained.rounds[-1]
        about = {"pseudo_labels": float(len(trained.rows))}
        if np.isfinite(last.threshold):  # else no confidence was enough; JSON knows no infinity
            about["threshold"] = last.threshold
        return Adapted(trained.fit, about, trained)
    return Adapted(fit(train, val, classes, head, progress=progress), {})
